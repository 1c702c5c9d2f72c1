"""Splits and protocols of one-class learning: train on normal images, test on both kinds."""

from collections.abc import Iterator, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state, column_or_1d

from .._compat import num_samples, safe_indexing
from .._types import ArrayLike, Images, RandomState


class Task(NamedTuple):
    """One run of a protocol: fit on `X_train`, score `X_test`, compare with `y_test`.

    Parameters
    ----------
    name : object
        The class, or group of classes, that the run is named after.
    X_train : sequence
        Normal training images.
    y_train : ndarray
        Their class labels, for upper bounds that use them. Detectors must not see them.
    X_test : sequence
        Test images of all classes.
    y_test : ndarray of int
        +1 for normal, -1 for anomaly.
    """

    name: object
    X_train: object
    y_train: np.ndarray
    X_test: object
    y_test: np.ndarray


def one_vs_rest(
    X_train: Images,
    y_train: ArrayLike,
    X_test: Images,
    y_test: ArrayLike,
    *,
    classes: Sequence | None = None,
) -> Iterator[Task]:
    """Take each class in turn as the normal one; all others are anomalies.

    Parameters
    ----------
    X_train : sequence
        Training images of all classes, in any container that can be indexed.
    y_train : array-like
        Class labels of the training images.
    X_test : sequence
        Test images of all classes.
    y_test : array-like
        Class labels of the test images.
    classes : sequence, optional
        Classes to take as the normal one; by default all of `y_train`.

    Yields
    ------
    task : Task
        One run, named after its normal class.

    Raises
    ------
    ValueError
        If lengths differ, a class is unknown, or a run would lack normal images or anomalies.

    Examples
    --------
    >>> from skad.model_selection import one_vs_rest
    >>> tasks = one_vs_rest(list("abcd"), [0, 0, 1, 1], list("efg"), [0, 1, 1])
    >>> [(task.name, task.X_train, task.y_test.tolist()) for task in tasks]
    [(0, ['a', 'b'], [1, -1, -1]), (1, ['c', 'd'], [-1, 1, 1])]
    """
    groups = {name: [name] for name in _classes(y_train, classes)}
    yield from _tasks(X_train, y_train, X_test, y_test, groups)


def leave_one_class_out(
    X_train: Images,
    y_train: ArrayLike,
    X_test: Images,
    y_test: ArrayLike,
    *,
    classes: Sequence | None = None,
) -> Iterator[Task]:
    """Take each class in turn as the anomaly; all others together are normal.

    Parameters
    ----------
    X_train : sequence
        Training images of all classes, in any container that can be indexed.
    y_train : array-like
        Class labels of the training images.
    X_test : sequence
        Test images of all classes.
    y_test : array-like
        Class labels of the test images.
    classes : sequence, optional
        Classes to take as the anomaly; by default all of `y_train`.

    Yields
    ------
    task : Task
        One run, named after its anomalous class.

    Raises
    ------
    ValueError
        As in :func:`one_vs_rest`.
    """
    every = _classes(y_train, None)
    groups = {left: [c for c in every if c != left] for left in _classes(y_train, classes)}
    yield from _tasks(X_train, y_train, X_test, y_test, groups)


def super_categories(
    X_train: Images, y_train: ArrayLike, X_test: Images, y_test: ArrayLike, *, groups: dict
) -> Iterator[Task]:
    """Take each group of classes in turn as normal; all others are anomalies.

    Parameters
    ----------
    X_train : sequence
        Training images of all classes, in any container that can be indexed.
    y_train : array-like
        Class labels of the training images.
    X_test : sequence
        Test images of all classes.
    y_test : array-like
        Class labels of the test images.
    groups : dict of object to sequence
        Names of the groups and their classes. For example CLAD's ``{"CUR": [0, 3, 8], "STR": [1, 4,
        7], "MIX": [2, 5, 6, 9]}`` on MNIST.

    Yields
    ------
    task : Task
        One run, named after its group.

    Raises
    ------
    ValueError
        As in :func:`one_vs_rest`.
    """
    yield from _tasks(X_train, y_train, X_test, y_test, groups)


def pollute(
    X_normal: Images, X_outlier: Images, p: float, *, random_state: RandomState = None
) -> tuple[Images, np.ndarray]:
    """Mix outliers into normal training images.

    All normal images are kept. Outliers are drawn without replacement and appended, :math:`p / (1 -
    p)` times the number of normal images, so that their share of the result is `p`.

    Parameters
    ----------
    X_normal, X_outlier : array or list
        Images, both in the same kind of container.
    p : float in [0, 1)
        Share of outliers in the result.
    random_state : int, RandomState instance or None, default=None
        Seeds the choice of outliers.

    Returns
    -------
    X : array or list
        Normal images, then outliers.
    y : ndarray of int
        +1 for normal, -1 for outliers.

    Raises
    ------
    ValueError
        If `p` is not in [0, 1), or there are too few outliers.

    Examples
    --------
    >>> from skad.model_selection import pollute
    >>> X, y = pollute(list("normal"), list("xyz"), 0.25, random_state=0)
    >>> len(X), y.tolist()
    (8, [1, 1, 1, 1, 1, 1, -1, -1])
    """
    if not isinstance(p, Real) or not 0 <= p < 1:
        raise ValueError(f"pollute: p must be a share in [0, 1), got {p!r}.")
    n_normal, n_candidates = num_samples(X_normal), num_samples(X_outlier)
    n_outliers = round(p / (1 - p) * n_normal)
    if n_outliers > n_candidates:
        raise ValueError(
            f"pollute: p={p} of {n_normal} normal images takes {n_outliers} outliers, but X_outlier"
            f" has {n_candidates}."
        )
    drawn = check_random_state(random_state).permutation(n_candidates)[:n_outliers]
    outliers = safe_indexing(X_outlier, drawn)
    if hasattr(X_normal, "shape"):
        X = np.concatenate([np.asarray(X_normal), np.asarray(outliers)])
    else:
        X = [*X_normal, *outliers]
    return X, np.repeat([1, -1], [n_normal, n_outliers])


def _classes(y_train, classes):
    known = np.unique(column_or_1d(y_train)).tolist()
    if classes is None:
        return known
    unknown = [c for c in classes if c not in known]
    if unknown:
        raise ValueError(f"classes {unknown} are not among the labels {known}.")
    return list(classes)


def _tasks(X_train, y_train, X_test, y_test, groups):
    """One run for each named group of normal classes."""
    y_train, y_test = column_or_1d(y_train), column_or_1d(y_test)
    for X, y, split in ((X_train, y_train, "train"), (X_test, y_test, "test")):
        if num_samples(X) != len(y):
            raise ValueError(f"X_{split} has {num_samples(X)} images, y_{split} {len(y)} labels.")
    known = np.unique(y_train).tolist()
    for name, normal_classes in groups.items():
        unknown = [c for c in normal_classes if c not in known]
        if unknown:
            raise ValueError(f"group {name!r}: classes {unknown} are not among the labels {known}.")
        normal = np.flatnonzero(np.isin(y_train, normal_classes))
        labels = np.where(np.isin(y_test, normal_classes), 1, -1)
        if len(normal) == 0 or len(np.unique(labels)) < 2:
            raise ValueError(
                f"{name!r}: there are {len(normal)} normal training images, {(labels == 1).sum()} "
                f"normal test images and {(labels == -1).sum()} anomalies; all three are needed."
            )
        yield Task(name, safe_indexing(X_train, normal), y_train[normal], X_test, labels)
