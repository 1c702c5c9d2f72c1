"""Histograms of scores."""

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from skad.displays import (
    ScoreHistogramDisplay,
)
from skad.displays._axes import ANOMALY, NORMAL
from tests.displays.common import is_color


def test_histogram_counts_each_kind_in_the_same_bins(detector, test, y, scores, ax):
    display = ScoreHistogramDisplay.from_estimator(detector, test, y, ax=ax, bins=7)
    assert np.array_equal(display.scores, scores)
    for row, kind, color in ((0, 1, NORMAL), (1, -1, ANOMALY)):
        expected, _ = np.histogram(scores[y == kind], np.linspace(scores.min(), scores.max(), 8))
        assert display.counts_[row].tolist() == expected.tolist()
        bars = display.bars_[row]
        assert [bar.get_height() for bar in bars] == expected.tolist()
        assert is_color(bars[0].get_facecolor(), color)
    assert display.counts_.sum() == len(test)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "normal (8)",
        "anomaly (24)",
        "threshold 0",
    ]


def test_histogram_without_labels_has_one_colour(scores):
    display = ScoreHistogramDisplay.from_predictions(scores)
    assert display.counts_.shape == (1, 30)
    assert display.counts_.sum() == len(scores)
    assert len(display.bars_) == 1


@pytest.mark.parametrize("threshold", [0.0, -0.25, 17.0])
def test_the_line_stands_at_the_threshold(scores, threshold):
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=threshold)
    assert display.line_.get_xdata() == [threshold, threshold]
    low, high = display.ax_.get_xlim()
    assert low <= threshold <= high


def test_without_threshold_there_is_no_line(scores):
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=None)
    assert display.line_ is None
    assert not display.ax_.lines


def test_histogram_takes_booleans_scorers_and_style(scores, y):
    features = np.random.RandomState(0).normal(size=(len(y), 3))
    forest = IsolationForest(random_state=0).fit(features)
    display = ScoreHistogramDisplay.from_estimator(forest, features, y == -1, alpha=0.25)
    assert display.counts_.sum(axis=1).tolist() == [8, 24]
    assert display.bars_[0][0].get_alpha() == 0.25
