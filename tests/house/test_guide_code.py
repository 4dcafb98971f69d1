"""The lines of README and guide run as printed, on text whose documents begin alike."""

import json
import re
import shutil

import pytest
from checks import ROOT
from conftest import make_sae, make_texts

from saecert import SequenceLosses
from saecert.__main__ import main

HOOK = "blocks.1.hook_resid_post"
GUIDE = (ROOT / "book/certify_your_own.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(page, start) -> str:
    """The one block of Python that begins with a line."""
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    (found,) = [code for code in blocks if code.startswith(start)]
    return found


FIVE = block(README, "from saecert import certify, collect")


@pytest.fixture
def place(folders, tmp_path, monkeypatch):
    """A folder with a model, an SAE and documents of which some begin alike, and some repeat
    another but for a few words."""
    shutil.copytree(folders["llama"], tmp_path / "my-model")
    make_sae(HOOK).save_model(tmp_path / "my-sae")
    heads = make_texts(20, seed=1)
    texts = make_texts(120)
    texts += [f"{head} and then {word}" for head in heads for word in ("one", "two", "three")]
    texts += [re.sub(r"^\S+ \S+", "quite other", text) for text in texts[:40]]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "my-texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_five_lines_of_the_readme_certify_documents_that_begin_alike(place, capsys):
    assert block(GUIDE, "from saecert import certify, collect") == FIVE
    names = {}
    exec(FIVE, names)
    assert names["sample"].n_shared > 0 and names["sample"].n_similar > 0
    assert not names["losses"].overlap.any()
    printed = " ".join(capsys.readouterr().out.split())
    assert "without those then equal to one of the discovery split" in printed


def test_the_rehearsals_of_the_guide_run_as_printed(place, capsys):
    """Where discovery has repeats and near-duplicates of its own."""
    names = {}
    exec(FIVE, names)
    discovery = names["discovery"]
    assert len(set(discovery.ids.tolist())) < len(discovery)
    assert len(discovery.without_similar()) < len(set(discovery.ids.tolist()))
    before = capsys.readouterr().out
    exec(block(GUIDE, "rehearsal = losses.discovery.losses"), names)
    exec(block(GUIDE, "rehearsal = collect(subject, discovery"), names)
    printed = capsys.readouterr().out
    assert printed.count("bound") > before.count("bound") > 0
    assert len(names["rehearsal"]) == len(discovery.without_similar())


def test_the_command_of_the_readme_certifies_them_too(place, capsys):
    command = re.search(r"saecert (certify my-model .*? --html out.html)", README, re.S)[1]
    assert main(command.replace("\\\n", " ").split()) == 0
    said = capsys.readouterr()
    assert re.search(r"left out \d+ sequences that the discovery split has as well", said.err)
    record = SequenceLosses.load(place / "out.npz")
    assert not record.overlap.any() and len(record) == record.provenance["n_list"]
