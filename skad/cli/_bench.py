"""``skad bench``: which detector tells the pictures of labelled folders apart."""

import csv
import os
import re
import sys
import time

from ._detectors import NAMES, detector_of, parse_settings
from ._errors import UsageError
from ._output import remark, wants_progress

_COLUMNS = ("detector", "auroc", "low", "high", "fit_seconds", "pictures_per_second")

# What folders of normal pictures are called, where nothing is said.
_NORMAL = ("good", "normal", "ok")


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="one sub-folder a class of pictures; or train and test with such sub-folders, as "
        "MVTec has them",
    )
    parser.add_argument(
        "--normal",
        nargs="+",
        metavar="CLASS",
        help=f"sub-folders of normal pictures; by default {', '.join(_NORMAL)}",
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=["dn2", "spade", "msc"],
        metavar="NAME[:SETTINGS]",
        help=f"of {', '.join(NAMES)}, with settings, as dn2:backbone=resnet18,n_neighbors=1 "
        "(dn2 spade msc)",
    )
    parser.add_argument(
        "--train-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of normal pictures, where there is no folder train; the others are scored (0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides all drawn (0)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ...; by default what there is")


def run(arguments):
    """Fit each detector to the normal pictures, and rank the others."""
    from ..metrics import auroc_interval, auroc_score

    arguments.progress = wants_progress(arguments)
    detectors = {name: _detector(name, arguments) for name in arguments.detectors}
    train, test, labels = _split(arguments)
    n_normal = int((labels == 1).sum())
    remark(
        arguments,
        f"fitted to {len(train)} normal pictures; scored: {n_normal} normal, "
        f"{len(test) - n_normal} others; low and high hold the AUROC with 95 %",
    )
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for name, detector in detectors.items():
        began = time.perf_counter()
        detector.fit(train)
        fitted = time.perf_counter()
        scores, known = _readable(detector, test, labels)
        ended = time.perf_counter()
        figures = (auroc_score(known, scores), *auroc_interval(known, scores))
        speed = len(test) / (ended - fitted)
        rows.writerow(
            [name, *(f"{one:.4f}" for one in figures), f"{fitted - began:.2f}", f"{speed:.1f}"]
        )
        sys.stdout.flush()
        if len(scores) < len(test):
            remark(arguments, f"{name}: {len(test) - len(scores)} pictures could not be read")
    return 0


def _detector(text, arguments):
    """A detector by its name and settings, as ``dn2:n_neighbors=1``."""
    name, _, settings = text.partition(":")
    if name not in NAMES:
        raise UsageError(f"--detectors {text}: there are {', '.join(NAMES)}; got {name!r}")
    # Commas within values, as of lists, are followed by no name.
    parts = re.split(r",(?=\w+=)", settings) if settings else []
    given = parse_settings(parts, f"--detectors {text}")
    given = {"device": arguments.device, "random_state": arguments.seed} | given
    given = {key: value for key, value in given.items() if value is not None}
    return detector_of(name, given, arguments.progress)


def _readable(detector, paths, labels):
    """Scores and labels of those pictures that can be read."""
    import numpy as np

    from .._verdicts import unreadable_skipped

    with unreadable_skipped(detector):
        scores = detector.decision_function(paths)
    known = ~np.isnan(scores)
    return scores[known], labels[known]


def _split(arguments):
    """Pictures to fit to, those to score, and the labels of these: 1 for normal, else -1."""
    import numpy as np

    from ..datasets import image_folder

    folder, share = arguments.folder, arguments.train_share
    parts = [os.path.join(folder, name) for name in ("train", "test")]
    if all(map(os.path.isdir, parts)):
        (train, train_classes), (test, classes) = map(image_folder, parts)
        normal = _normal_classes({*train_classes, *classes}, arguments)
        return train[np.isin(train_classes, normal)], test, _labels(classes, normal)
    if not 0 < share < 1:
        raise UsageError(f"--train-share must lie between 0 and 1; got {share:g}")
    paths, classes = image_folder(folder)
    labels = _labels(classes, _normal_classes({*classes}, arguments))
    drawn = np.random.RandomState(arguments.seed).permutation(np.flatnonzero(labels == 1))
    train = np.sort(drawn[: max(1, round(share * len(drawn)))])
    others = np.setdiff1d(np.arange(len(paths)), train)
    return paths[train], paths[others], labels[others]


def _labels(classes, normal):
    import numpy as np

    labels = np.where(np.isin(classes, normal), 1, -1)
    if (labels == 1).all() or (labels == -1).all():
        raise UsageError(
            f"both kinds are needed to compare detectors; all {len(labels)} pictures are of "
            f"{', '.join(sorted({*classes}))}, and normal is {', '.join(normal)}"
        )
    return labels


def _normal_classes(classes, arguments):
    """Names of the folders of normal pictures."""
    asked = arguments.normal or [name for name in _NORMAL if name in classes]
    unknown = [name for name in asked if name not in classes]
    if unknown or not asked:
        there = ", ".join(repr(str(name)) for name in sorted(classes))
        wrong = f"; {', '.join(map(repr, unknown))} is none of them" if unknown else ""
        raise UsageError(
            f"{arguments.folder} has the classes {there}; say by --normal which are of normal "
            f"pictures{wrong}"
        )
    return asked
