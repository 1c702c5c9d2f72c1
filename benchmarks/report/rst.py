"""Pieces of a page: titles, tables, folded parts, plots."""

import csv
import io


def title(text, mark="-"):
    """A title and its line."""
    return f"{text}\n{mark * len(text)}\n"


def table(header, rows, name="", kind=""):
    """A table, one line of source a row; "prose" as its kind lets its last column wrap."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    head = [f".. csv-table:: {name}".rstrip(), f"   :class: figures {kind}".rstrip()]
    head += ["   :header-rows: 1", "   :widths: auto", ""]
    return "\n".join([*head, *(f"   {line}" for line in text.getvalue().splitlines()), ""])


def folded(summary, *parts):
    """Parts that a click unfolds."""
    begin = f'.. raw:: html\n\n   <details class="figures"><summary>{summary}</summary>\n'
    return "\n".join([begin, *parts, ".. raw:: html\n\n   </details>\n"])


def toctree(*names):
    """Pages to go on to."""
    return "\n".join([".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in names), ""])


def plot(path, alt):
    """A picture, as wide as the page; it has no ground of its own, for light and dark."""
    return f".. image:: {path}\n   :alt: {alt}\n   :class: dark-light plot\n   :width: 100%\n"


def page(name, *parts, notes=()):
    """A page of results; `notes` names the pages of notes to send the reader to."""
    parts = list(parts)
    if notes:
        links = " and ".join(f":doc:`notes/{note}`" for note in notes)
        parts.append(f"How settings were chosen, and what else was tried: {links}.\n")
    return "\n".join([title(name, "="), *parts])


def mean_and_spread(mean, spread, digits=2):
    """A mean, and behind it how far it deviates, where that is known."""
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")
