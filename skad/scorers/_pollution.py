"""Training rows that are likely anomalies themselves."""

import numpy as np

# Neighbours whose mean distance tells how far from the others a row lies.
N_NEIGHBORS = 10

# Rows that tell what is far: of fewer, an estimate drops normal ones, at a cost.
FEWEST = 30

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
        Share of the rows, rounded down. "estimate" takes none of fewer than 30.

    Returns
    -------
    likely : ndarray of bool, shape (n_samples,)
        Fewer than half of them.
    """
    likely = np.zeros(len(distances), dtype=bool)
    if pollution == "estimate":
        positive = distances[distances > 0]
        if len(distances) < FEWEST or not len(positive):  # the latter are copies of one row
            return likely
        logs = np.log(np.maximum(distances, positive.min()))
        low, middle = np.quantile(logs, [0.16, 0.5])
        if low == middle:  # most are copies, which tell no scale
            return likely
        n_likely = np.sum(logs > middle + N_DEVIATIONS * (middle - low) / 0.9945)
    else:
        n_likely = int(pollution * len(distances) + 1e-9)
    likely[np.argsort(-distances, kind="stable")[:n_likely]] = True
    return likely
