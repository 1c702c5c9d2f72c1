"""Whether a graph is the detector: both score the same pictures."""

import numpy as np

from .._verdicts import mapper_within
from ._graph import inner_detector
from ._parts import ExportError

# Largest difference of scores, relative to the score or to the threshold, whichever is larger.
TOLERANCE = 1e-4

# Pictures that are scored, where none are given.
_N_PICTURES = 64

# Sides of these pictures, beyond which photographs are enlarged: some are reduced before they are
# resized, some enlarged, some are strips.
_SIDES = (3, 9, 32, 60, 100, 224, 257, 400, 640, 1300, 2100)


def gate_pictures(n_channels):
    """Pictures of many sizes and kinds: pieces of photographs, noise, single colours.

    Parameters
    ----------
    n_channels : {1, 3}

    Returns
    -------
    pictures : list of ndarray of uint8, shape (height, width, n_channels)
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng, photos, pictures = np.random.RandomState(0), load_sample_images().images, []
    while len(pictures) < _N_PICTURES:
        photo = Image.fromarray(photos[len(pictures) % len(photos)])
        height, width = (int(side) for side in rng.choice(_SIDES, 2))
        left, top = rng.randint(320), rng.randint(213)
        piece = photo.crop((left, top, left + 320, top + 213))
        pixels = np.asarray(piece.resize((width, height), Image.Resampling.BILINEAR))
        kind = len(pictures) % 8
        if kind == 6:
            pixels = rng.randint(256, size=pixels.shape, dtype=np.uint8)
        elif kind == 7:
            pixels = np.full_like(pixels, rng.randint(256, size=3))
        pictures.append(pixels[..., :n_channels])
    return pictures


def check_same(run, detector, graph, pictures, what):
    """Raise unless what runs a graph gives the scores and decisions of the detector.

    Parameters
    ----------
    run : callable
        Maps pixels (1, height, width, channels) to a dict of arrays, by the names of outputs.
    detector : estimator
    graph : DetectorGraph
    pictures : list of ndarray of uint8, shape (height, width, channels)
    what : str
        Of the graph, named in errors.

    Returns
    -------
    largest : float
        Largest relative difference of scores.

    Raises
    ------
    ExportError
        If any differ.
    """
    found = [run(one[None]) for one in pictures]
    images = [one[..., 0] if one.shape[-1] == 1 else one for one in pictures]
    scores = np.array([one["score"][0] for one in found])
    expected = detector.decision_function(images)
    scale = np.maximum(np.abs(expected + graph.offset), abs(graph.offset))
    apart = np.abs(scores - expected) / np.where(scale == 0, 1, scale)
    _refuse(apart > TOLERANCE, apart, "scores", what, pictures)
    anomaly = np.array([one["anomaly"][0] for one in found])
    clear = np.abs(expected) > TOLERANCE * scale  # of what is on the threshold nobody can tell
    _refuse(clear & (anomaly != (expected < 0)), apart, "decisions", what, pictures)
    if hasattr(detector, "false_alarm_rate"):
        p_values = np.array([one["p_value"][0] for one in found])
        _refuse(
            ~_between_p_values(detector, expected, scale, p_values),
            apart,
            "p-values",
            what,
            pictures,
        )
    if "map" in graph.outputs:
        maps = mapper_within(inner_detector(detector)).score_maps(images)
        far = np.array([_apart(one["map"][0], known) for one, known in zip(found, maps)])
        _refuse(far > TOLERANCE, far, "maps", what, pictures)
    return float(apart.max())


def _between_p_values(detector, expected, scale, p_values):
    """Whether p-values are those of scores as near as the graph's may be."""
    known = detector.calibration_scores_[0]
    scores, slack = expected + detector.offset_, TOLERANCE * scale
    least, most = (
        (1 + np.searchsorted(known, scores + sign * slack, side="right")) / (1 + len(known))
        for sign in (-1, 1)
    )
    return (least - 1e-9 <= p_values) & (p_values <= most + 1e-9)


def _apart(found, known):
    if found.shape != known.shape:
        return np.inf
    return np.abs(found - known).max() / np.abs(known).max()


def _refuse(wrong, apart, name, what, pictures):
    if not wrong.any():
        return
    index = int(np.flatnonzero(wrong)[np.argmax(apart[wrong])])
    height, width = pictures[index].shape[:2]
    raise ExportError(
        f"export: {what} gives other {name} than the detector for {int(wrong.sum())} of "
        f"{len(pictures)} pictures, by {apart[index]:.1e} of the score for picture {index}, of "
        f"{height} x {width} pixels; at most {TOLERANCE:g} is allowed. Nothing was written."
    )
