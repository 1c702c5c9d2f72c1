"""Scores as a histogram, with the threshold."""

from typing import Self

import numpy as np

from .._types import ArrayLike, Axes, Images, Labels
from ._axes import AxesMixin, require_matplotlib, two_kinds
from ._inputs import read_labels, read_scores, scores_of


class ScoreHistogramDisplay(AxesMixin):
    """Histogram of decision scores with the threshold, in two colours if there are labels.

    Use `from_estimator` or `from_predictions` to create one.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_samples,)
        Scores, high = normal.
    outlier : ndarray of bool, shape (n_samples,), default=None
        True for anomalies; None without labels.
    threshold : float or None, default=0.0
        Scores below it mean an anomaly; None draws no line.

    Attributes
    ----------
    bin_edges_ : ndarray of shape (n_bins + 1,)
        Edges of the bins, the same for both kinds.
    counts_ : ndarray of int, shape (n_kinds, n_bins)
        Samples in each bin: normal ones and anomalies, or all in one row without labels.
    bars_ : list of matplotlib BarContainer
        One for each kind.
    line_ : matplotlib Line2D or None
        The threshold.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skad.displays.ROCDisplay : What every threshold would find.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import ScoreHistogramDisplay
    >>> scores, y = [0.5, 0.4, 0.1, -0.2, -0.6], [1, 1, 1, -1, -1]
    >>> display = ScoreHistogramDisplay.from_predictions(
    ...     scores, y, bins=[-1, -0.5, 0, 0.5, 1], ax=Figure().subplots()
    ... )
    >>> display.counts_
    array([[0, 0, 2, 1],
           [1, 1, 0, 0]])
    """

    def __init__(
        self, scores: np.ndarray, *, outlier: np.ndarray | None = None, threshold: float = 0.0
    ) -> None:
        self.scores = scores
        self.outlier = outlier
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X: Images,
        y: Labels = None,
        *,
        threshold: float | None = 0.0,
        bins: "int | str | ArrayLike" = 30,
        ax: "Axes | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw the decision scores of samples.

        Parameters
        ----------
        estimator : estimator
            A fitted outlier detector with `decision_function`.
        X : array-like or images
            Anything that `estimator` takes.
        y : array-like of shape (n_samples,), default=None
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        threshold : float or None, default=0.0
            Where to draw the line; 0 is the threshold of `decision_function`. None draws no line.
        bins : int, str or array-like, default=30
            Bins, as for :func:`numpy.histogram_bin_edges`.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.hist`.

        Returns
        -------
        display : ScoreHistogramDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` has no `decision_function`.
        ValueError
            If labels are ambiguous or not as many as samples, or a score is not finite.

        See Also
        --------
        from_predictions : The same from scores.
        """
        owner = cls.__name__
        require_matplotlib(f"{owner}.from_estimator")
        outlier = read_labels(y, owner)
        scores = scores_of(estimator, X, owner)
        return cls.from_predictions(
            scores, outlier, threshold=threshold, bins=bins, ax=ax, **kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        scores: ArrayLike,
        y: Labels = None,
        *,
        threshold: float | None = 0.0,
        bins: "int | str | ArrayLike" = 30,
        ax: "Axes | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw scores.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            High = normal, as `decision_function` and `score_samples` give them.
        y : array-like of shape (n_samples,), default=None
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        threshold : float or None, default=0.0
            Where to draw the line: 0 for `decision_function`, `offset_` for `score_samples`. None
            draws no line.
        bins : int, str or array-like, default=30
            Bins, as for :func:`numpy.histogram_bin_edges`.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.hist`.

        Returns
        -------
        display : ScoreHistogramDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If labels are ambiguous or not as many as scores, or a score is not finite.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        scores = read_scores(scores, cls.__name__)
        outlier = read_labels(y, cls.__name__, n_samples=len(scores))
        return cls(scores, outlier=outlier, threshold=threshold).plot(ax, bins=bins, **kwargs)

    def plot(
        self, ax: "Axes | None" = None, *, bins: "int | str | ArrayLike" = 30, **kwargs: object
    ) -> Self:
        """Draw again.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        bins : int, str or array-like, default=30
            Bins, as for :func:`numpy.histogram_bin_edges`.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.hist`.

        Returns
        -------
        self : ScoreHistogramDisplay
            The display itself.
        """
        self._set_axes(ax)
        self.bin_edges_ = np.histogram_bin_edges(self.scores, bins, _range(self.scores))
        counts, self.bars_ = [], []
        for name, color, rows in two_kinds(self.outlier, "all samples"):
            scores = self.scores[rows]
            style = {"color": color, "alpha": 0.6, "label": f"{name} ({len(scores)})", **kwargs}
            self.bars_.append(self.ax_.hist(scores, self.bin_edges_, **style)[2])
            counts.append(np.histogram(scores, self.bin_edges_)[0])
        self.counts_ = np.array(counts)
        self.line_ = None
        if self.threshold is not None:
            style = {"color": "black", "linestyle": "--", "label": f"threshold {self.threshold:g}"}
            self.line_ = self.ax_.axvline(self.threshold, **style)
        self.ax_.set(xlabel="score (high = normal)", ylabel="number of samples")
        self.ax_.legend()
        return self


def _range(scores):
    """Ends of the bins; equal scores, but for rounding, get some room."""
    low, high = scores.min(), scores.max()
    size = max(abs(low), abs(high))
    room = 0.0 if high - low > 1e-9 * size else 0.01 * size or 0.5
    return low - room, high + room
