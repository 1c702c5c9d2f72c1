"""ROC curve with what chance leaves open about it."""

from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.metrics import roc_curve
from sklearn.utils import check_random_state, check_scalar

from .._types import ArrayLike, Axes, Images, RandomState
from ..metrics import auroc_score
from ._axes import NORMAL, AxesMixin, require_matplotlib
from ._inputs import read_labels, read_scores, scores_of

# Steps of half a percent are finer than a picture shows.
_GRID = np.linspace(0.0, 1.0, 201)


class ROCDisplay(AxesMixin):
    """ROC curve of anomalies with a bootstrap band, and the AUROC with its interval.

    Anomalies are the positives: the true positive rate is the share of anomalies found, and the
    false positive rate the share of normal samples taken for anomalies. Normal samples and
    anomalies are resampled separately, each to their own number. Band and interval contain the
    central share `confidence` of the results (percentile bootstrap); the band does so at each false
    positive rate separately.

    Use `from_estimator` or `from_predictions` to create one.

    Parameters
    ----------
    fpr, tpr : ndarray of shape (n_points,)
        Points of the curve, as :func:`sklearn.metrics.roc_curve` gives them.
    band_fpr : ndarray of shape (n_grid,)
        False positive rates of the band, from 0 to 1.
    tpr_low, tpr_high : ndarray of shape (n_grid,)
        Lower and upper end of the band at these rates.
    auroc : float
        Area under the curve.
    auroc_interval : tuple of float
        Lower and upper end of its interval.
    confidence : float, default=0.95
        Confidence of band and interval.
    name : str, default=None
        Name of the curve in the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    band_ : matplotlib PolyCollection
    chance_line_ : matplotlib Line2D
        The diagonal.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skad.metrics.auroc_score : The area alone.
    skad.displays.ScoreHistogramDisplay : The scores behind the curve.

    Notes
    -----
    Resampling test samples says nothing about other training sets. If the two kinds are perfectly
    separated, they are in every resample too, so band and interval have no width. That is no proof
    of zero error: there may be too few samples to show one.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import ROCDisplay
    >>> y, scores = [1, 1, 1, 1, -1, -1], [0.9, 0.8, 0.6, 0.3, 0.5, 0.1]
    >>> display = ROCDisplay.from_predictions(y, scores, ax=Figure().subplots())
    >>> display.auroc
    0.875
    >>> display.auroc_interval
    (0.5, 1.0)
    """

    def __init__(
        self,
        *,
        fpr: np.ndarray,
        tpr: np.ndarray,
        band_fpr: np.ndarray,
        tpr_low: np.ndarray,
        tpr_high: np.ndarray,
        auroc: float,
        auroc_interval: tuple[float, float],
        confidence: float = 0.95,
        name: str | None = None,
    ) -> None:
        self.fpr = fpr
        self.tpr = tpr
        self.band_fpr = band_fpr
        self.tpr_low = tpr_low
        self.tpr_high = tpr_high
        self.auroc = auroc
        self.auroc_interval = auroc_interval
        self.confidence = confidence
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X: Images,
        y: ArrayLike,
        *,
        n_bootstraps: int = 1000,
        confidence: float = 0.95,
        random_state: RandomState = 0,
        name: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw the curve of an estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted outlier detector with `decision_function`.
        X : array-like or images
            Anything that `estimator` takes.
        y : array-like of shape (n_samples,)
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        n_bootstraps : int, default=1000
            Number of resamples.
        confidence : float in (0, 1), default=0.95
            Confidence of band and interval.
        random_state : int, RandomState instance or None, default=0
            Seeds the resampling.
        name : str, default=None
            Name of the curve; by default the class of `estimator`.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        display : ROCDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` has no `decision_function`.
        ValueError
            If labels are ambiguous, all of one kind, or not as many as samples; if a score is not
            finite; if a parameter is out of range.

        See Also
        --------
        from_predictions : The same from scores.
        """
        owner = cls.__name__
        require_matplotlib(f"{owner}.from_estimator")
        outlier = _both_kinds(y, owner)
        return cls.from_predictions(
            outlier,
            scores_of(estimator, X, owner),
            n_bootstraps=n_bootstraps,
            confidence=confidence,
            random_state=random_state,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        scores: ArrayLike,
        *,
        n_bootstraps: int = 1000,
        confidence: float = 0.95,
        random_state: RandomState = 0,
        name: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw the curve of scores.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        scores : array-like of shape (n_samples,)
            High = normal, as `decision_function` and `score_samples` give them.
        n_bootstraps : int, default=1000
            Number of resamples.
        confidence : float in (0, 1), default=0.95
            Confidence of band and interval.
        random_state : int, RandomState instance or None, default=0
            Seeds the resampling.
        name : str, default=None
            Name of the curve in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        display : ROCDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If labels are ambiguous, all of one kind, or not as many as scores; if a score is not
            finite; if a parameter is out of range.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        owner = cls.__name__
        check_scalar(n_bootstraps, f"{owner}: n_bootstraps", Integral, min_val=1)
        bounds = {"min_val": 0, "max_val": 1, "include_boundaries": "neither"}
        check_scalar(confidence, f"{owner}: confidence", Real, **bounds)
        scores = read_scores(scores, owner)
        outlier = _both_kinds(y_true, owner, n_samples=len(scores))
        fpr, tpr, _ = roc_curve(outlier, -scores)
        curves, areas = _bootstrap(outlier, scores, n_bootstraps, check_random_state(random_state))
        ends = [50 * (1 - confidence), 50 * (1 + confidence)]
        tpr_low, tpr_high = np.percentile(curves, ends, axis=0)
        return cls(
            fpr=fpr,
            tpr=tpr,
            band_fpr=_GRID.copy(),
            tpr_low=tpr_low,
            tpr_high=tpr_high,
            auroc=auroc_score(outlier, scores),
            auroc_interval=tuple(np.percentile(areas, ends).tolist()),
            confidence=confidence,
            name=name,
        ).plot(ax, **kwargs)

    def plot(self, ax: "Axes | None" = None, *, name: str | None = None, **kwargs: object) -> Self:
        """Draw again.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        name : str, default=None
            Name of the curve; by default the display's.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        self : ROCDisplay
            The display itself.
        """
        self._set_axes(ax, size=(5, 5))
        name = self.name if name is None else name
        low, high = self.auroc_interval
        label = f"AUROC {self.auroc:.3f} [{low:.3f}, {high:.3f}]"
        style = {"color": NORMAL, "label": label if name is None else f"{name}: {label}", **kwargs}
        (self.line_,) = self.ax_.plot(self.fpr, self.tpr, **style)
        self.band_ = self.ax_.fill_between(
            self.band_fpr,
            self.tpr_low,
            self.tpr_high,
            color=self.line_.get_color(),
            alpha=0.2,
            linewidth=0,
            label=f"{100 * self.confidence:g} % bootstrap band",
        )
        (self.chance_line_,) = self.ax_.plot([0, 1], [0, 1], color="0.5", linestyle=":")
        self.ax_.set(
            xlabel="false positive rate (normal samples rejected)",
            ylabel="true positive rate (anomalies found)",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            aspect="equal",
        )
        self.ax_.legend(loc="lower right")
        return self


def _both_kinds(y, owner, n_samples=None):
    """Mask of the anomalies where there are normal samples too."""
    if y is None:
        raise ValueError(f"{owner}: y is None; a ROC curve needs labels.")
    outlier = read_labels(y, owner, n_samples=n_samples)
    if outlier.all() or not outlier.any():
        kind = "anomalies" if outlier.all() else "normal"
        raise ValueError(
            f"{owner}: all {len(outlier)} samples are {kind}; a ROC curve needs both kinds."
        )
    return outlier


def _bootstrap(outlier, scores, n_bootstraps, rng):
    """Curves on the grid, and areas, of samples drawn with replacement within each kind."""
    # The score of each sample as an index among the distinct scores, anomalies first: a curve is
    # then two counts and two cumulative sums.
    distinct, indices = np.unique(scores, return_inverse=True)
    anomalies, normal = indices[outlier], indices[~outlier]
    curves, areas = np.empty((n_bootstraps, len(_GRID))), np.empty(n_bootstraps)
    for b in range(n_bootstraps):
        tpr = _rates(anomalies, len(distinct), rng)
        fpr = _rates(normal, len(distinct), rng)
        # Among equal false positive rates np.interp takes the last, which finds most anomalies.
        curves[b] = np.interp(_GRID, fpr, tpr)
        areas[b] = np.trapezoid(tpr, fpr)
    return curves, areas


def _rates(indices, n_distinct, rng):
    """Share of a resample up to each distinct score, from 0 to 1."""
    drawn = indices[rng.randint(len(indices), size=len(indices))]
    counts = np.bincount(drawn, minlength=n_distinct)
    return np.concatenate([[0.0], np.cumsum(counts) / len(indices)])
