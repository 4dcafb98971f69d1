"""The check of a built book finds what it is there to find, and nothing else."""

from pathlib import Path

import pytest
from accessible import check_accessible, check_contrast, contrast
from checks import ROOT

GOOD = """<html lang="en"><head><title>A page</title></head><body><article>
<h1 id="top">One</h1><h2>Two</h2><h3>Three</h3><h2>Four</h2>
<a href="other.html#there">text</a><a href="#top">up</a><a href="https://x.org/none">far</a>
<a href="other.html"><img src="a.png" alt="a picture"></a><img src="a.png" alt="">
<label for="field">n</label><input id="field" type="range"><label>k <select></select></label>
<input type="search" aria-label="Search"><input type="hidden"><button title="More"></button>
<svg><line x1="0"/></svg><details><summary aria-label="below"><i></i></summary>x</details>
</article></body></html>"""
OTHER = '<html lang="en"><head><title>Other</title></head><body><p id="there">x</p></body></html>'


def built(folder, page):
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "other.html").write_text(OTHER, encoding="utf-8")
    (folder / "a.png").write_bytes(b"")
    return check_accessible(folder)


def test_a_good_page_is_let_through(tmp_path):
    assert built(tmp_path, GOOD) == []


def test_a_folder_may_be_named_from_here(tmp_path, monkeypatch):
    assert built(tmp_path, GOOD) == []
    monkeypatch.chdir(tmp_path.parent)
    assert check_accessible(Path(tmp_path.name)) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("<h2>Two", '<h2 id="top">Two', "id 'top' is there twice"),
        ('<img src="a.png" alt="">', '<img src="a.png">', "<img src='a.png'> has no alt text"),
        ('for="field"', 'for="fields"', "<input id='field'> has no label"),
        (' title="More"', "", "<button ''> has no name"),
        (' aria-label="below"', "", "<summary ''> has no name"),
        ('alt="a picture"', 'alt=""', "<a 'other.html'> has no name"),
        ("<h2>Two</h2>", "", "heading of level 3 right below one of level 1"),
        ("other.html#there", "other.html#here", "no such place on that page"),
        ("other.html#there", "others.html", "dead link 'others.html'"),
        ("#top", "#bottom", "dead link '#bottom'"),
        ('src="a.png" alt=""', 'src="b.png" alt=""', "dead link 'b.png'"),
        ("text</a>", "te\x0bxt</a>", "control character '\\x0b'"),
        (' lang="en"', "", "<html> says no language"),
        ("A page", "", "has no title"),
    ],
)
def test_each_fault_is_named_with_its_page(tmp_path, old, new, complaint):
    assert old in GOOD
    (found,) = built(tmp_path, GOOD.replace(old, new))
    assert found.startswith("page.html: ") and complaint in found


def test_contrast_is_that_of_the_standard():
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ffffff", "#777777") == contrast("#777777", "#ffffff")


def test_own_colours_can_be_told_from_the_page():
    sheet = (ROOT / "_static/custom.css").read_text(encoding="utf-8")
    assert check_contrast(sheet) == []
    (faint,) = check_contrast(sheet.replace("--saecert-faint: #767676", "--saecert-faint: #777777"))
    assert faint.startswith("--saecert-faint #777777 on light #ffffff: contrast 4.4")
    assert check_contrast("") == ["no own colours for light pages", "no own colours for dark pages"]
