"""Scores as a histogram, drawn in SVG."""

import math

import numpy as np

from ._text import counted, number

# The drawing and the room about it, in its own units.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 240, 44, 16, 32, 46

_WORD, _AXIS = 64, "score; the dashed line is the threshold, 0"

# About so many bars, and so many ticks.
_BARS, _TICKS = 40, 6


def bars_of(scores):
    """Count scores in bars, one of whose edges is the threshold, 0.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)

    Returns
    -------
    edges : ndarray of float64, shape (n_bars + 1,)
        Multiples of a round number. A bar holds its lower edge, and not the upper one.
    counts : ndarray of int, shape (n_bars,)
    """
    low, high = min(0.0, float(scores.min())), max(0.0, float(scores.max()))
    step = _round_step((high - low or 1.0) / _BARS)
    places = np.floor(scores / step).astype(int)
    places[(scores < 0) & (places >= 0)] = -1  # where the quotient was rounded to 0
    first, last = min(places.min(), math.floor(low / step), 0), max(places.max(), 0)
    counts = np.bincount(places - first, minlength=last - first + 1)
    return np.arange(first, last + 2) * step, counts


def _round_step(least):
    """The next of 1, 2, 5, 10 and so on."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= least * (1 - 1e-9))


def draw_histogram(scores):
    """Histogram of scores with the threshold.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        Those below 0 are anomalies.

    Returns
    -------
    svg : str
    """
    edges, counts = bars_of(scores)
    top = max(1, int(counts.max()))
    step_y = max(1, _round_step(top / 4))
    top = math.ceil(top / step_y) * step_y
    inner = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(value):
        return round(_LEFT + inner[0] * (value - edges[0]) / (edges[-1] - edges[0]), 2)

    def y(count):
        return round(_TOP + inner[1] * (1 - count / top), 2)

    below = int((scores < 0).sum())
    told = (
        f"{counted(len(scores), 'score')} from {number(scores.min())} to {number(scores.max())}; "
        f"{below} below the threshold, 0, and {len(scores) - below} not."
    )
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="scores-t scores-d">',
        f'<title id="scores-t">Histogram of scores</title><desc id="scores-d">{told}</desc>',
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" class="bar-anomaly"/>'
        '<rect width="2" height="6" class="stripe"/></pattern></defs>',
    ]
    for value in np.arange(0, top + step_y / 2, step_y):
        parts.append(f'<path class="grid" d="M{_LEFT} {y(value)}H{_WIDTH - _RIGHT}"/>')
        parts.append(_label(_LEFT - 6, y(value) + 4, number(value), "end"))
    parts += [_bar(*pair, x, y) for pair in zip(edges[:-1], edges[1:], counts) if pair[2]]
    step_x = _round_step((edges[-1] - edges[0]) / _TICKS)
    for value in np.arange(math.ceil(edges[0] / step_x), edges[-1] / step_x + 1e-9) * step_x:
        parts.append(f'<path class="tick" d="M{x(value)} {y(0)}v5"/>')
        parts.append(_label(x(value), y(0) + 18, number(value), "middle"))
    parts += _threshold(x(0.0))
    parts.append(_label(_LEFT + inner[0] / 2, _HEIGHT - 6, _AXIS, "middle"))
    return "".join([*parts, "</svg>"])


def _threshold(x):
    """The line, and what lies on either side of it, where there is room to say so."""
    yield f'<path class="threshold" d="M{x} {_TOP - 18}V{_HEIGHT - _BOTTOM}"/>'
    if x > _LEFT + _WORD:
        yield _label(x - 6, _TOP - 9, "← anomaly", "end")
    if x < _WIDTH - _RIGHT - _WORD:
        yield _label(x + 6, _TOP - 9, "normal →", "start")


def _bar(low, high, count, x, y):
    kind = "anomaly" if high <= 0 else "normal"
    width, height = max(0.5, round(x(high) - x(low) - 1, 2)), max(1.5, round(y(0) - y(count), 2))
    told = f"{counted(count, 'picture')} from {number(low)} to {number(high)}"
    fill = ' fill="url(#hatch)"' if kind == "anomaly" else ' class="bar-normal"'
    return (
        f'<rect x="{x(low)}" y="{round(y(0) - height, 2)}" width="{width}" height="{height}"{fill}>'
        f"<title>{told}</title></rect>"
    )


def _label(x, y, text, anchor):
    return f'<text x="{x}" y="{round(y, 2)}" text-anchor="{anchor}">{text}</text>'
