"""What is to be seen of pictures: each as it is, under its heat map, and what is near it."""

from typing import NamedTuple

import numpy as np

from .._verdicts import detectors_within, mapper_within, unreadable_skipped
from ..displays._anomaly_map import color_range
from ._cards import caption_of, card
from ._heat import heat_over
from ._text import shown
from ._thumbnails import NEIGHBOR_MOST, NEIGHBOR_SIDE, Thumbnails, as_data, resized


class View(NamedTuple):
    """A small picture.

    Parameters
    ----------
    address : str
        That holds it.
    shape : tuple of int
        Height and width.
    text : str
        For who can't see it, escaped.
    caption : str
        HTML.
    """

    address: str
    shape: tuple
    text: str
    caption: str


def make_cards(detector, rows, nearest, progress):
    """Cards of pictures.

    Parameters
    ----------
    detector : estimator
        Fitted; those with `score_maps` give heat maps as well.
    rows : list of dict
        Verdicts.
    nearest : NearestNormal or None
        Finds what stands beside the anomalies.
    progress : bool

    Returns
    -------
    cards : list of str
        HTML.
    """
    mapper, thumbnails = mapper_within(detector), Thumbnails(detectors_within(detector)[0])
    read = []  # small ones: of large pictures and their maps one is in memory
    with progress_bar(len(rows), "shown", progress) as bar:
        for row in rows:
            read.append(_read(mapper, row["path"], thumbnails))
            bar.update(1)
    maps = [one.score_map for one in read if one is not None and one.score_map is not None]
    ends = color_range(maps, getattr(mapper, "pixel_offset_", None)) if maps else None
    neighbors = _neighbors(rows, nearest)
    cards = []
    for row, one in zip(rows, read):
        views = [] if one is None else _views(row["path"], one, ends)
        found = neighbors.get(row["path"], ())
        beside = [(path, distance, _view_of(path, thumbnails)) for path, distance in found]
        cards.append(card(row, views, [one for one in beside if one[2] is not None]))
    return cards


def progress_bar(total, what, wanted):
    """Something to tell of pictures that are done, on stderr."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="picture", disable=not wanted)


class _Small(NamedTuple):
    """A picture, its score map and its mask, small; the share of the whole mask."""

    pixels: np.ndarray
    score_map: np.ndarray | None = None
    mask: np.ndarray | None = None
    share: float | None = None


def _neighbors(rows, nearest):
    """Normal pictures and distances by the path of an anomaly."""
    paths = [row["path"] for row in rows if row["decision"] == "anomaly"]
    if nearest is None or not paths:
        return {}
    return dict(zip(paths, nearest.find(paths)))


def _view_of(path, thumbnails):
    """View of a normal picture; None if it could not be read."""
    try:
        pixels = thumbnails.read(path, NEIGHBOR_SIDE)
    except (OSError, ValueError):
        return None
    text = f"Normal picture {shown(path)}"
    return View(as_data(pixels, NEIGHBOR_MOST), pixels.shape[:2], text, "")


def _read(mapper, path, thumbnails):
    """A picture; None if it can't be read again."""
    try:
        pixels = thumbnails.read(path)
    except (OSError, ValueError):
        return None
    if mapper is None:
        return _Small(pixels)
    with unreadable_skipped(mapper):
        (score_map,) = mapper.score_maps([path])
    if np.isnan(score_map).any():
        return _Small(pixels)
    mask = score_map < getattr(mapper, "pixel_offset_", -np.inf)
    score_map, shape = score_map.astype(np.float32), pixels.shape[:2]
    return _Small(pixels, resized(score_map, shape), resized(mask, shape), float(mask.mean()))


def _views(path, one, ends):
    shape = one.pixels.shape[:2]
    views = [View(as_data(one.pixels), shape, f"Picture {shown(path)}", "picture")]
    if one.score_map is not None:
        address = as_data(heat_over(one.pixels, one.score_map, one.mask, ends))
        views.append(View(address, shape, f"Heat map of {shown(path)}", caption_of(one.share)))
    return views
