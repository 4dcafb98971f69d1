"""Files arrive whole or not at all."""

import json

import pytest

from saecert.storage import atomic_path, cache_dir, read_json


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


def test_json_is_read_strictly(tmp_path):
    path = tmp_path / "file.json"
    value = {"a": [1, -2.5, None, True, "é"], "b": {"c": [[]]}, "n": 2**64 - 1}
    path.write_text(json.dumps(value))
    assert read_json(path) == value
    assert read_json(path, max_depth=4) == value
    with pytest.raises(
        ValueError, match=r"file.json is not a whole JSON file \(nested more than 3"
    ):
        read_json(path, max_depth=3)
    for text, said in {
        '{"a": 1, "a": 1}': "'a' stands twice",
        "[NaN]": "NaN is not a finite",
        "[-1e400]": "-1e400 is not a finite",
        str(2**64): "more than 64 bits",
        '["\\ud800"]': "surrogates not allowed",
        "[1": "is not a whole JSON file",
        "": "is not a whole JSON file",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_json(path)
    with pytest.raises(ValueError, match="larger than the 10 bytes"):
        path.write_text(" " * 11)
        read_json(path, max_bytes=10)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")
