"""Files arrive whole or not at all."""

import pytest

from saecert.storage import atomic_path, cache_dir


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as partial:
        partial.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and [path.name for path in target.parent.iterdir()] == [
        "file.txt"
    ]


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here" and cache_dir().is_dir()
