"""Gaussians: Mahalanobis distance, by class, by cluster, or as a density."""

from numbers import Integral
from typing import Self

import numpy as np
from sklearn.utils.metaestimators import available_if

from .._compat import Interval, StrOptions, fit_context
from .._rows import unit_rows
from .._types import ArrayLike, Labels, RandomState
from ._base import IncrementalScorer, can_extend
from ._covariance import Covariance
from ._kmeans import kmeans
from ._moments import Moments
from ._reservoir import Reservoir
from ._whitening import COVARIANCE_CONSTRAINTS

# Rows that stand for all rows seen when partial_fit sets the threshold anew.
_N_KEPT = 2048


class GaussianScorer(IncrementalScorer):
    r"""Score by Gaussians fitted to the training rows.

    .. math:: s(x) = -\min_c \; (x - \mu_c)^T \Sigma_c^{-1} (x - \mu_c)

    over groups c with means :math:`\mu_c`. By default all rows are one group; groups may also be
    classes (`class_labels` in `fit`) or clusters of k-means (`n_clusters`). There is one covariance
    of all rows about their means ("tied"), or one for each group ("full"). The published forms:

    - Mahalanobis distance, class-conditional (Lee et al.): `class_labels`, "tied";
    - SSD: ``GaussianScorer(n_clusters, covariance_type="full", normalize=True)``. This leaves out
      SSD's standardisation, which changes distances to one cluster only through shrinkage. Exactly
      as published: ``make_pipeline(Normalizer(), StandardScaler(), GaussianScorer(n_clusters,
      covariance_type="full"))``;
    - GDE (DROC, NSA): ``GaussianScorer(normalize=True, log_likelihood=True)``.

    Parameters
    ----------
    n_clusters : int, default=1
        Number of clusters of k-means, each with its own mean (SSD; 1 is its default).
    covariance_type : {"tied", "full"}, default="tied"
        One covariance for all groups (Lee et al.), or one for each (SSD).
    shrinkage : "ledoit_wolf" or float in [0, 1], default="ledoit_wolf"
        Shrinkage of the covariance towards the mean variance. The papers' codes use
        pseudo-inverses, or nothing; with n < 5 d rows, shrinkage is far better.
    n_components : int, float in (0, 1) or None, default=None
        Keep this number of directions of largest variance, or as many as make up this share of
        the variance.
    normalize : bool, default=False
        Scale rows to unit length first (SSD, GDE).
    log_likelihood : bool, default=False
        Score :math:`-\tfrac12 (m^2 + \log\det\Sigma + d \log 2\pi)`, with m the Mahalanobis
        distance, instead of :math:`-m^2`. It ranks differently only where covariances differ.
    random_state : int, RandomState instance or None, default=0
        Seeds the starts of k-means; nothing else is random.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows that fall beyond the threshold `offset_`; "auto" is 0.1.

    Attributes
    ----------
    means_ : ndarray of float64, shape (n_groups, n_features)
        Mean of each group.
    covariances_ : list
        The covariance of all rows, or of each group.
    classes_ : ndarray of shape (n_groups,)
        Class of each group; only with `class_labels`.
    offset_ : float
        Threshold: a quantile of the training scores. Training rows took part in the fit, so they
        score too well if they are few for the number of features.
        :class:`~skad.ConformalDetector` sets thresholds that hold for new rows.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    skad.Whitening : The transformation behind this.
    skad.KDEScorer : DROC's other density.

    Notes
    -----
    `partial_fit` keeps moments of all rows, up to the fourth, which Ledoit and Wolf's formula
    needs. Up to rounding, the result is that of one `fit`, whatever the batches and their order.
    The threshold then comes from 2 048 of the rows seen, drawn at random.

    If there are no more rows than features, no matrix larger than the training rows is formed.

    References
    ----------
    Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
    Adversarial Attacks", NeurIPS 2018. Sehwag, Chiang, Mittal, "SSD: A Unified Framework for
    Self-Supervised Outlier Detection", ICLR 2021. Sohn, Li, Yoon, Jin, Pfister, "Learning and
    Evaluating Representations for Deep One-class Classification", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skad import GaussianScorer
    >>> X = np.random.RandomState(0).normal(size=(500, 2)) * [1, 100]
    >>> scorer = GaussianScorer(shrinkage=0.0).fit(X)
    >>> scorer.score_samples([[0, 300], [3, 0], [30, 0]]).round()
    array([  -9.,  -10., -954.])
    """

    _parameter_constraints = {  # noqa: RUF012
        **IncrementalScorer._parameter_constraints,
        **COVARIANCE_CONSTRAINTS,
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"tied", "full"})],
        "normalize": ["boolean"],
        "log_likelihood": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: int = 1,
        *,
        covariance_type: str = "tied",
        shrinkage: str | float = "ledoit_wolf",
        n_components: int | float | None = None,
        normalize: bool = False,
        log_likelihood: bool = False,
        random_state: RandomState = 0,
        contamination: str | float = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.covariance_type = covariance_type
        self.shrinkage = shrinkage
        self.n_components = n_components
        self.normalize = normalize
        self.log_likelihood = log_likelihood
        self.random_state = random_state
        self.contamination = contamination

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Labels = None, *, class_labels: Labels = None) -> Self:
        """Estimate means and covariances.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of normal samples.
        y : array-like of shape (n_samples,), optional
            Rows labelled -1 (or True) are left out.
        class_labels : array-like of shape (n_samples,), optional
            Class or pseudo-class of each row, for one mean per class; `n_clusters` must be 1.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a covariance is zero, or singular and neither shrunk nor truncated; if there are
            fewer rows than clusters.
        """
        return self._fit_normal(X, y, class_labels=class_labels)

    def _obstacle_to_extending(self, parameters):
        if parameters.n_clusters > 1:
            return (
                f"no partial_fit with n_clusters={parameters.n_clusters}, since rows that are gone "
                "can't be clustered again. Use n_clusters=1, or fit to all rows."
            )

    @available_if(can_extend)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: ArrayLike, y: Labels = None, *, class_labels: Labels = None) -> Self:
        """Learn from more rows, as if they had been there in `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of normal samples. The first batch must be enough for a fit.
        y : array-like of shape (n_samples,), optional
            Rows labelled -1 (or True) are left out.
        class_labels : array-like of shape (n_samples,), optional
            Class of each row, if the first batch had them. New classes may appear.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        AttributeError
            If `n_clusters` is not 1: earlier rows are not kept and cannot be clustered again.
        """
        return self._extend_normal(X, y, class_labels=class_labels)

    def _fit(self, X, class_labels=None):
        for name in ("_moments", "_reservoir", "classes_"):
            vars(self).pop(name, None)
        self._extend(X, class_labels)

    def _extend(self, X, class_labels=None):
        known = getattr(self, "_moments", {})
        self._check_groups(bool(known), class_labels)
        moments = dict(known)
        for name, rows in self._groups(self._prepare(X), class_labels):
            found = Moments.of(rows)
            moments[name] = moments[name] + found if name in moments else found
        self._moments = dict(sorted(moments.items()))
        if class_labels is not None:
            self.classes_ = np.array(list(self._moments))
        self._estimate()
        self._reservoir = getattr(self, "_reservoir", Reservoir(_N_KEPT)).extended(X)
        return self._reservoir.rows if known else X

    def _groups(self, rows, class_labels):
        """Name and rows of each class or cluster, or of the one group."""
        n_clusters, random_state = self._fitted.n_clusters, self._fitted.random_state
        if class_labels is None and n_clusters == 1:
            return [(0, rows)]
        if class_labels is None:
            owner = type(self).__name__
            class_labels = kmeans(rows, n_clusters, random_state=random_state, owner=owner)[1]
        try:
            names = np.unique(class_labels).tolist()
        except TypeError as error:
            raise ValueError(
                f"{type(self).__name__}: class_labels must be all numbers or all strings; got "
                f"both: {error}."
            ) from error
        return [(name, rows[class_labels == name]) for name in names]

    def _check_groups(self, again, class_labels):
        owner, n_clusters = type(self).__name__, self._fitted.n_clusters
        if n_clusters > 1 and class_labels is not None:
            raise ValueError(
                f"{owner}: class_labels needs n_clusters=1; got n_clusters={n_clusters}. "
                "Either give the classes of the rows, or let fit cluster them."
            )
        if again and hasattr(self, "classes_") != (class_labels is not None):
            raise ValueError(
                f"{owner}: class_labels must come with every batch or with none; this one is "
                f"{'without' if class_labels is None else 'with'} them, unlike the first."
            )

    def _estimate(self):
        """Means and covariances from the moments."""
        moments, given = list(self._moments.values()), self._fitted
        self.means_ = np.stack([m.mean for m in moments])
        tied = given.covariance_type == "tied"
        self.covariances_ = [
            Covariance.estimate(
                group,
                shrinkage=given.shrinkage,
                n_components=given.n_components,
                owner=type(self).__name__,
            )
            for group in ([moments] if tied else [[m] for m in moments])
        ]
        kept = sorted({covariance.n_dimensions for covariance in self.covariances_})
        if len(kept) > 1:
            raise ValueError(
                f"{type(self).__name__}: n_components={given.n_components} keeps {kept[0]} to "
                f"{kept[-1]} directions of the groups, whose distances can't be compared then. Use "
                "a whole number that all groups have, n_components=None, or "
                "covariance_type='tied'."
            )

    def _prepare(self, X):
        return unit_rows(X) if self._fitted.normalize else X

    def _score(self, X):
        rows = self._prepare(X)
        covariances = self.covariances_ * (len(self.means_) if len(self.covariances_) == 1 else 1)
        scores = np.full(len(rows), -np.inf)
        for mean, covariance in zip(self.means_, covariances):
            score = -covariance.squared_lengths(rows, mean)
            if self._fitted.log_likelihood:
                score = 0.5 * (score - _log_volume(covariance))
            np.maximum(scores, score, out=scores)
        return scores

    def _training_scores(self, X):
        scores, given = self._score(X), self._fitted
        if len(self.means_) > 1 or given.n_components is not None or len(X) < 2:
            return scores
        (covariance,) = self.covariances_
        if not given.log_likelihood:
            return -covariance.left_out(-scores, len(X))
        volume = _log_volume(covariance)  # that of all rows
        return -0.5 * (covariance.left_out(-2.0 * scores - volume, len(X)) + volume)


def _log_volume(covariance):
    r""":math:`\log\det\Sigma + d \log 2\pi`."""
    return covariance.log_determinant + covariance.n_dimensions * np.log(2.0 * np.pi)
