"""ROC curves and their bands."""

import time

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from skad.displays import (
    ROCDisplay,
)
from skad.metrics import auroc_score


def noisy(n_normal, n_anomalies, seed=0, decimals=1):
    """Labels, and overlapping scores with ties."""
    rng = np.random.RandomState(seed)
    y = rng.permutation(np.repeat([1, -1], [n_normal, n_anomalies]))
    return y, (rng.normal(size=len(y)) + 0.6 * y).round(decimals)


# ROC


def test_curve_and_area_are_those_of_scikit_learn(detector, test, y, scores):
    display = ROCDisplay.from_estimator(detector, test, y, n_bootstraps=20)
    fpr, tpr, _ = roc_curve(y == -1, -scores)
    assert np.array_equal(display.fpr, fpr)
    assert np.array_equal(display.tpr, tpr)
    assert display.auroc == auroc_score(y, scores)
    assert np.array_equal(display.line_.get_xdata(), fpr)
    assert np.array_equal(display.line_.get_ydata(), tpr)
    low, high = display.auroc_interval
    expected = f"DN2: AUROC {display.auroc:.3f} [{low:.3f}, {high:.3f}]"
    assert display.ax_.get_legend().get_texts()[0].get_text() == expected


@pytest.fixture(scope="module")
def slow_bootstrap():
    """Curves and areas of resamples, by scikit-learn."""
    rng = np.random.default_rng(1)
    y, scores = noisy(70, 50)
    normal, anomalies = scores[y == 1], scores[y == -1]
    curves, areas = [], []
    for _ in range(800):
        drawn = [rng.choice(normal, len(normal)), rng.choice(anomalies, len(anomalies))]
        labels = np.repeat([1, -1], [len(normal), len(anomalies)])
        fpr, tpr, _ = roc_curve(labels == -1, -np.concatenate(drawn))
        # The curve by its definition: the most anomalies found at no more than so many false
        # alarms, on a straight line between two points of the curve.
        right = np.searchsorted(fpr, np.linspace(0, 1, 201), side="right")
        left = right - 1
        right = np.minimum(right, len(fpr) - 1)
        width = np.where(right > left, fpr[right] - fpr[left], 1.0)
        share = (np.linspace(0, 1, 201) - fpr[left]) / width
        curves.append(tpr[left] + share * (tpr[right] - tpr[left]))
        areas.append(auroc_score(labels, np.concatenate(drawn)))
    return np.array(curves), np.array(areas)


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_band_and_interval_are_near_those_of_a_slow_loop(confidence, slow_bootstrap):
    display = ROCDisplay.from_predictions(*noisy(70, 50), confidence=confidence)
    curves, areas = slow_bootstrap
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    assert display.auroc_interval == pytest.approx(np.quantile(areas, ends), abs=0.012)
    low, high = np.quantile(curves, ends, axis=0)
    assert np.abs(display.tpr_low - low).mean() < 0.02
    assert np.abs(display.tpr_high - high).mean() < 0.02
    assert display.tpr_low == pytest.approx(low, abs=0.06)
    assert display.tpr_high == pytest.approx(high, abs=0.06)


def test_the_band_holds_the_curve_and_narrows_with_confidence():
    y, scores = noisy(200, 100, decimals=3)
    wide = ROCDisplay.from_predictions(y, scores)
    narrow = ROCDisplay.from_predictions(y, scores, confidence=0.5)
    curve = np.interp(wide.band_fpr, wide.fpr, wide.tpr)
    held = (wide.tpr_low <= curve) & (curve <= wide.tpr_high)
    assert held.mean() > 0.95
    assert (wide.tpr_low <= narrow.tpr_low).all()
    assert (wide.tpr_high >= narrow.tpr_high).all()
    low, high = wide.auroc_interval
    assert low < narrow.auroc_interval[0] < wide.auroc < narrow.auroc_interval[1] < high
    assert (np.diff(wide.tpr_low) >= 0).all()
    vertices = wide.band_.get_paths()[0].vertices
    assert {tuple(v) for v in vertices} >= set(zip(wide.band_fpr, wide.tpr_high))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth, held = 0.8019, 0  # of two unit normal distributions 1.2 apart: Phi(1.2 / sqrt 2)
    for seed in range(60):
        y, scores = noisy(60, 60, seed, decimals=6)
        ax = Figure().subplots()
        drawn = ROCDisplay.from_predictions(y, scores, n_bootstraps=100, confidence=0.8, ax=ax)
        held += drawn.auroc_interval[0] <= truth <= drawn.auroc_interval[1]
    assert 39 <= held <= 57  # 48 are promised


def test_one_seed_one_band_and_the_global_state_is_left_alone():
    y, scores = noisy(40, 20)
    before = np.random.get_state()[1].copy()
    first, second, other = (
        ROCDisplay.from_predictions(y, scores, n_bootstraps=50, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(first.tpr_low, second.tpr_low)
    assert first.auroc_interval == second.auroc_interval
    assert first.auroc_interval != other.auroc_interval


def test_kinds_wholly_apart_give_a_band_without_width():
    display = ROCDisplay.from_predictions([1, 1, -1, -1], [3.0, 2.0, 1.0, 0.0])
    assert display.auroc_interval == (1.0, 1.0)
    assert (display.tpr_low == 1).all()


def test_a_thousand_bootstraps_of_two_thousand_scores_are_quick():
    y, scores = noisy(1000, 1000, decimals=9)
    start = time.perf_counter()
    ROCDisplay.from_predictions(y, scores)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("y", [[1, 1, 1], [True, True, True], None])
def test_a_roc_curve_needs_both_kinds(y):
    with pytest.raises(ValueError, match="ROCDisplay: .* needs (both kinds|labels)"):
        ROCDisplay.from_predictions(y, [0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    "parameter", [{"n_bootstraps": 0}, {"confidence": 0.0}, {"confidence": 1.0}]
)
def test_parameters_of_the_bootstrap_have_limits(parameter):
    with pytest.raises(ValueError, match=f"ROCDisplay: {next(iter(parameter))} == "):
        ROCDisplay.from_predictions([1, -1], [1.0, 0.0], **parameter)
