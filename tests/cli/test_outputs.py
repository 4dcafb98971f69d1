"""Files that a command writes: refused before anything is measured if they would be lost."""

import json
import re
import shlex
import shutil

import pytest
from certified import FEW, HOOK, certified, write_texts

from saecert.__main__ import main
from saecert.cli.outputs import check_outputs

HERE = ["--hook", HOOK, *FEW]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of documents, an object a line."""
    return write_texts(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def written(folders, text, tmp_path_factory):
    """Folder with what one call wrote, and its arguments."""
    folder = tmp_path_factory.mktemp("out")
    return folder, certified(folders["llama"], text, folder)


@pytest.fixture
def place(folders, tmp_path):
    """A folder with a model."""
    shutil.copytree(folders["llama"], tmp_path / "model")
    return tmp_path


def wrong(arguments, capsys) -> str:
    """The one line with which a command ends."""
    assert main([str(word) for word in arguments]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    return said.err


def test_a_file_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    (tmp_path / "texts.jsonl").touch()
    for option, name in (("--html", "out.html"), ("--json", "out.json")):
        with pytest.raises(ValueError, match=f"{option} .*texts.jsonl' is a file, not a folder"):
            place = str(tmp_path / "texts.jsonl/sub/deeper" / name)
            check_outputs(*((place, None) if option == "--json" else (None, place)))
    monkeypatch.chdir(tmp_path)
    check_outputs("new/folder/out.json", "out.html")
    monkeypatch.setattr("os.access", lambda place, mode: False)  # root may write anywhere
    with pytest.raises(ValueError, match="--html .* cannot be written to"):
        check_outputs(None, "new/out.html")


@pytest.fixture
def unmeasured(monkeypatch):
    """Nothing is measured: files are looked at before."""
    monkeypatch.setattr("saecert.cli.certify._losses", lambda *_: pytest.fail("measured"))


@pytest.mark.parametrize("name", ["texts.json", "link.json"])
def test_the_text_is_not_written_over(folders, text, tmp_path, name, capsys, unmeasured):
    mine = tmp_path / "texts.json"
    mine.write_text(json.dumps([json.loads(line) for line in text.read_text().splitlines()]))
    (tmp_path / "link.json").symlink_to(mine)
    before = mine.read_bytes()
    asked = ["certify", folders["llama"], "--text", mine, *HERE, "--json", tmp_path / name]
    assert f"{name}' is a file that is read: name another one" in wrong(asked, capsys)
    assert mine.read_bytes() == before and not mine.with_suffix(".npz").exists()


def test_files_of_somebody_else_are_not_written_over(place, text, capsys, unmeasured):
    asked = ["certify", place / "model", "--text", text, *HERE]
    settings = place / "model/config.json"
    said = wrong([*asked, "--json", settings], capsys)
    assert "config.json' is there and is no certificate of saecert: move it" in said
    (place / "sae.npz").write_bytes(b"PK weights")
    said = wrong([*asked, "--json", place / "sae.json"], capsys)
    assert re.search(r"--json '.*sae.json' puts its losses into '.*sae.npz', which is there", said)
    (place / "folder.npz").mkdir()
    said = wrong([*asked, "--json", place / "folder.json"], capsys)
    assert "folder.npz', which is a folder" in said
    (place / "page.html").write_text("<!doctype html>\n<title>Mine</title>")
    said = wrong([*asked, "--html", place / "page.html"], capsys)
    assert "page.html' is there and is no report of saecert" in said


def test_what_was_written_before_and_empty_files_may_be_written_over(written, tmp_path):
    folder, _ = written
    check_outputs(str(folder / "a.json"), str(folder / "a.html"), [folder / "a.npz.gguf"])
    for name in ("a.json", "a.npz", "a.html"):
        (tmp_path / name).touch()
    check_outputs(str(tmp_path / "a.json"), str(tmp_path / "a.html"))
    shutil.copy(folder / "a.npz", tmp_path / "b.json")  # ours, but no certificate
    with pytest.raises(ValueError, match="b.json' is there and is no certificate of saecert"):
        check_outputs(str(tmp_path / "b.json"), None)


def test_the_command_that_recomputes_can_be_pasted(written, capsys, monkeypatch):
    folder, arguments = written
    monkeypatch.setenv("SAECERT_CACHE", str(folder / "cache"))
    place = folder / "out dir [1]/it's.json"
    assert main(["certify", *arguments, "--json", str(place)]) == 0
    words = shlex.split(capsys.readouterr().err.partition("recompute: ")[2])
    assert words == ["saecert", "verify", str(place)]
    assert main(words[1:]) == 0
