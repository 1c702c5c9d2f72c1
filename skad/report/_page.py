"""The page: its head, its sections in order, its style and its script."""

import base64
import hashlib
import html
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from .. import __version__
from ._cards import headline
from ._heat import COLORS
from ._histogram import draw_histogram
from ._table import table
from ._text import counted, name, shown

# Pictures called normal that are printed, as page.css has it.
_ON_PAPER = 12

_SECTIONS = {
    "scores": "Scores",
    "anomalies": "Anomalies",
    "others": "Normal pictures next to the threshold",
    "threshold": "How it was decided",
    "model": "The model",
    "pictures": "All pictures",
}


@dataclass
class Told:
    """What a report tells.

    Parameters
    ----------
    title, model : str
        `model` is the name of its file, "" if there is none.
    date : datetime
    rows : list of dict
        Verdicts in the order of the report, with their `rank`.
    promises : list of str
        See :func:`skad.report._promise.promises`.
    facts, parameters, versions : lists of tuples
        See :mod:`skad.report._model`.
    anomaly_cards, other_cards : list of str
        HTML of the pictures that are shown.
    has_heat : bool
        Whether there are heat maps among them.
    neighbors : str
        What is to be said of the nearest normal pictures.
    """

    title: str
    model: str
    date: datetime
    rows: list
    promises: list
    facts: list
    parameters: list
    versions: list
    anomaly_cards: list
    other_cards: list
    has_heat: bool
    neighbors: str

    @property
    def counts(self):
        """How many rows there are of each decision."""
        decisions = [row["decision"] for row in self.rows]
        return {name: decisions.count(name) for name in ("anomaly", "normal", "unreadable")}

    @property
    def scores(self):
        """Scores of what could be read, ndarray."""
        return np.array([row["score"] for row in self.rows if "score" in row], dtype=np.float64)


def page(told):
    """A report as HTML.

    Parameters
    ----------
    told : Told
        What is in it.

    Yields
    ------
    html : str
        Piece by piece.
    """
    yield from _head(told)
    sections = {
        "scores": _scores(told),
        "anomalies": _anomalies(told),
        "others": _others(told),
        "threshold": (f"<p>{html.escape(text)}</p>" for text in told.promises),
        "model": _model(told),
        "pictures": _pictures(told),
    }
    for key, inner in sections.items():
        if key == "others" and not told.other_cards:
            continue
        yield f'<section aria-labelledby="{key}"><h2 id="{key}">{_SECTIONS[key]}</h2>\n'
        yield from inner
        yield "</section>\n"
    yield f"</main><footer>Written by skad {__version__}.</footer>"
    yield f"<script>{_asset('page.js')}</script></body></html>\n"


def _head(told):
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    title = shown(told.title)
    yield '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="generator" content="skad {__version__}"><title>{title}</title>'
    yield f"<style>{style}</style></head><body><header><h1>{title}</h1>"
    when = told.date.strftime("%Y-%m-%d %H:%M UTC")
    model = f"Model {name(told.model)}, " if told.model else ""
    stamp = f'<time datetime="{told.date:%Y-%m-%dT%H:%MZ}">{when}</time>'
    yield f"<p>{model}{counted(len(told.rows), 'picture')}, {stamp}</p>"
    yield '<ul class="counts">'
    for decision, count in told.counts.items():
        word = "anomalies" if decision == "anomaly" and count != 1 else decision
        yield f'<li class="{decision}"><b>{count}</b> {word}</li>'
    yield "</ul><nav><ul>"
    for key, text in _SECTIONS.items():
        if key != "others" or told.other_cards:
            yield f'<li><a href="#{key}">{text}</a></li>'
    yield "</ul></nav></header><main>\n"


def _scores(told):
    if not len(told.scores):
        yield "<p>No picture could be read.</p>"
        return
    yield f'<div class="histogram">{draw_histogram(told.scores)}</div>'
    yield "<p>A picture whose score is below 0 is called an anomaly; the lower, the odder.</p>"


def _anomalies(told):
    yield f"<p>{headline(told.counts['anomaly'], len(told.anomaly_cards))}</p>"
    if told.has_heat:
        yield _legend()
    if told.anomaly_cards:
        yield f"<p>{shown(told.neighbors)}</p>"
    yield from _cards(told.anomaly_cards)


def _others(told):
    yield "<p>Called normal; the lowest scores first.</p>"
    if len(told.other_cards) > _ON_PAPER:
        yield f'<p class="paper">On paper the first {_ON_PAPER} of {len(told.other_cards)}.</p>'
    yield from _cards(told.other_cards)


def _cards(cards):
    yield '<div class="cards">'
    yield from (f"{one}\n" for one in cards)
    yield "</div>"


def _legend():
    last = len(COLORS) - 1
    stops = "".join(
        f'<stop offset="{i / last}" stop-color="{color}"/>' for i, color in enumerate(COLORS)
    )
    return (
        '<p class="legend">Heat maps, all in one scale: like normal pixels '
        '<svg viewBox="0 0 120 12" role="img" aria-label="from dark to bright"><defs>'
        f'<linearGradient id="heat">{stops}</linearGradient></defs>'
        '<rect width="120" height="12" fill="url(#heat)"/></svg> unlike them. Outlines, light '
        "blue and black, hold the pixels beyond the threshold of pixels.</p>"
    )


def _model(told):
    yield "<dl>"
    yield from (f"<dt>{shown(term)}</dt><dd>{shown(text)}</dd>" for term, text in told.facts)
    changed = [f"{parameter} = {value}" for parameter, value, other in told.parameters if other]
    yield f"<dt>Parameters that are not the defaults</dt><dd>{shown('; '.join(changed)) or 'none'}"
    yield "</dd></dl><details><summary>All parameters</summary><dl>"
    for parameter, value, _ in told.parameters:
        yield f"<dt>{shown(parameter)}</dt><dd>{shown(value)}</dd>"
    yield '</dl></details><table class="versions"><caption>Versions</caption><thead><tr>'
    yield '<th scope="col">library</th><th scope="col">that scored</th>'
    yield '<th scope="col">that wrote the model</th></tr></thead><tbody>'
    for row in told.versions:
        yield "<tr>" + "".join(f"<td>{shown(text) or '-'}</td>" for text in row) + "</tr>"
    yield "</tbody></table>"


def _pictures(told):
    n_normal = told.counts["normal"]
    yield (
        "<p>Anomalies, what could not be read, then normal pictures; the lowest scores first.</p>"
        f'<p class="paper">On paper the table leaves out the {counted(n_normal, "picture")} called '
        "normal; the file has every row.</p>"
        '<div class="tools" hidden><label>Search <input type="search" id="search"></label> '
        '<span id="found" role="status"></span> <button type="button" id="more">Show all</button>'
        "</div>\n"
    )
    yield '<div class="wide">'
    yield from table(told.rows, len(told.anomaly_cards) + len(told.other_cards))
    yield "</div>"


def _asset(file):
    return Path(__file__).with_name(file).read_text(encoding="utf-8")


def _digest(text):
    """What allows this text, and no other, to style the page or to run in it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
