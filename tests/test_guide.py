"""The pages of the site run as they stand."""

import doctest
import re
import textwrap
from pathlib import Path

import pytest

import skad

ROOT = Path(__file__).parents[1]
DOC = ROOT / "doc"
WRITTEN = [*ROOT.glob("*.rst"), *sorted(DOC.glob("*.rst")), *sorted(DOC.glob("papers/*.rst"))]
EXAMPLE, BLOCK = re.compile(r"^ *>>> ", re.M), re.compile(r"^\.\. code(-block)?:: python$", re.M)
RUNS = [page for page in WRITTEN if page.parent != ROOT and EXAMPLE.search(page.read_text())]
BLOCKS = [page for page in WRITTEN if page.parent != ROOT and re.search(BLOCK, page.read_text())]
MADE = {"changes", "contributing", "sg_execution_times"}  # of other pages; by Sphinx


def name_of(page):
    return str(page.relative_to(ROOT).with_suffix(""))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A working folder that nothing stays in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("page", RUNS, ids=name_of)
def test_examples_of_the_guide_run(page, folder):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert found.attempted == len(EXAMPLE.findall(page.read_text()))
    assert found.failed == 0


def blocks_of(text):
    """The blocks of Python of a page, and whether they are to run."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if not BLOCK.match(line):
            continue
        body = []
        for following in lines[start + 1 :]:
            if following and not following.startswith(" "):
                break
            body.append(following)
        before = [other for other in lines[:start] if other][-1]
        yield textwrap.dedent("\n".join(body)), not before.startswith(".. Not run:")


@pytest.mark.parametrize("page", BLOCKS, ids=name_of)
def test_blocks_of_python_run(page, folder):
    names, text = {}, page.read_text()
    blocks = list(blocks_of(text))
    assert len(blocks) == len(BLOCK.findall(text))
    for number, (block, runs) in enumerate(blocks):
        code = compile(block, f"{page}, block {number}", "exec")
        if runs:
            exec(code, names)


def test_blocks_are_found():
    runs = "A\n\n.. code-block:: python\n\n    a\n\n    b\n\n"
    text = runs + "B\n\n.. Not run: x\n\n.. code:: python\n\n  c\n"
    assert list(blocks_of(text)) == [("\na\n\nb\n", True), ("\nc", False)]


@pytest.mark.parametrize("page", [page for page in WRITTEN if page.stem not in MADE], ids=name_of)
def test_pages_begin_with_a_title(page):
    # Behind labels and comments.
    lines = [line for line in page.read_text().splitlines() if line and line[:3] != ".. "]
    title, underline = lines[:2]
    assert underline == "=" * len(title)


@pytest.mark.parametrize("drawing", sorted(DOC.glob("_static/*.svg")), ids=lambda file: file.stem)
def test_drawings_point_to_what_there_is(drawing):
    # Sphinx looks at links of its own pages alone.
    links = re.findall(r'href="([^"]+)"', drawing.read_text())
    for link in links:
        page = re.fullmatch(r"api/skad\.(\w+)\.html", link)
        assert hasattr(skad, page[1]) if page else (DOC / link).with_suffix(".rst").exists()


def test_there_is_a_guide():
    assert {"doc/get_started", "doc/pictures"} <= {name_of(page) for page in RUNS}
