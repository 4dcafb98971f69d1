"""The examples of CONTRIBUTING.md are run as they stand there, on tiny models."""

import re

import numpy as np
import pytest
from checks import ROOT
from conftest import make_model, make_sae, make_tokenizer
from synthetic_losses import random_losses

from saecert import certify, collect
from saecert.cli.errors import finish
from saecert.cli.parsing import Parser

HOOK = "blocks.0.hook_resid_post"


def example(heading: str) -> str:
    """The Python code under a heading "### ... a proxy"; all of its blocks, one after the other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition(f"### ... {heading}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks, f"no example under '{heading}'"
    return "\n".join(blocks)


def executed(heading: str, **names: object) -> dict[str, object]:
    """What an example leaves behind, given some `names`."""
    there = dict(names)
    exec(compile(example(heading), f"CONTRIBUTING.md, {heading}", "exec"), there)
    return there


def test_proxy(subject, corpora):
    proxy = executed("a proxy")["half_codes"]()
    few = {name: corpus.take(6) for name, corpus in corpora.items()}
    options = {"discovery": few["discovery"], "extra": [proxy], "progress": False}
    losses = [
        collect(subject, few["certification"], HOOK, batch_size=size, **options) for size in (1, 4)
    ]
    assert np.array_equal(losses[0].loss["half_codes"], losses[1].loss["half_codes"])
    assert not np.allclose(losses[0].loss["half_codes"], losses[0].loss["full"])


def test_diagnostic(subject, corpora):
    corpus = corpora["certification"].take(4)
    there = executed("a diagnostic", subject=subject, corpus=corpus)
    assert there["norms"].shape == (4,) and (there["norms"] > 0).all()


def test_page(capsys):
    there = executed("a page")
    assert there["certificate"].n_seq == there["n_seq"] == len(there["losses"])
    assert "holds          beats the bigram" in capsys.readouterr().out


def test_subject(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {"model": make_model("llama"), "tokenizer": make_tokenizer()}
    there = executed("a subject", sae=make_sae("blocks.1.hook_resid_post"), **parts)
    assert there["subject"].hook_names == ("blocks.1.hook_resid_post",)


@pytest.mark.parametrize(("name", "code"), [("a.json", 0), ("b.json", 1)])
def test_command(tmp_path, capsys, name, code):
    certify(random_losses()).save(tmp_path / "a.json")
    parser = Parser(prog="saecert")
    commands = parser.add_subparsers()
    executed("a command of the shell")["add_count"](commands)
    assert finish(parser.parse_args(["count", str(tmp_path / name)])) == code
    said = capsys.readouterr()
    assert (said.out, "error: there is no file" in said.err) == (
        "60\n" if code == 0 else "",
        code == 1,
    )


def test_modules_of_the_list_of_ideas_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = text.partition("## Where an idea is\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in listed.splitlines() if line.startswith("| ")][1:]
    names = [re.findall(r"`([a-z_0-9/]+)`", row) for row in rows]
    assert len(rows) > 20 and all(names)
    gone = [name for row in names for name in row if not (ROOT / f"saecert/{name}.py").is_file()]
    assert not gone
