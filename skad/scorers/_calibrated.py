"""Scores of any scale, by where they lie among those of normal samples."""

import numpy as np
from scipy.stats import norm


def normal_scores(scores, calibration):
    r"""Calibrated ranks of scores as quantiles of the standard normal distribution.

    .. math:: z(s) = \Phi^{-1}\left(\frac{\operatorname{rank}(s) - \tfrac12}{n}\right)

    among n scores of normal samples, linear between two of them; beyond the lowest and the highest
    it goes on in a line, by the distance between median and tenth (or ninth) decile, so that
    anomalies beyond all normal samples are still told apart.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        High = normal; NaN stays.
    calibration : ndarray of shape (n,)
        Scores of normal samples that the detector was not fitted to, at least one.

    Returns
    -------
    z : ndarray of float64, shape (n_samples,)
        About standard normal for normal samples, far below 0 for anomalies.
    """
    known, z, below, above = quantiles_of(calibration)
    found = np.interp(scores, known, z)
    with np.errstate(invalid="ignore"):
        found = np.where(scores < known[0], z[0] - (known[0] - scores) / below, found)
        return np.where(scores > known[-1], z[-1] + (scores - known[-1]) / above, found)


def quantiles_of(calibration):
    """Scores of normal samples, each once, and the quantiles that they stand for.

    Parameters
    ----------
    calibration : ndarray of shape (n,)

    Returns
    -------
    known, z : ndarray of float64, shape (n_known,)
    below, above : float
        What the score changes by where the quantile does by one, beyond the lowest and the highest.
    """
    known, counts = np.unique(calibration, return_counts=True)
    # Equal scores share the middle of their ranks.
    ranks = np.cumsum(counts) - counts / 2
    low, middle, high = np.quantile(calibration, [0.1, 0.5, 0.9])
    decile = norm.ppf(0.9)
    smallest = np.finfo(float).eps * max(abs(known).max(), 1.0)
    below, above = (max(part / decile, smallest) for part in (middle - low, high - middle))
    return known, norm.ppf(ranks / len(calibration)), below, above
