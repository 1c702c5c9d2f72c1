"""Every display: axes, labels, what is refused."""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skad import DN2, FeatureExtractor
from skad.displays import (
    ContactSheetDisplay,
    EmbeddingDisplay,
    NearestImagesDisplay,
    ROCDisplay,
    ScoreHistogramDisplay,
)

DISPLAYS = (
    ContactSheetDisplay,
    EmbeddingDisplay,
    NearestImagesDisplay,
    ROCDisplay,
    ScoreHistogramDisplay,
)


def drawn_by(display, detector, train, test, y, **style):
    """A display by `from_estimator`."""
    if display is NearestImagesDisplay:
        return display.from_estimator(detector, test, train, **style)
    if display is EmbeddingDisplay:
        return display.from_estimator(detector, train, test, y, **style)
    return display.from_estimator(detector, test, y, **style)


# What all have in common


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_given_are_drawn_into_and_others_are_left_alone(display, detector, train, test, y, ax):
    drawn = drawn_by(display, detector, train, test, y, ax=ax)
    assert drawn.ax_ is ax
    assert drawn.figure_ is ax.figure
    assert len(ax.get_children()) > len(ax.figure.axes[0].get_children()) + 1
    assert plt.get_fignums() == [ax.figure.number]
    assert drawn.plot() is drawn
    assert drawn.ax_ is not ax
    assert len(plt.get_fignums()) == 2
    for figure in map(plt.figure, plt.get_fignums()):
        figure.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS)
def test_missing_matplotlib_is_told_with_its_cure(display, detector, train, test, y, monkeypatch):
    drawn = drawn_by(display, detector, train, test, y)
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    install = r".* is not installed; install it: pip install \"skad\[plot\]\""
    with pytest.raises(ImportError, match=f"^{display.__name__}.from_estimator{install}"):
        drawn_by(display, None, None, None, None)  # before anything is computed
    with pytest.raises(ImportError, match=f"^{display.__name__}.plot{install}"):
        drawn.plot()


@pytest.mark.parametrize("display", DISPLAYS)
def test_several_axes_are_refused(display, detector, train, test, y):
    axes = plt.subplots(1, 2)[1]
    with pytest.raises(TypeError, match=f"{display.__name__}.plot: .* one .* ndarray.*axes\\[0\\]"):
        drawn_by(display, detector, train, test, y, ax=axes)


@pytest.mark.parametrize("display", DISPLAYS[:2] + DISPLAYS[3:])
def test_labels_are_checked(display, detector, train, test):
    with pytest.raises(ValueError, match=f"{display.__name__}: Unknown label type"):
        drawn_by(display, detector, train, test, np.arange(len(test)) % 2)
    with pytest.raises(ValueError, match=f"{display.__name__}: there are 32 samples, but 3 labels"):
        drawn_by(display, detector, train, test, [1, 1, -1])


@pytest.mark.parametrize("display", [ContactSheetDisplay, ROCDisplay, ScoreHistogramDisplay])
def test_an_estimator_without_scores_is_refused(display, train, test, y):
    with pytest.raises(TypeError, match=f"{display.__name__}: FeatureExtractor has no decision"):
        drawn_by(display, FeatureExtractor().fit(train), train, test, y)


@pytest.mark.parametrize("display", DISPLAYS)
def test_an_unfitted_detector_is_refused(display, train, test, y):
    with pytest.raises(NotFittedError):
        drawn_by(display, DN2(), train, test, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_must_be_finite(bad):
    with pytest.raises(ValueError, match="ScoreHistogramDisplay: .* finite; score 1 is (nan|inf)"):
        ScoreHistogramDisplay.from_predictions([0.0, bad, 1.0])
    with pytest.raises(ValueError, match="ROCDisplay: .* finite; score 1 is (nan|inf)"):
        ROCDisplay.from_predictions([1, -1, 1], [0.0, bad, 1.0])


def test_no_scores_are_refused():
    with pytest.raises(ValueError, match="ScoreHistogramDisplay: there are no scores"):
        ScoreHistogramDisplay.from_predictions([])
