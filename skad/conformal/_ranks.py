"""Ranks among calibration scores, and decisions by them."""

import math
from numbers import Real

import numpy as np
from scipy.stats import false_discovery_control


def whole_part(share, n):
    """Largest k for which ``k / n <= share`` as floats: 0.05 * 20 is 1, and 0.29 * 100 is 29."""
    k = round(share * n)
    return k if k <= 0 or k / n <= share else k - 1


def fewest_to_alarm(rate):
    """Number of calibration scores without which no p-value is as low as a false-alarm rate."""
    # A bit less, so that 1 / (1 / 49), which is above 49, takes 48 images as it should.
    return max(1, math.ceil(1 / rate - 1e-9) - 1)


def count_at_or_below(known, scores):
    """Calibration scores up to each score, over all detectors, and how many there are.

    Parameters
    ----------
    known : list of ndarray of float
        Calibration scores of each detector, lowest first.
    scores : list of ndarray of float
        New scores by each, all of one shape.

    Returns
    -------
    count : ndarray of float64
        NaN where a score is, as of samples that could not be read.
    n : int
    """
    count = sum(np.searchsorted(c, s, side="right") for c, s in zip(known, scores))
    unreadable = np.isnan(scores).any(axis=0)
    return np.where(unreadable, np.nan, count), sum(map(len, known))


def p_values_of(known, scores):
    """Share of normal scores that are as low, by the calibration scores of one detector.

    Parameters
    ----------
    known : ndarray of float, shape (n,)
        Lowest first.
    scores : ndarray of float

    Returns
    -------
    p_values : ndarray of float64
        Of the shape of the scores; NaN where those are.
    """
    count, n = count_at_or_below([known], [scores])
    return (1 + count) / (n + 1)


def discoveries(p_values, rate, owner):
    """What to take for an anomaly such that few are false, by Benjamini and Hochberg.

    Parameters
    ----------
    p_values : ndarray of float64, shape (n_samples,)
        NaN for what could not be read, which is an alarm, beside the others.
    rate : float in (0, 1)
    owner : str
        Named in the error if the rate is no such thing.

    Returns
    -------
    found : ndarray of bool, shape (n_samples,)
    """
    if not isinstance(rate, Real) or not 0 < rate < 1:
        raise ValueError(f"{owner}: false_discovery_rate must be a float in (0, 1), got {rate!r}.")
    readable = ~np.isnan(p_values)
    adjusted = np.zeros(len(p_values))
    adjusted[readable] = false_discovery_control(p_values[readable], method="bh")
    # p-values are fractions of whole numbers, so equality is common; rounding may not undo it.
    return adjusted <= rate * (1 + 1e-12)
