"""The pages of results are those of the lines, short, and hang together."""

import re

import pytest

from benchmarks.report import site
from benchmarks.report.lines import BENCHMARKS

DOC = site.DOC
LINES = site.read_all()
PAGES = site.pages(LINES)
WRITTEN = [BENCHMARKS / "notes.rst", *sorted(site.NOTES.glob("*.rst"))]
# All that names a page, a picture or a file of another: roles, toctrees, pictures.
ROLE = re.compile(r":doc:`(?:[^`<]*<)?([^`>]+)>?`")
PICTURE = re.compile(r"^\.\. (?:image|figure):: (\S+)$", re.MULTILINE)
TREE = re.compile(r"^\.\. toctree::\n((?:   :.*\n)*)\n((?:   \S+\n)+)", re.MULTILINE)
LINK = re.compile(r"`[^`]* <([^`>:]*results[^`>:]*\.rst)>`_")


def name(path):
    return str(path.relative_to(DOC))


def in_trees(text):
    """The pages that toctrees name."""
    return [page for _, pages in TREE.findall(text) for page in pages.split()]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_is_that_of_the_lines(path):
    assert path.read_text() == PAGES[path], "python -m benchmarks.report"


def test_no_page_is_left_of_another_time():
    assert set((DOC / "results").rglob("*.rst")) == PAGES.keys() - {DOC / "results.rst"}


@pytest.mark.parametrize("path", [*PAGES, *WRITTEN], ids=lambda path: path.stem)
def test_a_page_is_short_and_has_a_title(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 400
    title, underline = [line for line in lines if line and line[:3] != ".. "][:2]
    assert set(underline) <= set("=-")
    assert len(underline) == len(title)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_of_a_page_lead_somewhere(path):
    text = path.read_text()
    names = ROLE.findall(text) + in_trees(text)
    for target in names:
        assert (path.parent / f"{target}.rst").exists(), target
    for target in PICTURE.findall(text):
        assert (path.parent / target).exists(), target


def test_pages_can_be_reached_and_links_to_them_are_good():
    texts = {path: path.read_text() for path in [*DOC.rglob("*.rst"), DOC.parent / "README.rst"]}
    reached = {path.parent / f"{n}.rst" for path, text in texts.items() for n in in_trees(text)}
    assert PAGES.keys() <= reached
    for path, text in texts.items():
        for target in LINK.findall(text):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_plots_are_drawn_of_the_lines(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.report.plots import draw, plots

    drawn = plots(LINES, site.rows(LINES))
    assert {f"{name}.svg" for name in drawn} == {p.name for p in (DOC / "results").glob("*.svg")}
    draw(drawn, tmp_path)
    for path in tmp_path.iterdir():
        assert path.stat().st_size > 5000


def test_lines_that_are_added_are_told_of():
    # Without those of the same kind that are there already.
    own = {"detector": "DN2", "params": {}, "network": "default"}
    results = [line for line in LINES["results"] if not own.items() <= line.items()]
    base = next(line for line in results if line.get("params") == {"metric": "cosine"})
    new = base | {"params": {}, "mean": 91.23}
    fast = [line for line in LINES["choosing"] if line["preset"] == "fast"]
    choice = fast[0] | {"preset": "thorough", "auto": 77.7}
    training = LINES["acceptance"][0] | {"seed": 7, "always": 66.66}
    lines = LINES | {
        "results": [*results, new],
        "choosing": [*fast, choice],
        "acceptance": [*LINES["acceptance"], training],
    }
    pages = {name(path): text for path, text in site.pages(lines).items()}
    row = '"DN2 as it comes, CIFAR-10",91.23,95.8,-4.57,"*tiny, all pictures.*'
    assert row in pages["results.rst"]
    assert "``DN2()``,tiny,91.23" in pages["results/one_class.rst"]
    assert 'AutoDetector("thorough")' in pages["results/choosing.rst"]
    assert ",77.7," in pages["results/choosing.rst"]
    assert ",66.66," in pages["results/acceptance.rst"]


def test_a_part_that_is_folded_is_closed():
    for text in PAGES.values():
        assert text.count("<details") == text.count("</details>")


def test_every_file_of_lines_has_its_place():
    told = {path.stem for path in BENCHMARKS.glob("*.jsonl")}
    elsewhere = {"last_layer", "many_labels", "mixed_precision", "scale", "scores"}
    assert told - elsewhere == LINES.keys()
