"""Fresh docstrings: told from old text by a filter of shingles, and never seen in training."""

import zipfile
from collections import Counter

import numpy as np
import pytest

from saecert.corpora import fresh, old_releases
from saecert.corpora.docstrings import docstring_documents, split_of
from saecert.corpora.duplicates import WORDS

NEW = "quokkas juggle twelve turquoise xylophones before breakfast on wet thursdays"


def test_a_filter_never_calls_old_text_new_and_rarely_new_text_old():
    known = fresh.ShingleFilter.empty(8 * 10_000, old_releases.N_HASHES)
    old = [f"shingle number {n}" for n in range(10_000)]
    known.add(old)
    assert known.holds(old).all()
    mistakes = known.holds(f"another one {n}" for n in range(20_000)).mean()
    assert mistakes == pytest.approx(known.mistaken, abs=0.005)
    assert known.mistaken < 0.03


def test_the_shipped_filter_is_under_3_mb_and_knows_its_releases():
    facts = fresh.old_facts()
    assert (fresh.FOLDER / "shingles.npy").stat().st_size < 3e6
    assert set(facts["releases"]) == set(old_releases.PACKAGES) - {fresh.UNJUDGED}
    assert facts["mistaken"] == pytest.approx(fresh.old_shingles().mistaken, abs=1e-6)


@pytest.mark.shared_cache
def test_text_that_was_never_published_is_new_and_words_beyond_the_window_do_not_count():
    documents = docstring_documents()
    old = documents["numpy:numpy.lib._function_base_impl.percentile"]
    shares = fresh.old_share([NEW, old, f"{old} {NEW}"])
    assert shares[0] < 0.2
    assert shares[1] > 0.8
    assert shares[2] == shares[1]
    assert len(fresh.shingles_of(old, WORDS)) <= WORDS
    assert fresh.old_share([]).shape == (0,)


@pytest.mark.shared_cache
@pytest.mark.parametrize("source", [fresh.FRESH, fresh.OLD])
def test_documents_are_of_their_age_and_were_seen_in_no_training(source):
    every, certified = fresh.documents_by_age(source, "certification")
    _, discovery = fresh.documents_by_age(source, "discovery")
    ages = fresh.document_ages()
    assert certified.keys() | discovery.keys() == every.keys()
    assert not certified.keys() & discovery.keys()
    splits = Counter(split_of(key) for key in every)
    assert set(splits) == {"discovery", "certification"}
    in_age = {
        fresh.FRESH: lambda share: share < fresh.FRESH_BELOW,
        fresh.OLD: lambda share: share >= fresh.OLD_FROM,
    }[source]
    assert all(in_age(ages[key]) for key in certified)
    assert not any(ages[key] < fresh.FRESH_BELOW for key in discovery)
    assert not any(key.startswith("torch:") for key in every)


@pytest.mark.parametrize(("source", "share"), [(fresh.FRESH, 0.9), (fresh.OLD, 0.1)])
def test_text_of_an_age_that_is_not_there_is_refused(monkeypatch, source, share):
    documents = {f"numpy:{index}": NEW for index in range(60)}
    monkeypatch.setattr(fresh, "docstring_documents", lambda: documents)
    monkeypatch.setattr(fresh, "document_ages", lambda: dict.fromkeys(documents, share))
    with pytest.raises(ValueError, match=f"'{source}' has no certification document"):
        fresh.documents_by_age(source, "certification")


@pytest.mark.parametrize("source", [fresh.FRESH, fresh.OLD])
def test_no_text_of_an_age_is_for_training(source):
    with pytest.raises(ValueError, match="no train split: its documents are held out of training"):
        fresh.documents_by_age(source, "train")


def test_a_damaged_filter_is_refused(tmp_path, monkeypatch):
    facts = (fresh.FOLDER / "facts.json").read_bytes()
    content = bytearray((fresh.FOLDER / "shingles.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "facts.json").write_bytes(facts)
    (tmp_path / "shingles.npy").write_bytes(bytes(content))
    monkeypatch.setattr(fresh, "FOLDER", tmp_path)
    fresh.old_shingles.cache_clear()
    try:
        with pytest.raises(ValueError, match="missing or damaged"):
            fresh.old_shingles()
    finally:
        fresh.old_shingles.cache_clear()


def _wheel(path, text):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("numpy/__init__.py", f'"""{text}"""\n')
        archive.writestr("numpy/tests/test_x.py", '"""left out because it is a test"""\n')
        archive.writestr("numpy-1.dist-info/METADATA", "")
    return path


def test_the_filter_is_made_from_wheels(tmp_path, capsys):
    wheel = _wheel(tmp_path / "numpy-1.2-py3-none-any.whl", NEW)
    assert old_releases.main([str(wheel), "--out", str(tmp_path / "out")]) == 0
    bits = np.load(tmp_path / "out/shingles.npy")
    made = fresh.ShingleFilter(bits, old_releases.N_HASHES)
    assert made.holds(fresh.shingles_of(NEW)).all()
    assert not made.holds(["left out because it is"]).any()
    assert '"numpy": "1.2"' in capsys.readouterr().out


@pytest.mark.parametrize("name", ["requests-2.0-py3-none-any.whl", "torch-2.0-x.whl", "numpy.zip"])
def test_a_wheel_of_another_package_is_refused(tmp_path, capsys, name):
    assert old_releases.main([str(_wheel(tmp_path / name, NEW))]) == 1
    assert "is not a wheel of one of numpy" in capsys.readouterr().err
