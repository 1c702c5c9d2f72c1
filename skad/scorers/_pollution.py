"""Training rows that are likely anomalies themselves."""

import numpy as np

# Neighbours whose mean distance tells how far from the others a row lies.
N_NEIGHBORS = 10

# Deviations from the median beyond which "estimate" takes a row for an anomaly.
N_DEVIATIONS = 2.5


def likely_anomalies(distances, pollution):
    r"""Rows that lie farthest from the others.

    "estimate" takes those whose distance d has

    .. math:: \log d > m + 2.5\, \sigma, \qquad \sigma = (m - q) / 0.9945,

    with the median m of the logarithms and their 16th percentile q, one standard deviation below it
    in a normal distribution: anomalies among the rows stretch the upper half alone.

    Parameters
    ----------
    distances : ndarray of shape (n_samples,)
        Of each row to its nearest ones.
    pollution : float in [0, 0.5) or "estimate"
        Share of the rows, rounded down.

    Returns
    -------
    likely : ndarray of bool, shape (n_samples,)
        Never more than half of them.
    """
    likely = np.zeros(len(distances), dtype=bool)
    if pollution == "estimate":
        positive = distances[distances > 0]
        if not len(positive):  # copies of one row
            return likely
        logs = np.log(np.maximum(distances, positive.min()))
        low, middle = np.quantile(logs, [0.16, 0.5])
        if low == middle:  # most are copies, which tell no scale
            return likely
        n_likely = np.sum(logs > middle + N_DEVIATIONS * (middle - low) / 0.9945)
    else:
        n_likely = int(pollution * len(distances) + 1e-9)
    likely[np.argsort(-distances, kind="stable")[: min(n_likely, len(distances) // 2)]] = True
    return likely
