"""Regret of a choice without labels: AutoDetector, each of its candidates, and DN2.

Each run appends one line of JSON to ``benchmarks/choosing.jsonl``, and is left out when asked for
again; ``benchmarks/report`` makes tables of ``doc/results`` of the lines.

    python -m benchmarks.choosing cifar10 fashion_mnist --n-test 40
    python -m benchmarks.choosing cells tiles --preset thorough

Settings (which kinds of anomalies are made, how they are averaged, by how much another candidate
must be better) were fixed on CIFAR-10, MNIST and magnetic tiles; the others had no say.
"""

import argparse
import datetime
import json
import runpy
import tempfile
import time
import warnings

import numpy as np

from skad import AutoDetector
from skad.detectors._auto import _kept
from skad.detectors._candidates import PRESETS
from skad.metrics import auroc_score

from .accuracy import HERE, SHARED

LINES = HERE / "choosing.jsonl"
SMALL = ("cifar10", "fashion_mnist", "mnist")
SETS = (*SMALL, "cells", "tiles", "wbc", "pcb")


def tasks(loader, name, n_train, n_test):
    """Class, training and test pictures and labels of each task of a set."""
    if name in SMALL:
        labels, split, _ = loader["labels_of"](name)
        places = [np.flatnonzero((split == "test") & (labels == c))[:n_test] for c in range(10)]
        test = np.concatenate(places)
        X_test = loader["load"](name, test)[0]
        for c in range(10):
            train = np.flatnonzero((split == "train") & (labels == c))[:n_train]
            y = np.where(labels[test] == c, 1, -1)
            yield str(c), loader["load"](name, train)[0], X_test, y
    elif name == "wbc":
        yield from _blood_cells(loader, n_train)
    else:
        yield _one(loader, name, n_train)


def _blood_cells(loader, n_train):
    """Each type of cell that has twenty pictures: 60 % to learn from."""
    labels, split, _ = loader["labels_of"]("white_blood_cells")
    places = np.flatnonzero(split == "dataset1")
    for c in np.unique(labels[places]):
        own = places[labels[places] == c]
        if len(own) < 20:
            continue
        n = min(n_train, int(0.6 * len(own)))
        test = np.concatenate([own[n:], places[labels[places] != c]])
        parts = [list(loader["load"]("white_blood_cells", part)[0]) for part in (own[:n], test)]
        yield str(c), *parts, np.where(labels[test] == c, 1, -1)


def _one(loader, name, n_train):
    """Sound pictures to learn from, others and faulty ones to test on."""
    if name == "cells":
        X, X_test, y = loader["solar_cells"]()
        return "sound", X[:n_train], X_test, y
    data = {"tiles": "magnetic_tile", "pcb": "pcb"}[name]
    labels, split, _ = loader["labels_of"](data)
    free, faulty = np.flatnonzero(labels == 0), np.flatnonzero(labels != 0)
    if name == "tiles":
        rng = np.random.RandomState(0)
        free, faulty = rng.permutation(free), rng.permutation(faulty)[:200]
        train, test = free[:n_train], np.append(free[500:700], faulty)
    else:
        train = free[split[free] == "train"][:n_train]
        test = np.flatnonzero(split == "test")
    parts = [loader["load"](data, part)[0] for part in (train, test)]
    return "sound", *parts, np.where(labels[test] == 0, 1, -1)


def measure(preset, X, X_test, y):
    """AUROC of the choice, of each candidate, and what the made anomalies said of it."""
    search = AutoDetector(preset)
    begun = time.perf_counter()
    search.fit(X)
    minutes = (time.perf_counter() - begun) / 60
    found = {"auto": 100 * auroc_score(y, search.score_samples(X_test)), "minutes": minutes}
    found["taken"] = [row["candidate"] for row in search.leaderboard_ if row["weight"]]
    judged = {row["candidate"]: row["auroc"] for row in search.leaderboard_}
    candidates = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in PRESETS[preset](search).items():
            detector = _kept(make(), folder).fit(X)
            true = 100 * auroc_score(y, detector.score_samples(X_test))
            candidates[name] = [true, 100 * judged[name]]
    return found | {"candidates": candidates}


def main(argv=None):
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--preset", default="fast", choices=list(PRESETS))
    parser.add_argument("--n-train", type=int, default=300)
    parser.add_argument("--n-test", type=int, default=40, help="of each class of ten")
    parser.add_argument("--classes", nargs="*", help="those alone")
    args = parser.parse_args(argv)
    loader = runpy.run_path(str(SHARED / "data" / "load.py"))
    known = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []
    for name in args.sets:
        for task, X, X_test, y in tasks(loader, name, args.n_train, args.n_test):
            line = {"data": name, "task": task, "preset": args.preset, "n_train": len(X)}
            line["n_test"] = len(y)
            done = any(line.items() <= old.items() for old in known)
            if done or (args.classes and task not in args.classes):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # candidates that need more pictures
                line |= measure(args.preset, X, X_test, y)
            line["date"] = datetime.date.today().isoformat()
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            best = max(true for true, _ in line["candidates"].values())
            print(name, task, f"{line['auto']:.1f} of {best:.1f}", line["taken"], flush=True)


if __name__ == "__main__":
    main()
