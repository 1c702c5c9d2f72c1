"""The interval of the AUROC holds the true one as often as it says."""

import numpy as np
import pytest
from scipy.stats import norm

from skad.metrics import auroc_interval, auroc_score


@pytest.mark.parametrize(("m", "n", "true"), [(10, 30, 0.7), (25, 25, 0.9), (40, 100, 0.97)])
def test_it_holds_the_true_area(m, n, true):
    rng, shift = np.random.RandomState(0), np.sqrt(2) * norm.ppf(true)
    y = np.repeat([-1, 1], [m, n])
    held = 0
    for _ in range(200):
        scores = np.concatenate([rng.normal(size=m), rng.normal(shift, size=n)])
        low, high = auroc_interval(y, scores)
        assert low <= auroc_score(y, scores) <= high
        held += low <= true <= high
    assert 0.91 <= held / 200 <= 0.99


def test_its_ends_solve_the_equation():
    y, scores = np.repeat([-1, 1], [7, 9]), np.random.RandomState(1).normal(size=16)
    area, z = auroc_score(y, scores), norm.ppf(0.95)
    grid = np.linspace(0, 1, 200_001)[1:-1]
    weight = (1 - grid) / (2 - grid) + grid / (1 + grid)
    variance = grid * (1 - grid) * (1 + 7 * weight) / 63
    inside = grid[np.abs(grid - area) <= z * np.sqrt(variance)]
    found = auroc_interval(y, scores, confidence=0.9)
    np.testing.assert_allclose(found, [inside.min(), inside.max()], atol=1e-5)


def test_kinds_that_are_wholly_apart_leave_doubt():
    for n in (5, 50):
        y, scores = np.repeat([-1, 1], n), np.arange(2 * n)
        low, high = auroc_interval(y, scores)
        assert high == 1
        assert 0 < 1 - low < 2 / n
        assert auroc_interval(y, -scores) == pytest.approx((1 - high, 1 - low))


def test_confidence_is_a_share():
    with pytest.raises(ValueError, match=r"confidence must be a float in \(0, 1\); got 95"):
        auroc_interval([1, -1], [1, 0], confidence=95)
