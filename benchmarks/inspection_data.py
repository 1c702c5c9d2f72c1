"""Pictures of inspection: sound ones to learn from; others to test on, with masks and defects.

Each reader gives what `Inspected` holds; seeds draw the pictures to learn from.
"""

import runpy
from pathlib import Path
from typing import NamedTuple

import numpy as np

# What the sets are called in the results.
TITLES = {"tiles": "magnetic tiles", "pcb": "circuit boards", "cells": "solar cells"}

# Pictures to learn from, where nothing is said: all, but for tiles, of which many are tested.
N_TRAIN = {"tiles": 600}


class Inspected(NamedTuple):
    """One set, split. A defect is "Free" where there is none; masks are None where there are none.

    Attributes
    ----------
    train, test : array or list of images
    masks : list of arrays of bool, or None
    defects : array of str
    """

    train: object
    test: object
    masks: list | None
    defects: np.ndarray


def read(folder, name, n_train=None, n_test=None, seed=0):
    """Read a set; `n_test` of the pictures to test on, evenly spaced."""
    loader = runpy.run_path(str(Path(folder, "load.py")))
    n_train = n_train or N_TRAIN.get(name)
    return READERS[name](loader, n_train, n_test, np.random.default_rng(seed))


def _tiles(loader, n_train, n_test, rng):
    """Magnetic tiles: by default, those that were not learned from are tested.

    In the order of the set, tiles are sorted by how they were lit.
    """
    labels = loader["labels_of"]("magnetic_tile")[0]
    free = rng.permutation(np.flatnonzero(labels == 0))
    train, rest = np.sort(free[:n_train]), np.setdiff1d(np.arange(len(labels)), free[:n_train])
    return _masked(loader, "magnetic_tile", train, _spaced(rest, n_test))


def _pcb(loader, n_train, n_test, rng):
    """Circuit boards, as the set splits them."""
    split = loader["labels_of"]("pcb")[1]
    train, rest = (np.flatnonzero(split == part) for part in ("train", "test"))
    return _masked(loader, "pcb", _drawn(train, n_train, rng), _spaced(rest, n_test))


def _cells(loader, n_train, n_test, rng):
    """Solar cells, without masks."""
    train, test, y = loader["solar_cells"]()
    train = train[_drawn(np.arange(len(train)), n_train, rng)]
    chosen = _spaced(np.arange(len(test)), n_test)
    return Inspected(train, test[chosen], None, np.where(y[chosen] == 1, "Free", "Defect"))


def _masked(loader, name, train, test):
    labels, _, classes = loader["labels_of"](name)
    images = [loader["load"](name, indices)[0] for indices in (train, test)]
    defects = np.array([str(classes[label]) for label in labels[test]])
    return Inspected(*images, loader["load_masks"](name, test), defects)


def _drawn(indices, n, rng):
    return indices if n is None else np.sort(rng.permutation(indices)[:n])


def _spaced(indices, n):
    return indices if n is None else indices[np.linspace(0, len(indices) - 1, n).astype(int)]


READERS = {"tiles": _tiles, "pcb": _pcb, "cells": _cells}
