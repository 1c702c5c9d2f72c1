"""The pages of the user guide run as they stand."""

import doctest
from pathlib import Path

import pytest

PAGES = sorted(
    page for page in (Path(__file__).parents[1] / "doc").glob("*.rst") if ">>> " in page.read_text()
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_guide_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert found.attempted > 10
    assert found.failed == 0


ROOT = Path(__file__).parents[1]
WRITTEN = [*ROOT.glob("*.rst"), *sorted((ROOT / "doc").glob("*.rst"))]
MADE = {"changes", "contributing", "sg_execution_times"}  # of other pages; by Sphinx


@pytest.mark.parametrize(
    "page", [page for page in WRITTEN if page.stem not in MADE], ids=lambda page: page.stem
)
def test_pages_begin_with_a_title(page):
    # Behind labels and comments.
    lines = [line for line in page.read_text().splitlines() if line and line[:3] != ".. "]
    title, underline = lines[:2]
    assert underline == "=" * len(title)


def test_there_is_a_guide():
    assert "pictures" in [page.stem for page in PAGES]
