"""Rows made ready for a metric, and when two of them are the same."""

import numpy as np

# Rows that differ by so many units in the last place are the same row: the last bits of a feature
# depend on how many images went through the network with it (by up to 4e-6 of its length, seen on
# MobileNets and ResNets in float32).
_SAME_ULPS = 128


def plain_rows(X):
    """Rows as float64."""
    return X.astype(np.float64, order="C")


def unit_rows(X):
    """Rows of unit length as float64; a zero row stays zero."""
    X = X.astype(np.float64, order="C")
    # Scaled by the largest value first: the squares of 1e-200 would vanish.
    X /= nonzero(np.abs(X).max(axis=1, keepdims=True))
    X /= nonzero(np.linalg.norm(X, axis=1, keepdims=True))
    return X


def nonzero(scale):
    """Divisors with ones for zeros."""
    return np.where(scale == 0, 1.0, scale)


def angle_of(chord):
    """Angle in radians between unit rows so far apart; exact where arccos of a cosine is not."""
    return 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))


def same_within(*dtypes):
    """Relative distance that two computations of the same row may differ by."""
    return _SAME_ULPS * max(np.finfo(dtype).eps for dtype in dtypes)
