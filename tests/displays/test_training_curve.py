"""The display of a training: what it draws where, and what it refuses."""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from skad import KNNScorer
from skad.diagnostics import effective_rank, mean_pairwise_cosine, vmf_concentration
from skad.displays import TrainingCurveDisplay
from skad.displays._axes import ANOMALY, NORMAL

MEASURES = ["loss", "center_distance", "mean_cosine", "concentration", "effective_rank"]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


class Drawn(TransformerMixin, BaseEstimator):
    """Draws rows to their mean, as training does with features, and measures them on the way."""

    def __init__(self, n_steps=60, watch=True):
        self.n_steps = n_steps
        self.watch = watch

    def fit(self, X, y=None):
        X = validate_data(self, X, dtype=np.float64)
        center, steps = X.mean(axis=0), np.arange(0, self.n_steps + 1, 10)
        stages = [center + (X - center) * 0.9**step for step in steps]
        distances = np.array([np.linalg.norm(rows - center, axis=1).mean() for rows in stages])
        self.training_curve_ = {
            "step": steps,
            "loss": np.concatenate([[np.nan], distances[1:] ** 2]),
            "center_distance": distances,
            "mean_cosine": np.array([mean_pairwise_cosine(rows) for rows in stages]),
            "concentration": np.array([vmf_concentration(rows) for rows in stages]),
            "effective_rank": np.array([effective_rank(rows) for rows in stages]),
        }
        if self.watch:
            self.stopped_at_, self.collapsed_at_ = np.int64(20), 50
        return self

    def transform(self, X):
        return validate_data(self, X, reset=False)


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).normal(size=(60, 8)) + 1


@pytest.fixture(scope="module")
def trained(rows):
    return Drawn().fit(rows)


@pytest.fixture
def curve():
    return {"step": [0, 5, 10], "loss": [np.nan, 2.0, 1.0], "mean_cosine": [0.1, 0.5, 0.9]}


def indices_of(lines):
    return [line.get_xdata() for line in lines]


def test_lines_are_the_curve(trained):
    display = TrainingCurveDisplay.from_estimator(trained)
    assert list(display.lines_) == MEASURES
    for ax, (name, line) in zip(display.axes_, display.lines_.items(), strict=True):
        assert np.array_equal(line.get_xdata(), trained.training_curve_["step"])
        np.testing.assert_array_equal(line.get_ydata(), trained.training_curve_[name])
        assert line.axes is ax
        assert line in ax.lines
        assert to_rgba(line.get_color()) == to_rgba(NORMAL)
        assert name.split("_")[-1] in ax.get_ylabel()
        assert ax.figure is display.figure_
    assert [ax.get_xlabel() for ax in display.axes_] == ["", "", "", "", "optimiser steps"]
    first, *others = display.axes_
    assert all(first.get_shared_x_axes().joined(first, ax) for ax in others)
    display.figure_.canvas.draw()


def test_marks_stand_at_their_steps(trained):
    display = TrainingCurveDisplay.from_estimator(trained)
    assert indices_of(display.stopped_lines_) == [[20, 20]] * 5
    assert indices_of(display.collapsed_lines_) == [[50, 50]] * 5
    for lines in (display.stopped_lines_, display.collapsed_lines_):
        assert [line.axes for line in lines] == list(display.axes_)
    assert to_rgba(display.collapsed_lines_[0].get_color()) == to_rgba(ANOMALY)
    legends = [ax.get_legend() for ax in display.axes_]
    assert [t.get_text() for t in legends[0].get_texts()] == [
        "kept: step 20",
        "collapse seen: step 50",
    ]
    assert legends[1:] == [None] * 4


def test_without_marks_there_is_no_legend(rows):
    display = TrainingCurveDisplay.from_estimator(Drawn(watch=False).fit(rows))
    assert display.stopped_lines_ == display.collapsed_lines_ == []
    for ax in display.axes_:
        assert len(ax.lines) == 1
        assert ax.get_legend() is None


def test_no_collapse_leaves_one_mark(rows):
    trained = Drawn().fit(rows)
    trained.collapsed_at_ = None
    display = TrainingCurveDisplay.from_estimator(trained)
    assert len(display.stopped_lines_) == 5
    assert display.collapsed_lines_ == []
    texts = display.axes_[0].get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["kept: step 20"]


def test_a_mark_at_step_zero_is_drawn(curve):
    display = TrainingCurveDisplay.from_curve(curve, stopped_at=0)
    assert indices_of(display.stopped_lines_) == [[0, 0]] * 2


def test_the_legend_hides_no_mark(trained):
    display = TrainingCurveDisplay.from_estimator(trained)
    display.figure_.canvas.draw()
    first = display.axes_[0]
    assert first.get_legend().get_window_extent().y0 >= first.get_window_extent().y1


def test_of_a_pipeline_the_step_that_was_trained_is_drawn(rows):
    inner = make_pipeline(Drawn(), StandardScaler())
    for pipeline, find in (
        (make_pipeline(Drawn(), KNNScorer()), lambda fitted: fitted[0]),
        (make_pipeline(StandardScaler(), Drawn()), lambda fitted: fitted[1]),
        (make_pipeline(inner, KNNScorer()), lambda fitted: fitted[0][0]),
    ):
        step = find(pipeline.fit(rows))
        display = TrainingCurveDisplay.from_estimator(pipeline)
        drawn = display.lines_["effective_rank"].get_ydata()
        assert np.array_equal(drawn, step.training_curve_["effective_rank"])
        assert indices_of(display.collapsed_lines_) == [[50, 50]] * 5


def test_concentration_over_decades_has_a_logarithmic_axis(trained, rows):
    concentration = trained.training_curve_["concentration"]
    assert concentration.max() > 100 * concentration.min()
    display = TrainingCurveDisplay.from_estimator(trained)
    scales = [ax.get_yscale() for ax in display.axes_]
    assert scales == ["linear", "linear", "linear", "log", "linear"]
    short = TrainingCurveDisplay.from_estimator(Drawn(n_steps=10).fit(rows))
    assert short.axes_[3].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1, 100, 1], "linear"),
        ([1, 101, 5], "log"),
        ([np.nan, 1, 101], "log"),
        ([1, np.inf, 2], "linear"),
        ([0, 1, 1000], "linear"),  # zero has no logarithm
        ([np.nan] * 3, "linear"),
    ],
)
def test_when_the_axis_is_logarithmic(values, scale):
    display = TrainingCurveDisplay.from_curve({"step": [0, 1, 2], "concentration": values})
    assert display.axes_[0].get_yscale() == scale
    display.figure_.canvas.draw()


def test_axes_given_are_drawn_into_and_others_are_left_alone(trained):
    figure, axes = plt.subplots(2, 3)
    measures = MEASURES[1:]
    display = TrainingCurveDisplay.from_estimator(
        trained, measures=measures, axes=axes[:, 1:], color="green", linewidth=3
    )
    assert display.axes_.tolist() == axes[:, 1:].ravel().tolist()
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert all(not ax.lines for ax in axes[:, 0])
    assert [ax.get_xlabel() for ax in display.axes_] == ["optimiser steps"] * 4
    line = display.lines_["mean_cosine"]
    assert (line.get_color(), line.get_linewidth()) == ("green", 3)
    assert display.plot() is display
    assert display.figure_ is not figure
    assert len(plt.get_fignums()) == 2
    for each in map(plt.figure, plt.get_fignums()):
        each.canvas.draw()


def test_without_pyplot_nothing_is_left_behind(curve):
    before = dict(matplotlib.rcParams)
    axes = Figure().subplots(2)
    display = TrainingCurveDisplay.from_curve(curve, axes=axes)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    assert display.figure_ is axes[0].figure


def test_measures_are_chosen_in_order_and_one_needs_one_axes(trained):
    chosen = ["effective_rank", "loss"]
    display = TrainingCurveDisplay.from_estimator(trained, measures=chosen)
    assert list(display.lines_) == chosen
    assert len(display.axes_) == 2
    ax = Figure().subplots()
    single = TrainingCurveDisplay.from_estimator(trained, measures=["loss"], axes=ax)
    assert single.axes_.tolist() == [ax]


def test_what_is_not_finite_leaves_a_gap_and_other_measures_keep_their_names(curve):
    curve["spread_of_norms"] = [3, 2, 1]
    display = TrainingCurveDisplay.from_curve(curve)
    assert np.isnan(display.lines_["loss"].get_ydata()[0])
    assert display.axes_[-1].get_ylabel() == "spread of norms"
    one = {"step": [0], "loss": [np.nan], "mean_cosine": [0.1]}
    display = TrainingCurveDisplay.from_curve(one)  # before any step
    display.figure_.canvas.draw()
    assert display.lines_["mean_cosine"].get_marker() == "."  # a line of one point has no length


def test_the_curve_given_is_left_alone(curve):
    before = {name: list(values) for name, values in curve.items()}
    display = TrainingCurveDisplay.from_curve(curve)
    display.curve["mean_cosine"][:] = 0
    assert repr(curve) == repr(before)


def test_missing_matplotlib_is_told_with_its_cure(curve, monkeypatch):
    drawn = TrainingCurveDisplay.from_curve(curve)
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    install = r".* is not installed; install it: pip install \"skad\[plot\]\""
    with pytest.raises(ImportError, match=f"^TrainingCurveDisplay.from_estimator{install}"):
        TrainingCurveDisplay.from_estimator(None)
    with pytest.raises(ImportError, match=f"^TrainingCurveDisplay.plot{install}"):
        drawn.plot()


def test_an_estimator_that_trained_nothing_is_refused(rows):
    message = "^TrainingCurveDisplay: {} has no training_curve_; give a fitted adapter or detector"
    scorer = KNNScorer().fit(rows)
    with pytest.raises(TypeError, match=message.format("KNNScorer")):
        TrainingCurveDisplay.from_estimator(scorer)
    with pytest.raises(TypeError, match=message.format("Pipeline")):
        TrainingCurveDisplay.from_estimator(make_pipeline(StandardScaler(), KNNScorer()).fit(rows))
    with pytest.raises(TypeError, match=message.format("dict")):
        TrainingCurveDisplay.from_estimator({"step": [0]})
    for unfitted in (KNNScorer(), make_pipeline(Drawn(), KNNScorer())):
        with pytest.raises(NotFittedError):
            TrainingCurveDisplay.from_estimator(unfitted)


BAD = {
    "no dict": ([1, 2], TypeError, "curve must be a dict of arrays, .* got list"),
    "no step": ({"loss": [1.0]}, ValueError, r"must have 'step' and one .* got \['loss'\]"),
    "no measure": ({"step": [0]}, ValueError, r"must have 'step' and one .* got \['step'\]"),
    "lengths": ({"step": [0, 1], "loss": [1.0]}, ValueError, r"equally long.*\(2,\).*\(1,\)"),
    "shape": ({"step": [[0]], "loss": [[1.0]]}, ValueError, r"1-D and equally long.*\(1, 1\)"),
    "empty": ({"step": np.array([], int), "loss": np.array([])}, ValueError, "one point or more"),
    "order": ({"step": [1, 0], "loss": [1, 2]}, ValueError, "'step' must be finite and ascending"),
    "a step that is NaN": ({"step": [np.nan], "loss": [1]}, ValueError, "must be finite"),
    "words": ({"step": [0], "loss": ["low"]}, ValueError, "'loss' must hold numbers; got .*U3"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_curve_is_one_clear_error(case):
    curve, kind, message = BAD[case]
    with pytest.raises(kind, match=f"(?s)^TrainingCurveDisplay: .*{message}"):
        TrainingCurveDisplay.from_curve(curve)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"measures": ["gain"]}, r"different ones of \['loss', 'mean_cosine'\].*got \['gain'\]"),
        ({"measures": []}, r"at least one; got \[\]"),
        ({"measures": ["loss", "loss"]}, "must be different ones"),
        ({"measures": ["step"]}, "must be different ones"),
        ({"stopped_at": 1.5}, "stopped_at must be a step.*got 1.5"),
        ({"collapsed_at": -1}, "collapsed_at must be a step.*got -1"),
    ],
)
def test_parameters_are_checked(curve, parameters, message):
    with pytest.raises(ValueError, match=f"^TrainingCurveDisplay: .*{message}"):
        TrainingCurveDisplay.from_curve(curve, **parameters)
    assert plt.get_fignums() == []


def test_axes_must_be_axes_and_as_many_as_measures(curve):
    axes = Figure().subplots(3)
    with pytest.raises(ValueError, match=r"\.plot: .* as many axes as measures, 2; got 3. Choose"):
        TrainingCurveDisplay.from_curve(curve, axes=axes)
    with pytest.raises(ValueError, match=r"as many axes as measures, 2; got 1"):
        TrainingCurveDisplay.from_curve(curve, axes=axes[0])
    with pytest.raises(TypeError, match=r"\.plot: axes must be matplotlib Axes .*; got Figure"):
        TrainingCurveDisplay.from_curve(curve, axes=Figure())
