"""What tests of scorers share."""

import numpy as np


def unit(rows):
    """Unit length, one row at a time; zero rows stay."""
    return np.array([row / (np.linalg.norm(row) or 1.0) for row in rows.astype(np.float64)])


def assert_close(found, expected, rounding=1e-13):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=rounding * scale)
