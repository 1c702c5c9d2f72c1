"""Tables of numbers, ordinary and degenerate, and slow statistics of them, for tests of scorers."""

import numpy as np
from sklearn.datasets import load_digits


def table(kind):
    """Rows of float64; those at odd indices serve as queries."""
    rng = np.random.RandomState(0)
    if kind == "digits":
        return load_digits().data[:400]
    if kind == "clustered":
        return np.repeat(rng.normal(size=(40, 5)), 10, axis=0) + rng.normal(size=(400, 5)) * 1e-4
    if kind == "duplicates":
        return rng.randint(0, 3, (400, 3)) + 1.0
    if kind == "constant columns":
        return np.hstack([rng.normal(size=(400, 4)), np.full((400, 6), 1e4)])
    if kind == "dense line":
        return np.hstack(
            [np.linspace(1, 2, 400)[:, None] + rng.rand(400, 1) * 1e-3, np.ones((400, 1))]
        )
    if kind == "far clusters":
        return rng.rand(400, 64) * 0.3 + rng.randint(0, 2, (400, 1)) * 1e6
    if kind == "tiny numbers":
        return rng.normal(size=(400, 8)) * 1e-20
    if kind == "large numbers":
        return rng.normal(size=(400, 8)) * 1e20
    if kind == "tiny and large":
        return rng.normal(size=(400, 8)) * np.logspace(-20, 20, 8)
    if kind == "few rows":
        return rng.normal(size=(40, 50)) + 2.0
    if kind == "two rows":
        return rng.normal(size=(4, 6)) + 1.0
    return rng.normal(size=(400, 300))


KINDS = [
    "high-dimensional",
    "digits",
    "clustered",
    "duplicates",
    "constant columns",
    "dense line",
    "far clusters",
    "tiny numbers",
    "large numbers",
]
# For covariances: far clusters leave nothing of the other directions in float64.
COVARIANCE_KINDS = [kind for kind in KINDS if kind != "far clusters"]
COVARIANCE_KINDS += ["tiny and large", "few rows", "two rows"]


def slow_covariance(rows, shrinkage="ledoit_wolf", groups=None, without=None):
    """Covariance about the means of groups, one outer product at a time.

    Without a row: what was estimated from all, less the outer product of that row.
    """
    rows = rows.astype(np.float64)
    groups = np.zeros(len(rows)) if groups is None else groups
    centered = np.concatenate(
        [rows[groups == g] - rows[groups == g].mean(axis=0) for g in np.unique(groups)]
    )
    n, d = centered.shape
    products = [np.outer(x, x) for x in centered]
    covariance = sum(products) / n
    target = np.trace(covariance) / d * np.eye(d)
    if shrinkage == "ledoit_wolf":
        noise = sum(np.square(p - covariance).sum() for p in products) / n**2
        distance = np.square(covariance - target).sum()
        shrinkage = min(noise / distance, 1.0) if distance > 0 else 0.0
        if n == 2 and d > 1:  # Ledoit and Wolf find nothing but rounding: Chen et al. instead
            trace = np.trace(covariance)
            squares = (covariance**2).sum()
            numerator = (1 - 2 / d) * squares + trace**2
            shrinkage = min(numerator / ((n + 1 - 2 / d) * (squares - trace**2 / d)), 1.0)
    shrunken = (1 - shrinkage) * covariance + shrinkage * target
    if without is None:
        return shrunken
    return n / (n - 1) * (shrunken - (1 - shrinkage) * products[without] / (n - 1))


def inverse_root(covariance):
    """The symmetric inverse square root."""
    variances, directions = np.linalg.eigh(covariance)
    variances = np.maximum(variances, 1e-16 * variances.max())  # of a direction of one row alone
    return directions / np.sqrt(variances) @ directions.T


def slow_angle(a, b):
    """Angle between two vectors, well-conditioned everywhere."""
    a, b = a / (np.linalg.norm(a) or 1.0), b / (np.linalg.norm(b) or 1.0)
    return 2 * np.arcsin(min(np.linalg.norm(a - b) / 2, 1.0))
