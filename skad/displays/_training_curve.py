"""What became of the features while a network was trained."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._types import Axes
from ._axes import ANOMALY, NORMAL, require_matplotlib

# Names on the y axes; other measures go by their own names.
_LABELS = {
    "loss": "training loss",
    "center_distance": "mean distance\nto the centre\n(feature units)",
    "spread": "angular spread\n(1 - mean cosine)",
    "mean_cosine": "mean cosine\n(-1 to 1)",
    "concentration": "concentration\n(0 = uniform)",
    "effective_rank": "effective rank\n(1 or more)",
    "mmd": "discrepancy (MMD)\nfrom uniform",
    "auroc": "AUROC",
    "synthetic_auroc": "AUROC of\nsynthetic anomalies",
    "synthetic_gain": "its gain over\nthe frozen network",
    "margin": "gain asked for",
}

# Values of these that span more than so many decades are drawn on a logarithmic axis.
_MAY_BE_LOGARITHMIC, _DECADES = {"concentration"}, 2

# Inches.
_WIDTH, _PANEL_HEIGHT, _ROOM = 6.0, 1.6, 0.5


class TrainingCurveDisplay:
    """Plot of measures of the features during a training, one panel for each.

    Lines mark the step whose network was kept, and the step at which collapse was seen. Made by
    `from_estimator` or `from_curve`.

    Parameters
    ----------
    curve : dict of str to ndarray of shape (n_points,)
        "step", the number of steps that the optimiser had made, and the measures. NaN where there
        is no value, such as the loss before the first step.
    stopped_at : int, default=None
        Step whose network was kept; None draws no line.
    collapsed_at : int, default=None
        Step at which collapse was seen; None draws no line.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curve of each measure.
    stopped_lines_, collapsed_lines_ : list of matplotlib Line2D
        The marks, one in each panel; empty if there are none.
    axes_ : ndarray of matplotlib Axes, shape (n_measures,)
    figure_ : matplotlib Figure

    See Also
    --------
    skad.diagnostics : The measures.
    skad.displays.EmbeddingDisplay : Features at one step.

    Notes
    -----
    Signs of collapse are a mean cosine that approaches 1, an effective rank that approaches 1, a
    distance to the centre that approaches 0, and a concentration that grows by powers of ten (its
    axis is then logarithmic). A falling loss is no sign.

    The legend stands above the first panel. Give the figure a title, ``display.figure_.suptitle``,
    and not that panel.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import TrainingCurveDisplay
    >>> curve = {"step": [0, 10, 20], "mean_cosine": [0.6, 0.7, 0.9], "effective_rank": [30, 20, 4]}
    >>> display = TrainingCurveDisplay.from_curve(
    ...     curve, stopped_at=10, axes=Figure().subplots(2, sharex=True)
    ... )
    >>> list(display.lines_)
    ['mean_cosine', 'effective_rank']
    >>> display.lines_["effective_rank"].get_ydata()
    array([30., 20.,  4.])
    """

    def __init__(
        self, curve: dict, *, stopped_at: int | None = None, collapsed_at: int | None = None
    ) -> None:
        self.curve = curve
        self.stopped_at = stopped_at
        self.collapsed_at = collapsed_at

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        *,
        measures: Sequence[str] | None = None,
        axes: "Axes | np.ndarray | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw the training of an estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted adapter or detector that trained a network and has `training_curve_`, or a
            Pipeline with such a step; the first one is drawn. The marks are its `stopped_at_` and
            `collapsed_at_`, if it has them.
        measures : list of str, default=None
            Measures to draw, in this order; by default all.
        axes : matplotlib Axes or array of them, default=None
            Axes to draw into, one for each measure; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : TrainingCurveDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If `estimator` was not fitted.
        TypeError
            If `estimator` trained no network.
        ValueError
            If a measure is unknown, or if there are not as many axes as measures.

        See Also
        --------
        from_curve : The same from a curve.
        """
        owner = cls.__name__
        require_matplotlib(f"{owner}.from_estimator")
        trained = _trained_part(estimator)
        if trained is None:
            if hasattr(estimator, "fit"):
                check_is_fitted(estimator)
            raise TypeError(
                f"{owner}: {type(estimator).__name__} has no training_curve_; give a fitted "
                "adapter or detector that trained a network, a Pipeline with such a step, or the "
                "curve itself to from_curve."
            )
        marks = {
            name: getattr(trained, f"{name}_", None) for name in ("stopped_at", "collapsed_at")
        }
        return cls.from_curve(
            trained.training_curve_, **marks, measures=measures, axes=axes, **kwargs
        )

    @classmethod
    def from_curve(
        cls,
        curve: dict,
        *,
        stopped_at: int | None = None,
        collapsed_at: int | None = None,
        measures: Sequence[str] | None = None,
        axes: "Axes | np.ndarray | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw a curve.

        Parameters
        ----------
        curve : dict of str to array-like of shape (n_points,)
            "step", ascending, and one measure or more: "loss", "center_distance", "mean_cosine",
            "concentration", "effective_rank" or any other. Values that are not finite leave a gap.
        stopped_at : int, default=None
            Step whose network was kept; None draws no line.
        collapsed_at : int, default=None
            Step at which collapse was seen; None draws no line.
        measures : list of str, default=None
            Measures to draw, in this order; by default all.
        axes : matplotlib Axes or array of them, default=None
            Axes to draw into, one for each measure; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : TrainingCurveDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If `curve` is not a dict of such arrays of equal length; if a measure is unknown; if a
            mark is not a step; if there are not as many axes as measures.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        owner = cls.__name__
        curve = _read_curve(curve, measures, owner)
        marks = {"stopped_at": stopped_at, "collapsed_at": collapsed_at}
        for name, step in marks.items():
            if step is not None and (not isinstance(step, Integral) or step < 0):
                raise ValueError(
                    f"{owner}: {name} must be a step, a whole number from 0 up, or None; got "
                    f"{step!r}."
                )
        return cls(curve, **marks).plot(axes, **kwargs)

    def plot(self, axes: "Axes | np.ndarray | None" = None, **kwargs: object) -> Self:
        """Draw again.

        Parameters
        ----------
        axes : matplotlib Axes or array of them, default=None
            Axes to draw into, one for each measure; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        self : TrainingCurveDisplay
            The display itself.
        """
        measures = [name for name in self.curve if name != "step"]
        self._set_axes(axes, len(measures))
        self.lines_ = {}
        style = {"color": NORMAL, "marker": ".", **kwargs}
        for ax, name in zip(self.axes_, measures):
            (self.lines_[name],) = ax.plot(self.curve["step"], self.curve[name], **style)
            ax.set_ylabel(_LABELS.get(name, name.replace("_", " ")))
            if name in _MAY_BE_LOGARITHMIC and _spans_decades(self.curve[name]):
                ax.set_yscale("log")
        for ax in self.axes_ if axes is not None else self.axes_[-1:]:
            ax.set_xlabel("optimiser steps")
        self.stopped_lines_ = self._mark(self.stopped_at, "kept", color="black", linestyle="--")
        self.collapsed_lines_ = self._mark(
            self.collapsed_at, "collapse seen", color=ANOMALY, linestyle=":"
        )
        if self.stopped_lines_ or self.collapsed_lines_:
            marks = [lines[0] for lines in (self.stopped_lines_, self.collapsed_lines_) if lines]
            # Above the panel: inside, it would hide a mark.
            anchor = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
            self.axes_[0].legend(handles=marks, ncols=2, frameon=False, **anchor)
        return self

    def _mark(self, step, name, **style):
        """A vertical line in each panel."""
        if step is None:
            return []
        return [ax.axvline(step, label=f"{name}: step {step}", **style) for ax in self.axes_]

    def _set_axes(self, axes, n_panels):
        """Take the axes given, else those of a new figure, one above the other."""
        owner = f"{type(self).__name__}.plot"
        require_matplotlib(owner)
        from matplotlib.axes import Axes

        if axes is None:
            import matplotlib.pyplot as plt

            size = (_WIDTH, _ROOM + _PANEL_HEIGHT * n_panels)
            _, axes = plt.subplots(n_panels, sharex=True, figsize=size, layout="constrained")
        axes = np.ravel(np.array(axes, dtype=object))
        strangers = [type(ax).__name__ for ax in axes if not isinstance(ax, Axes)]
        if strangers:
            raise TypeError(
                f"{owner}: axes must be matplotlib Axes or None; got {strangers[0]}. "
                f"For example: plt.subplots({n_panels}, sharex=True)[1]"
            )
        if len(axes) != n_panels:
            raise ValueError(
                f"{owner}: there must be as many axes as measures, {n_panels}; got {len(axes)}. "
                "Choose measures=, or give other axes, for example "
                f"plt.subplots({n_panels}, sharex=True)[1]"
            )
        self.axes_, self.figure_ = axes, axes[0].figure


def _trained_part(estimator):
    """What has a training curve: the estimator, or the first such step of a Pipeline; else None."""
    if getattr(estimator, "training_curve_", None) is not None:
        return estimator
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    return next((part for part in map(_trained_part, steps) if part is not None), None)


def _read_curve(curve, measures, owner):
    """Steps and the measures to be drawn, as float64."""
    if not isinstance(curve, Mapping):
        raise TypeError(
            f"{owner}: curve must be a dict of arrays, 'step' and measures; got "
            f"{type(curve).__name__}."
        )
    known = [name for name in curve if name != "step"]
    if "step" not in curve or not known:
        raise ValueError(
            f"{owner}: curve must have 'step' and one measure or more; got {list(curve)}."
        )
    measures = known if measures is None else list(measures)
    if not measures or not set(measures) <= set(known) or len(set(measures)) < len(measures):
        raise ValueError(
            f"{owner}: measures must be different ones of {known}, at least one; got {measures}."
        )
    curve = {name: np.asarray(curve[name]) for name in ("step", *measures)}
    for name, values in curve.items():
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{owner}: '{name}' must hold numbers; got dtype {values.dtype}.")
    shapes = {name: values.shape for name, values in curve.items()}
    n_points = curve["step"].size
    if n_points == 0 or set(shapes.values()) != {(n_points,)}:
        raise ValueError(
            f"{owner}: the arrays of a curve must be 1-D and equally long, one point or more; got "
            f"the shapes {shapes}."
        )
    curve = {name: values.astype(np.float64) for name, values in curve.items()}
    if not np.isfinite(curve["step"]).all() or (np.diff(curve["step"]) < 0).any():
        raise ValueError(f"{owner}: 'step' must be finite and ascending; got {curve['step']}.")
    return curve


def _spans_decades(values):
    """Whether a logarithmic axis is called for, and possible."""
    values = values[np.isfinite(values)]
    return len(values) > 0 and values.min() > 0 and values.max() > 10**_DECADES * values.min()
