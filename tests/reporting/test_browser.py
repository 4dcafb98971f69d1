"""The table of latents: complete without a script, JSON that is what was measured, no text kept."""

import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from checks import ROOT
from conftest import make_texts
from pages import printed_limits

from saecert.dictionaries.latent_limits import removal_limits
from saecert.dictionaries.latents import BEFORE
from saecert.reporting import browser
from saecert.reporting.browser import latent_table, payload_of, shares_of_kinds, with_texts
from saecert.reporting.excerpts import fill, texts_of
from saecert.reporting.study import open_study

HOOK = "blocks.0.hook_resid_post"
SIZES = {"n_latents": 3, "n_places": 2, "n_tokens": 2}


class Page(HTMLParser):
    """What a browser without scripts shows: rows of cells, list items, and marked text."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.items, self.marked, self.scripts = [], [], [], []
        self._into = None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "tr":
            self.rows.append([])
        targets = {"li": self.items, "mark": self.marked, "script": self.scripts}
        if tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in targets:
            targets[tag].append("")
        if tag in ("td", "th", "mark", "script"):
            self._into = tag
        if tag == "mark":
            self._in_mark = True

    _in_mark = False

    def handle_endtag(self, tag):
        if tag == "mark":
            self._in_mark = False
        if tag == "script":
            self._into = None

    def handle_data(self, data):
        if self._into == "script":
            self.scripts[-1] += data
            return
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data
        if self.items:
            self.items[-1] += data
        if self._in_mark:
            self.marked[-1] += data


@pytest.fixture(scope="module")
def study(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "texts.jsonl"
    lines = [json.dumps({"text": text}) for text in make_texts(120)]
    path.write_text("\n".join(lines), encoding="utf-8")
    settings = {"n_seq": 20, "n_discovery": 20, "n_ctx": 24}
    return open_study(str(folders["llama"]), corpus=str(path), hook_name=HOOK, **settings)


@pytest.fixture(scope="module")
def measured(study, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAECERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return _measured(study)


def _measured(study):
    strongest = study.measure("strongest", **SIZES)
    limits = removal_limits(study.measure("removed", n_latents=3), 0.05)
    names = ("subject", "corpus", "n_discovery", "n_ctx")
    return {name: study.settings[name] for name in names}, strongest, limits


@pytest.fixture
def parts(measured):
    """What a table is made of; some tests change its payload, which is made anew."""
    return measured


def test_without_a_script_there_is_a_table_with_a_row_for_each_latent(study, parts):
    table = latent_table(*parts)
    texts = texts_of(table.payload, study)
    page = Page(with_texts(table._repr_html_(), texts))
    numbers = [row for row in page.rows if len(row) == len(browser.HEADS)]
    assert [row[0] for row in numbers[1:]] == [str(number) for number in range(1, 7)]
    kinds = [row["kind"] for row in table.payload["rows"]]
    assert sorted(kinds) == ["random"] * 3 + ["trained"] * 3
    names = [browser.NAMES[kind] for kind in kinds]
    assert all(f"reveal{name}," in row[-1] for row, name in zip(numbers[1:], names, strict=True))
    count = sum(len(places) for places in table.payload["places"])
    assert len(page.items) == len(page.marked) == count > 6


def test_the_text_is_that_of_the_places(study, parts):
    table = latent_table(*parts)
    corpus = study.discovery
    decode = study.subject.tokenizer.decode
    for row, texts in zip(table.payload["places"], texts_of(table.payload), strict=True):
        for (sequence, position, *_), tokens in zip(row, texts, strict=True):
            own = min(position - corpus.first, BEFORE)
            assert tokens[own] == decode([int(corpus.tokens[sequence, position])])
            assert "".join(tokens) in "".join(decode([int(t)]) for t in corpus.tokens[sequence, 1:])
    page = Page(with_texts(table._repr_html_(), texts_of(table.payload, study)))
    assert all(mark and mark in item for mark, item in zip(page.marked, page.items, strict=True))


def test_the_json_is_what_was_measured(parts):
    source, strongest, limits = parts
    payload = payload_of(latent_table(*parts)._repr_html_())
    assert payload["source"] == source and payload["texts"] is None
    for row, places in zip(payload["rows"], payload["places"], strict=True):
        kind = row["kind"]
        rank = strongest[f"{kind} latents"].tolist().index(row["latent"])
        measured = strongest[f"{kind} places"][rank]
        assert [place[:2] for place in places] == measured[measured[:, 0] >= 0].tolist()
        ids = strongest[f"{kind} ids"][rank][: len(places)]
        assert [place[2] for place in places] == ids.tolist()
        cost = limits[(limits["kind"] == kind) & (limits["rank"] == rank + 1)].iloc[0]
        names = ["lower", "mean", "upper", "whole"]
        assert [row[name] for name in names] == pytest.approx(cost[names].tolist())


def test_limits_are_printed_outwards(parts):
    page = latent_table(*parts)._repr_html_()
    shown = nbformat.v4.new_output("display_data", {"text/html": page})
    cell = nbformat.v4.new_code_cell(outputs=[shown])
    limits = printed_limits(nbformat.v4.new_notebook(cells=[cell]))
    assert len(limits) == 12
    for side, value, printed in limits:
        assert printed >= value if side == "upper" else printed <= value


def test_the_cost_and_that_which_is_cut_off_are_told_apart(parts):
    source, strongest, limits = parts
    page = latent_table(source, strongest, limits.assign(mean=0.0986, whole=0.103))._repr_html_()
    told = "removing it costs 0.1030 in the sample, 0.0986 with sequences cut off at 0.25 bits: "
    assert page.count(told) == 6
    (caption,) = re.findall(r"<caption>(.*?)</caption>", page)
    assert "if a sequence counts for 0.25 bits at most" in caption


def test_what_would_decide_the_game_is_folded_with_the_answer(parts):
    page = latent_table(*parts)._repr_html_()
    assert page.count("fires at ") == page.count("removing it costs ") == 6
    table = page[page.index("<tbody") : page.index("</table>")]
    open_part = re.sub(r"<details class=.which.>.*?</details>", "", table, flags=re.DOTALL)
    assert table.count("data-limit") == 12 and "data-limit" not in open_part
    assert not re.search(r"fires|costs|attribution|\d\.\d", open_part)


def test_no_text_stands_in_it_until_it_is_filled(study, parts):
    table = latent_table(*parts)
    page = table._repr_html_()
    long = ["".join(tokens) for row in texts_of(table.payload, study) for tokens in row]
    assert not any(text in page for text in long)
    assert browser.MISSING.split(".")[0] in page
    shown = nbformat.v4.new_output("display_data", {"text/html": page})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[shown])])
    assert fill(notebook) == 1
    filled = notebook.cells[0].outputs[0]["data"]["text/html"]
    assert payload_of(filled)["texts"] == texts_of(table.payload, study)
    assert browser.MISSING.split(".")[0] not in filled


def test_other_text_than_was_measured_is_refused(study, parts):
    payload = latent_table(*parts).payload
    payload["places"][0][0][2] += 1
    with pytest.raises(ValueError, match="is not the one that was measured"):
        texts_of(payload, study)
    payload["places"][0][0][0] = 999
    with pytest.raises(ValueError, match="sequence 999 was measured, and there are only 20 now"):
        texts_of(payload, study)
    with pytest.raises(ValueError, match="holds no latents"):
        with_texts("<p>no table</p>", [])


def test_tokens_cannot_end_the_script(study, parts):
    table = latent_table(*parts)
    texts = texts_of(table.payload, study)
    own = table.payload["places"][0][0][1] - table.payload["first"]
    texts[0][0][min(own, BEFORE)] = "</script><b>"
    page = Page(with_texts(table._repr_html_(), texts))
    assert page.marked[0] == "</script><b>"
    data, script = page.scripts
    assert json.loads(data)["texts"] == texts
    assert script.strip().startswith("(() => {") and script.strip().endswith("})();")


def test_nothing_is_fetched_and_everything_has_a_name(parts):
    page = latent_table(*parts)._repr_html_()
    assert "http" not in page and "src=" not in page and "import" not in page
    assert page.count('scope="col"') == len(browser.HEADS)
    assert page.count('scope="row"') == 6
    assert "<caption>" in page and page.count("<summary>") == 6


def test_what_the_kinds_are_like(parts):
    frame = shares_of_kinds(parts[1])
    assert frame.index.tolist() == ["trained", "untrained"]
    share = parts[1]["random share"].sum()
    assert frame.loc["untrained", "share of attribution"] == pytest.approx(share)


def test_the_stored_page_holds_what_was_measured_and_no_text():
    notebook = nbformat.read(ROOT / "notebooks/26_latents.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pages = [output.get("data", {}).get("text/html", "") for output in outputs]
    (payload,) = [found for page in pages if (found := payload_of(page))]
    assert payload["texts"] is None
    study = open_study(n_discovery=400)
    strongest = study.measure("strongest", n_latents=16, seed=0)
    for row, places in zip(payload["rows"], payload["places"], strict=True):
        rank = strongest[f"{row['kind']} latents"].tolist().index(row["latent"])
        assert [place[2] for place in places] == strongest[f"{row['kind']} ids"][rank].tolist()
        assert [place[:2] for place in places] == strongest[f"{row['kind']} places"][rank].tolist()
    words = [word for row in payload["rows"] for key in ("tokens", "up") for word in row[key]]
    assert max(map(len, words)) < 25, "tokens, not text"
