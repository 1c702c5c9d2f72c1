"""Rows taken block by block, so that memory does not grow with their number."""

import numpy as np

# Values that one block may hold (4 MiB in float64).
_BLOCK_VALUES = 2**19


def block_length(values_per_row, at_least=1):
    """Rows of one block, see :func:`blocks`."""
    return max(at_least, _BLOCK_VALUES // max(1, values_per_row))


def blocks(X, values_per_row, at_least=1):
    """Consecutive parts of `X` that each make do with `_BLOCK_VALUES` values.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    values_per_row : int
        Values that the work on one row takes at a time.
    at_least : int
        Rows of a part, were they to hold more.

    Yields
    ------
    part : ndarray of shape (n_rows, n_features)
    """
    step = block_length(values_per_row, at_least)
    for start in range(0, len(X), step):
        yield X[start : start + step]


def blockwise(function, X, values_per_row, at_least=1):
    """Apply a function of rows block by block.

    Parameters
    ----------
    function : callable
        Maps rows to an array, or a tuple of arrays, with one entry a row.
    X : ndarray of shape (n_samples, n_features)
    values_per_row, at_least : int
        See :func:`blocks`.

    Returns
    -------
    result : ndarray or tuple of ndarray
        What `function` would give for all of `X`.
    """
    parts = [function(part) for part in blocks(X, values_per_row, at_least)]
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(part) for part in zip(*parts))
    return np.concatenate(parts)
