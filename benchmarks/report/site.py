"""All pages of results, by where they lie."""

import re

from . import beside
from .acceptance import acceptance
from .accuracy import one_class
from .choosing import choosing
from .conformal import conformal
from .few_pictures import few_pictures
from .from_scratch import from_scratch
from .inspection import inspection
from .lines import BENCHMARKS, read
from .many_classes import many_classes
from .rst import page, toctree
from .scorers import scorers
from .speed import speed
from .summary import summary
from .tiles import tiles

DOC = BENCHMARKS.parent / "doc"
NOTES = BENCHMARKS / "notes"
COMMENT = ".. Written by ``python -m benchmarks.report``; don't edit.\n"
ABOUT_NOTES = """\
How the figures came about: settings and what they were chosen on, what else was tried, and what
was not run. Each page begins with what it comes to.
"""

# The pages, in order: what makes each, and the files of lines that it is made of.
TOPICS = {
    "one_class": (one_class, "results"),
    "scorers": (scorers, "results"),
    "few_pictures": (few_pictures, "few_pictures"),
    "choosing": (choosing, "choosing"),
    "acceptance": (acceptance, "acceptance"),
    "many_classes": (many_classes, "many_classes", "results"),
    "from_scratch": (from_scratch, "from_scratch"),
    "inspection": (inspection, "localization", "beside_anomalib"),
    "tiles": (tiles, "localization"),
    "conformal": (conformal, "conformal", "conformal_masks"),
    "speed": (speed, "speed", "sharded"),
}


def read_all():
    """The lines of all files, by the name of the file."""
    return {name: read(name) for _, *names in TOPICS.values() for name in names}


def rows(lines):
    """What is plotted beside the figures of papers."""
    sections = beside.sections(lines)
    return [row for section in sections if section.other == "published" for row in section.rows]


def pages(lines):
    """The text of each page."""
    found = {f"results/{name}": make(*map(lines.get, of)) for name, (make, *of) in TOPICS.items()}
    notes = {path.stem: path.read_text() for path in sorted(NOTES.glob("*.rst"))}
    found |= {f"results/notes/{name}": text for name, text in notes.items()}
    found["results/notes/index"] = page("Notes", ABOUT_NOTES, toctree(*notes))
    findings = (BENCHMARKS / "notes.rst").read_text()
    versions = lines["results"][-1]["versions"]
    names = [*TOPICS, "notes/index"]
    found["results"] = summary(beside.sections(lines), findings, names, versions)
    return {DOC / f"{name}.rst": f"{COMMENT}\n{tidy(text)}" for name, text in found.items()}


def tidy(text):
    """No blanks at the ends of lines, no two empty lines."""
    lines = [line.rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
