"""``saecert certify`` on tiny models: what it prints and writes, and bad input in a line or two."""

import gzip
import hashlib
import json
import re
import shutil

import pytest
from certified import FEW, HOOK, certified, write_texts
from conftest import N_CTX, identity_sae, make_sae, make_texts
from safetensors.torch import load_file, save_file

from saecert import Certificate, SequenceLosses
from saecert.__main__ import main
from saecert.certificates.meaning import meaning
from saecert.cli.errors import in_shell_words
from saecert.corpora.splits import text_split
from saecert.statistics.rounding import nearest_text, upper_text


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of documents, an object a line."""
    return write_texts(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def written(folders, text, tmp_path_factory):
    """Folder with what one call wrote, and its arguments."""
    folder = tmp_path_factory.mktemp("out")
    return folder, certified(folders["llama"], text, folder)


def wrong(arguments, capsys) -> str:
    """What a command says on the standard error that ends with exit code 1, or 2 (the parser's)."""
    try:
        code = main([str(word) for word in arguments])
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert code in (1, 2)
    assert said.out == ""
    told = [line for line in said.err.splitlines() if not line.startswith("[")]
    assert 1 <= len(told) <= 3
    assert told[0].startswith("error: ")
    assert "Traceback" not in said.err
    return said.err


def test_what_is_written_verifies_and_is_what_was_asked_for(written):
    folder, _ = written
    certificate = Certificate.load(folder / "a.json")
    losses = SequenceLosses.load(folder / "a.npz")
    assert certificate.verify(losses) > 100
    assert certificate.n_seq == len(losses) == 20
    assert certificate.provenance["hook_name"] == HOOK


def test_the_same_settings_print_the_same_certificate_and_its_meaning(written, capsys, monkeypatch):
    folder, arguments = written
    monkeypatch.setenv("SAECERT_CACHE", str(folder / "cache"))
    assert main(["certify", *arguments]) == 0
    said = capsys.readouterr()
    certificate = Certificate.load(folder / "a.json")
    assert str(certificate) in said.out
    assert str(meaning(certificate)) in said.out
    assert upper_text(certificate.sharp) in said.out.partition("What this means")[2]
    assert re.search(r"measuring at blocks\.1.* 10 discovery .* 20 to certify", said.err)
    assert main(["certify", *arguments, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{certificate}\n"
    assert "[" not in said.err


def test_settings_reach_the_certificate(written, capsys, monkeypatch, tmp_path):
    folder, arguments = written
    monkeypatch.setenv("SAECERT_CACHE", str(folder / "cache"))
    more = ["--alpha", "0.2", "--delta", "0.1", "--inequality", "betting", "--method", "nested"]
    more += ["--seed", "3", "--json", str(tmp_path / "deep/b.json")]
    assert main(["certify", *arguments, *more]) == 0
    c = Certificate.load(tmp_path / "deep/b.json")
    asked = (c.alpha, c.delta, c.inequality, c.method, c.seed)
    assert asked == (0.2, 0.1, "betting", "nested", 3)


def test_a_finite_list_is_certified_as_one(written, monkeypatch, tmp_path):
    folder, arguments = written
    monkeypatch.setenv("SAECERT_CACHE", str(folder / "cache"))
    n_list = SequenceLosses.load(folder / "a.npz").provenance["n_list"]
    more = ["--population-size", str(n_list), "--inequality", "betting"]
    assert main(["certify", *arguments, *more, "--json", str(tmp_path / "list.json")]) == 0
    assert Certificate.load(tmp_path / "list.json").population_size == n_list


def test_the_middle_hook_point_of_one_sae_elsewhere(folders, text, tmp_path, capsys):
    make_sae("blocks.0.hook_resid_post").save_model(tmp_path / "mine")
    arguments = [folders["llama"], "--sae", tmp_path / "mine", "--text", text, *FEW]
    assert main(["certify", *map(str, arguments)]) == 0
    assert "blocks.0.hook_resid_post" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: MODEL"),
        (["no-such-model"], "unknown MODEL 'no-such-model'"),
        ([""], "is empty"),
        (["docstring-6l", "--text", "nowhere.jsonl"], "--text 'nowhere.jsonl': no such file"),
        (["docstring-6l", "--text", "."], "--text '.' is a folder"),
        (["docstring-6l", "--n", "1"], "--n takes a whole number of at least 2"),
        (["docstring-6l", "--n", "many"], "--n: invalid int value: 'many'"),
        (["docstring-6l", "--n-discovery", "-3"], "--n-discovery takes a whole number"),
        (["docstring-6l", "--alpha", "nan"], "--alpha must lie strictly between 0 and 1"),
        (["docstring-6l", "--delta", "1"], "--delta must lie strictly between 0 and 1"),
        (["docstring-6l", "--delta", "five"], "--delta: invalid float value: 'five'"),
        (["docstring-6l", "--seed", "-1"], "--seed takes a whole number of at least 0"),
        (["docstring-6l", "--inequality", "hope"], "unknown inequality 'hope'"),
        (["docstring-6l", "--method", "hope"], "invalid choice: 'hope'"),
        (["docstring-6l", "--device", "toaster"], "--device takes 'cpu', 'cuda'"),
        (["docstring-6l", "--hook", "blocks.77.hook_resid_post"], "no SAE at 'blocks.77"),
        (["docstring-6l", "--hook", "first,last"], "--hook takes one hook point"),
        (["docstring-6l", "--json", "out.txt"], "--json names a file that ends in .json"),
        (["docstring-6l", "--html", f"{__file__}/a.html"], "is a file, not a folder"),
        (["docstring-6l", "--allow", "everything", "--n", "20"], "everything"),
        (["docstring-6l", "--allow", "nothing"], "there are duplicates"),
        (["docstring-6l", "--population-size", "50"], "--inequality betting"),
        (["docstring-6l", "--population-size", "1", "--inequality", "betting"], "at least 2"),
        (["docstring-6l", "--hop", "first"], "unrecognized arguments: --hop"),
        (["docstring-6l", "--detla", "0.1"], "--delta?)\nsee: saecert certify --help"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_measured(
    arguments, message, capsys, monkeypatch
):
    monkeypatch.setattr("saecert.cli.certify._losses", lambda *_: pytest.fail("measured"))
    assert message in wrong(["certify", *arguments], capsys)


def test_text_must_be_said_for_a_model_of_ones_own(folders, capsys):
    assert "say with --text" in wrong(["certify", folders["llama"]], capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "'texts.txt' holds no text"),
        ("\n\n", "'texts.txt' holds no text"),
        ("too short\n", "lower --n-ctx or give longer text"),
        ("\x00\xff", "texts.txt"),
    ],
)
def test_a_file_without_text_is_told(folders, tmp_path, content, message, capsys):
    path = tmp_path / "texts.txt"
    path.write_text(content, encoding="latin-1")
    assert message in wrong(["certify", folders["llama"], "--text", path, *FEW], capsys)


def test_a_wrong_sae_is_told(folders, text, tmp_path, capsys):
    asked = ["certify", folders["llama"], "--text", text, *FEW, "--sae"]
    assert "nowhere" in wrong([*asked, tmp_path / "nowhere"], capsys)
    make_sae(HOOK, d_in=8).save_model(tmp_path / "narrow")
    assert "8" in wrong([*asked, tmp_path / "narrow"], capsys)
    make_sae(HOOK).save_model(tmp_path / "shapes")
    weights = load_file(tmp_path / "shapes/sae_weights.safetensors")
    n_latents = len(weights["b_enc"])
    weights["b_enc"] = weights["b_enc"][:7].clone()
    save_file(weights, tmp_path / "shapes/sae_weights.safetensors")
    said = wrong([*asked, tmp_path / "shapes"], capsys)
    assert f"do not fit it: b_enc has the shape (7), not ({n_latents})" in said
    said = wrong([*asked[:-1], "--hook", "nonsense"], capsys)
    assert "'nonsense' is not inside a block" in said
    assert HOOK in said.partition("there are SAEs at ")[2]
    bad = identity_sae(HOOK)
    bad.W_dec.data.mul_(-1)
    bad.save_model(tmp_path / "bad")
    said = wrong([*asked, tmp_path / "bad"], capsys)
    assert "of the variance" in said and "--allow-bad-sae measures it" in said
    assert main(["certify", *map(str, asked[1:]), str(tmp_path / "bad"), "--allow-bad-sae"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "THE SAE FAILED ITS CHECK, and was measured all the same: explained variance -" in printed
    )


def documents(*values) -> str:
    """A file of JSON lines, as text."""
    return "".join(json.dumps({"text": value}) + "\n" for value in values)


def split_of(text) -> str:
    """Where a hash puts a document."""
    return text_split(hashlib.sha256(text.encode()).hexdigest())


def shortened(path):
    """A file that ends too early."""
    path.write_bytes(path.read_bytes()[:-7])


PLAIN = make_texts(40)
BAD_WEIGHTS = {
    "model/model.safetensors": "model.safetensors is damaged",
    "model/saes/" + HOOK + "/sae_weights.safetensors": "sae_weights.safetensors is damaged",
}
BAD_CONFIGURATIONS = {
    "{": "cfg.json is not JSON",
    '{"architecture": "jumprelu", "d_in": 16}': "cfg.json and the weights beside it do not make",
}
BAD_TEMPLATES = {
    "saes/{layer}/{block}": "error: --sae 'saes/{layer}/{block}' cannot be filled in ('block')",
    "saes/{block}": "no SAE matches 'saes/{block}' (only {layer} is filled in)",
}
BAD_TEXTS = {
    "a.jsonl": (
        documents(*PLAIN, 5).encode(),
        "a.jsonl, line 41, 'text': 5 is of type int, not text",
    ),
    "b.jsonl": (
        documents(*PLAIN, "half \ud800").encode(),
        "b.jsonl, line 41, 'text': half a character (a lone surrogate) at position 5",
    ),
    "c.jsonl.gz": (gzip.compress(documents(*PLAIN).encode())[:-20], "damaged or truncated .gz"),
    "d.jsonl": (
        documents(*[text for text in PLAIN if split_of(text) == "certification"]).encode(),
        "more documents needed: the discovery split of 'd.jsonl' got none of its",
    ),
}


@pytest.fixture
def place(folders, tmp_path):
    """A folder with a model that may be damaged."""
    shutil.copytree(folders["llama"], tmp_path / "model")
    return tmp_path


def one_error(arguments, capsys) -> str:
    """The line with which a command ends, or the two."""
    said = wrong(["certify", *arguments, *FEW], capsys)
    told = [line for line in said.splitlines() if not line.startswith("[")]
    assert len(told) <= 2
    assert sum(line.startswith("error: ") for line in told) == 1
    return "\n".join(told)


@pytest.mark.parametrize("file", BAD_WEIGHTS)
def test_damaged_weights_are_told(place, text, file, capsys):
    shortened(place / file)
    assert BAD_WEIGHTS[file] in one_error([place / "model", "--text", text], capsys)


@pytest.mark.parametrize("content", BAD_CONFIGURATIONS)
def test_a_damaged_configuration_of_an_sae_is_told(place, text, content, capsys):
    make_sae(HOOK).save_model(place / "sae")
    (place / "sae/cfg.json").write_text(content, encoding="utf-8")
    asked = [place / "model", "--sae", place / "sae", "--text", text]
    assert BAD_CONFIGURATIONS[content] in one_error(asked, capsys)


@pytest.mark.parametrize("template", BAD_TEMPLATES)
def test_a_template_with_another_field_is_told(folders, text, template, capsys):
    asked = [folders["llama"], "--sae", template, "--text", text]
    assert BAD_TEMPLATES[template] in one_error(asked, capsys)


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_text_that_is_damaged_or_none_is_told_with_its_place(folders, tmp_path, name, capsys):
    content, message = BAD_TEXTS[name]
    (tmp_path / name).write_bytes(content)
    said = one_error([folders["llama"], "--text", tmp_path / name], capsys)
    assert message in said
    assert name in said


def test_an_inequality_that_is_false_for_a_list_is_told(written, capsys, monkeypatch):
    folder, arguments = written
    monkeypatch.setenv("SAECERT_CACHE", str(folder / "cache"))
    said = wrong(["certify", *arguments, "--population-size", "5"], capsys)
    assert "'dirichlet' is not valid" in said and "with --population-size take" in said


def test_what_the_library_says_is_said_in_words_of_the_shell(folders, text, tmp_path, capsys):
    nameless = make_sae(HOOK)
    nameless.cfg.metadata.hook_name = None
    nameless.save_model(tmp_path / "nohook")
    asked = ["certify", folders["llama"], "--text", text, *FEW]
    said = wrong([*asked, "--sae", tmp_path / "nohook"], capsys)
    assert said.endswith('does not say its hook point: add "hook_name" to its cfg.json\n')
    said = wrong([*asked, "--hook", "blocks.0.hook_mlp_out"], capsys)
    assert "no SAE for --hook 'blocks.0.hook_mlp_out'" in said and HOOK in said


def test_the_text_may_lie_in_another_column(folders, text, tmp_path, capsys):
    path = tmp_path / "named.jsonl"
    path.write_text(text.read_text("utf-8").replace('"text"', '"body"'), encoding="utf-8")
    asked = ["certify", folders["llama"], "--text", path, "--hook", HOOK, "--n-ctx", N_CTX]
    assert "no text under 'text', say with --column where it is" in wrong(asked, capsys)
    asked += ["--column", "body", "--n", "100000"]
    code = main(list(map(str, asked)))
    assert code == 0, capsys.readouterr().err
    said = " ".join(capsys.readouterr().err.split())
    assert "] --n" not in said and "n_seq" not in said
    assert re.search(r"--n: '.*named.jsonl' gives \d+ certification sequences, fewer than", said)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("no SAEs under a: pass sae=...", "no SAEs under a: say with --sae where they are"),
        (
            "load fewer SAEs (hooks=[...]), halve it (dtype=torch.bfloat16), or use another device",
            "load fewer SAEs (--hook), take a smaller model, or another --device",
        ),
        ("load them apart with hooks=[...]", "name one with --hook"),
        ("no CUDA device here: device='cpu'", "no CUDA device here: --device cpu"),
        (
            "overlap = 2 (losses.take(~losses.overlap)); to certify all the same, pass "
            "allow=('overlap', 'pool_from_sample',): it is recorded",
            "overlap = 2 (in Python losses.take(~losses.overlap)); to certify all the same, pass "
            "--allow overlap --allow pool_from_sample: it is recorded",
        ),
    ],
)
def test_settings_have_the_names_of_options(message, told):
    assert in_shell_words(message) == told


def test_no_saes_is_told(folders, text, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(folders["llama"], bare, ignore=shutil.ignore_patterns("saes"))
    assert "--sae" in wrong(["certify", bare, "--text", text], capsys)


def test_debug_shows_where(capsys):
    for arguments in (["certify", "nowhere", "--debug"], ["--debug", "certify", "nowhere"]):
        with pytest.raises(ValueError, match="nowhere"):
            main(arguments)


def test_an_interrupted_call_says_how_to_go_on(folders, text, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("saecert.measurement.collect.collect_layers", interrupt)
    assert main(["certify", str(folders["llama"]), "--text", str(text), *FEW]) == 130
    assert "interrupted: the same command goes on where it was" in capsys.readouterr().err


def test_an_error_nobody_foresaw_is_two_lines(capsys, monkeypatch):
    def fail(*_):
        raise KeyError("a fault")

    monkeypatch.setattr("saecert.cli.certify.check_outputs", fail)
    said = wrong(["certify", "docstring-6l"], capsys)
    assert "unexpected KeyError: 'a fault'\nthe same command with --debug" in said


def test_the_report_holds_the_certificate_and_fetches_nothing(written):
    folder, _ = written
    page = (folder / "a.html").read_text(encoding="utf-8")
    certificate = Certificate.load(folder / "a.json")
    assert upper_text(certificate.sharp) in page
    assert page.count("<figure>") == page.count('<img alt="') == 3
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(|<script", page)
    assert "prefers-color-scheme: dark" in page
    assert len(page) < 1_000_000


def printed(page: str, head: str) -> list[dict[str, str]]:
    """Rows of the one table of a report whose first column is `head`, as they are printed."""
    tables = [re.findall(r"<tr>(.*?)</tr>", table) for table in page.split("<table")[1:]]
    cells = [[re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows] for rows in tables]
    ((names, *rows),) = [table for table in cells if table[0][0] == head]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_the_report_rounds_means_and_terms_to_the_nearest(written):
    folder, _ = written
    certificate = Certificate.load(folder / "a.json")
    page = (folder / "a.html").read_text(encoding="utf-8")
    *terms, bound = [row["sharp"] for row in printed(page, "term")]
    assert terms == [nearest_text(value) for value in certificate.sharp_terms.values()]
    assert bound == upper_text(certificate.sharp)
    rows = {row["statement"]: row["mean"] for row in printed(page, "statement")}
    stated = {name: facts["mean"] for name, facts in certificate.statements.items()}
    assert {"bound", "sharp", "price"} <= set(rows)
    known = {name: mean for name, mean in stated.items() if mean is not None}
    assert known and {name: nearest_text(mean) for name, mean in known.items()} == {
        name: rows[name] for name in known
    }


def test_a_certificate_that_cannot_be_written_is_printed_all_the_same(written, capsys, monkeypatch):
    folder, arguments = written
    monkeypatch.setenv("SAECERT_CACHE", str(folder / "cache"))
    monkeypatch.setattr("saecert.cli.certify.check_outputs", lambda *_: None)
    place = folder / "a.json/sub/out.html"
    assert main(["certify", *arguments, "--html", str(place)]) == 1
    assert str(Certificate.load(folder / "a.json")) in capsys.readouterr().out
