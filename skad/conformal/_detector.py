"""ConformalDetector: images that are anomalies, at a false-alarm rate that was asked for."""

from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.utils import check_random_state, indexable
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, Interval, StrOptions, fit_context, safe_indexing
from .._fitting import unchanged_on_error
from .._labels import normal_rows
from .._types import Images, Labels, RandomState
from ..parallel._tasks import each
from ..streams._mixins import ScoreStreamMixin
from ._base import BaseConformal
from ._ranks import count_at_or_below, discoveries, fewest_to_alarm, whole_part

# Standardised scores beyond this are as far out as can be, so that the tie-breaker of a score stays
# clear of 0 and 1, next to counts of up to some hundred millions.
_FAR = 1e6


class ConformalDetector(ScoreStreamMixin, BaseConformal):
    r"""Outlier detector with a guaranteed rate of false alarms.

    It wraps a detector and calibrates it: normal images that the detector was not trained on show
    how normal images score. The p-value of a new image is the rank of its score among theirs,

    .. math:: p(x) = \frac{1 + \sum_k \#\{i \in C_k : s_k(x_i) \le s_k(x)\}}{1 + \sum_k |C_k|}

    where :math:`s_k` is the score (high = normal) of a detector trained without the calibration
    images :math:`C_k`. These are one part of the training images for ``method="split"``, and each
    of K folds in turn for ``"cross"``. An image is an anomaly if :math:`p \le`
    `false_alarm_rate`.

    Parameters
    ----------
    detector : estimator
        Any outlier detector with `score_samples` or `decision_function`, high = normal: one of
        skad or scikit-learn, a density such as ``GaussianMixture``, or a Pipeline that ends in one.
        Clones of it are fitted.
    false_alarm_rate : float in (0, 1), default=0.05
        Share :math:`\alpha` of normal images that may be called anomalies. (0.05 is convention.)
    method : {"split", "cross"}, default="split"
        "split" trains one detector and calibrates it on images set aside. "cross" trains K
        detectors, and every image serves to train and to calibrate. "split" is faster and its
        guarantee is exact; "cross" makes better use of few images.
    calibration_share : float in (0, 1], default=0.25
        Share of the images set aside by "split" (0.25 as in scikit-learn's ``train_test_split``).
        1.0 is for a fitted detector in a :class:`~sklearn.frozen.FrozenEstimator`: all of `X`
        calibrates it, and must be new to it.
    n_folds : int, default=5
        Number K of folds for "cross" (5 as in Vovk's experiments and scikit-learn's ``KFold``).
    pollution : float in [0, 0.5), default=0.0
        Share of the training images that are unlabelled outliers. This share of the lowest
        calibration scores is dropped. If the detector misses many outliers, the rate is then above
        `false_alarm_rate`: see the notes before use.
    random_state : int, RandomState instance or None, default=0
        Seeds the split or the folds. The detector has its own random state.

    Attributes
    ----------
    detectors_ : list of estimator
        The fitted detectors: one for "split", K for "cross".
    calibration_scores_ : list of ndarray of float64
        For each detector, the scores of its calibration images that were not dropped, lowest first.
    offset_ : float
        Threshold on `score_samples`. A sample is below it, and `predict` gives -1, exactly if its
        `p_values` is at most `false_alarm_rate`.
    n_features_in_ : int
        Number of features, if the detector has it.
    feature_names_in_ : ndarray of str, shape (n_features,)
        Names of the columns, if the detector has them.

    See Also
    --------
    skad.ConformalMapDetector : The same for pixels and regions.
    skad.DN2 : A detector to wrap.
    sklearn.frozen.FrozenEstimator : For a detector that is fitted already.

    Notes
    -----
    **What is guaranteed.** If the normal images to come and the calibration images are exchangeable
    (for example drawn from one source), a normal image raises a false alarm with a probability of

    - at most :math:`\alpha` for "split", whatever the detector (Vovk et al. 2005);
    - at most :math:`2 \alpha + 2 (K - 1) / (n + K)` for "cross", about :math:`\alpha` in practice
      (Vovk 2015; Barber et al. 2021).

    These are averages over calibration sets. For a single set of n images, the rate of "split"
    deviates from :math:`\alpha` by about :math:`\sqrt{\alpha (1 - \alpha) / n}`: with 200 images,
    by 1.5 % around 5 %.

    **What breaks it.** Neighbouring frames of a video and crops of one photograph are not
    exchangeable. Neither are images that helped to fit a step before this detector, such as a PCA:
    put that step into a Pipeline inside the detector. A frozen network may stay outside, so that it
    sees each image once: ``make_pipeline(FeatureExtractor(), ConformalDetector(KNNScorer()))``.

    **Polluted training images.** Outliers in the calibration set lower the threshold, unless they
    score above normal images. The rate still holds, but anomalies are missed (Bashari et al. 2025).
    There are two remedies:

    - Look at the images with the lowest `p_values`, label the outliers among them -1, and fit again
      with `y`. No normal image is dropped, so the rate still holds.
    - ``pollution=rho`` takes the ``rho * n`` lowest calibration scores for the outliers. This
      relies on the detector. If it misses the share :math:`\beta` of the outliers, the false-alarm
      rate becomes about :math:`\alpha + \beta \rho / (1 - \rho)`. It is :math:`\alpha` if the
      detector finds all of them, and :math:`\alpha + \rho (1 - \alpha)` if it cannot tell them from
      normal images. No method escapes this without labels or assumptions on the distribution of
      scores. Give the share of outliers that the detector finds, not the share that there are.

    With "split", `score_samples` is the score of the detector. With "cross" the detectors differ in
    scale, so it is :math:`p(x)` plus a part of the step to the next p-value. That part grows with
    the mean of the detectors' standardised scores; it also ranks images beyond all calibration
    scores.

    References
    ----------
    Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", Springer 2005. Vovk,
    "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74, 2015.
    Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals of
    Statistics 49, 2021. Bates, Candès, Lei, Romano, Sesia, "Testing for outliers with conformal
    p-values", Annals of Statistics 51, 2023. Bashari, Sesia, Romano, "Robust Conformal Outlier
    Detection under Contaminated Reference Data", ICML 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from skad import KNNScorer
    >>> from skad.conformal import ConformalDetector
    >>> digits, labels = load_digits(return_X_y=True)
    >>> normal, outliers = digits[labels < 5], digits[labels >= 5]
    >>> train, test = train_test_split(normal, test_size=300, random_state=0)
    >>> detector = ConformalDetector(KNNScorer(), false_alarm_rate=0.05).fit(train)
    >>> print(f"false alarms: {(detector.predict(test) == -1).mean():.3f}")
    false alarms: 0.023
    >>> print(f"anomalies found: {(detector.predict(outliers) == -1).mean():.2f}")
    anomalies found: 0.88
    >>> detector.p_values(outliers[2:4]).round(3)
    array([0.007, 0.007])
    """

    _parameter_constraints = {  # noqa: RUF012
        "detector": [
            HasMethods(["fit", "score_samples"]),
            HasMethods(["fit", "decision_function"]),
        ],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "method": [StrOptions({"split", "cross"})],
        "calibration_share": [Interval(Real, 0, 1, closed="right")],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "pollution": [Interval(Real, 0, 0.5, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detector: object,
        *,
        false_alarm_rate: float = 0.05,
        method: str = "split",
        calibration_share: float = 0.25,
        n_folds: int = 5,
        pollution: float = 0.0,
        random_state: RandomState = 0,
    ) -> None:
        self.detector = detector
        self.false_alarm_rate = false_alarm_rate
        self.method = method
        self.calibration_share = calibration_share
        self.n_folds = n_folds
        self.pollution = pollution
        self.random_state = random_state

    # The wrapped detector has parameters of its own to validate.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None, **fit_params: object) -> Self:
        """Train on one part of the images and calibrate on another.

        Parameters
        ----------
        X : array-like, list of images or paths, data set
            Normal images or rows, in a container that the detector takes and that can be indexed.
        y : array-like of shape (n_samples,), optional
            Samples labelled -1 (or True) are left out of both parts.
        **fit_params : dict
            Passed on to the detector's `fit`, such as ``X_outliers`` of :class:`~skad.PANDAOE`.
            A value as long as `X` is split as `X` is. With metadata routing enabled, the detector
            must request it, for example by ``set_fit_request(X_outliers=True)``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If there are too few calibration images for `false_alarm_rate`; if labels are unknown.
        """
        with unchanged_on_error(self):
            (X,) = indexable(X)
            fit_params = self._params_for_detector(fit_params)
            rows = normal_rows(X, y, owner=type(self).__name__)
            folds = self._calibration_folds(len(rows))
            n_dropped = self._check_enough(folds, len(rows))
            tasks = [(X, np.delete(rows, fold), rows[fold], fit_params) for fold in folds]
            self.detectors_, scores = zip(*each(self._train_and_score, tasks, type(self).__name__))
            self.detectors_ = list(self.detectors_)
            self.calibration_scores_ = _without_lowest(scores, n_dropped)
            self.offset_ = self._threshold()
        return self

    def _train_and_score(self, X, rows, fold, fit_params):
        """A detector that is trained on some rows, and its scores of others."""
        detector = self._train(X, rows, fit_params)
        return detector, _scores(detector, safe_indexing(X, fold))

    def _calibration_folds(self, n_samples):
        """Places of the images that calibrate each of the detectors."""
        if self.method == "cross":
            order = check_random_state(self.random_state).permutation(n_samples)
            return [np.sort(fold) for fold in np.array_split(order, self.n_folds)]
        return [np.sort(self._put_aside(n_samples))]

    def _check_enough(self, folds, n_samples):
        """Refuse what can't raise an alarm, before hours of training; else the number to drop."""
        name, cross = type(self).__name__, self.method == "cross"
        if cross and n_samples < self.n_folds:
            raise ValueError(
                f"{name}: n_folds={self.n_folds} needs as many normal images, got n_samples = "
                f"{n_samples}. Give more images or lower n_folds."
            )
        n_calibration = sum(map(len, folds))
        n_dropped = whole_part(self.pollution, n_calibration)
        needed = fewest_to_alarm(self.false_alarm_rate)
        if n_calibration - n_dropped < needed:
            most = cross or self.calibration_share == 1
            fix = "" if most else ', a larger calibration_share or method="cross"'
            raise ValueError(
                f"{name}: false_alarm_rate={self.false_alarm_rate} needs at least {needed} "
                f"calibration images, got {n_calibration - n_dropped}: of n_samples = {n_samples} "
                f"normal images {n_calibration} calibrate, and pollution={self.pollution} drops "
                f"{n_dropped} of those. Give more images, a larger false_alarm_rate{fix}."
            )
        return n_dropped

    def _threshold(self):
        n = sum(map(len, self.calibration_scores_))
        rank = whole_part(self.false_alarm_rate, n + 1)
        if len(self.calibration_scores_) > 1:
            return (rank + 1) / (n + 1)
        return float(self.calibration_scores_[0][rank - 1])

    def score_samples(self, X: Images) -> np.ndarray:
        """Score each sample, high = normal.

        Parameters
        ----------
        X : array-like, list of images or paths, data set
            In any container that the detector takes.

        Returns
        -------
        scores : ndarray of float64, shape (n_samples,)
            The scores of the detector for "split"; for "cross" p-values with ties broken, see the
            notes of the class.
        """
        return self._joined(self._all_scores(X))

    def _joined(self, scores):
        """One score of each sample by those of all detectors."""
        if len(scores) == 1:
            return scores[0]
        far = np.mean(
            [_standardised(s, c) for s, c in zip(scores, self.calibration_scores_)], axis=0
        )
        far = np.clip(far, -_FAR, _FAR)
        tie_breaker = 0.5 * (1 + far / (1 + np.abs(far)))
        count, n = count_at_or_below(self.calibration_scores_, scores)
        return (1 + count + tie_breaker) / (n + 1)

    def p_values(self, X: Images) -> np.ndarray:
        r"""Compute the probability that a normal sample scores as low as each sample.

        Parameters
        ----------
        X : array-like, list of images or paths, data set
            In any container that the detector takes.

        Returns
        -------
        p_values : ndarray of float64, shape (n_samples,)
            In (0, 1], and at least 1 / (n + 1) with n calibration images. NaN for an image that
            could not be read, if the detector has ``on_error="skip"``. For a normal sample
            :math:`P(p \le \alpha) \le \alpha` ("split"; see the notes for "cross").
        """
        return self._ranked(self._all_scores(X))

    def _ranked(self, scores):
        count, n = count_at_or_below(self.calibration_scores_, scores)
        return (1 + count) / (n + 1)

    def decide(self, X: Images) -> tuple[np.ndarray, np.ndarray]:
        """Compute decisions and p-values at once, scoring each sample once.

        Parameters
        ----------
        X : array-like, list of images or paths, data set
            In any container that the detector takes.

        Returns
        -------
        scores : ndarray of float64, shape (n_samples,)
            As `decision_function` returns them.
        p_values : ndarray of float64, shape (n_samples,)
            As `p_values` returns them.
        """
        scores = self._all_scores(X)
        return self._joined(scores) - self.offset_, self._ranked(scores)

    def predict_fdr(self, X: Images, *, false_discovery_rate: float = 0.1) -> np.ndarray:
        r"""Label a batch so that few of its alarms are false.

        This is the procedure of Benjamini and Hochberg on the p-values :math:`p_{(1)} \le \dots \le
        p_{(m)}` of the batch. It finds the largest :math:`j` with :math:`p_{(j)} \le j q / m`, and
        the :math:`j` samples with the lowest p-values are the anomalies. The expected share of
        normal samples among them is at most :math:`q` times the share of normal samples in the
        batch. This is proven for "split", whose p-values depend on each other in a harmless way
        (positive regression dependence, Bates et al. 2023). Nothing is proven for "cross", whose
        p-values are much the same in practice.

        Parameters
        ----------
        X : array-like, list of images or paths, data set
            The batch. Unlike with `predict`, the label of a sample depends on the other samples.
        false_discovery_rate : float in (0, 1), default=0.1
            The rate :math:`q` (0.1 as in Bates et al.).

        Returns
        -------
        labels : ndarray of int, shape (n_samples,)
            +1 for normal, -1 for an anomaly. No p-value is below 1 / (n + 1) with n calibration
            images, so there are no alarms if fewer than ``m / (q * (n + 1))`` of m samples are
            anomalies. Large batches need many calibration images.

        Raises
        ------
        ValueError
            If `false_discovery_rate` is not in (0, 1).
        """
        owner = type(self).__name__
        found = discoveries(self.p_values(X), false_discovery_rate, owner)
        return np.where(found, -1, 1)

    def _all_scores(self, X):
        check_is_fitted(self)
        return [_scores(detector, X, calibrates=False) for detector in self.detectors_]


def _scores(detector, X, *, calibrates=True):
    """Scores of one detector, high = normal."""
    score = getattr(detector, "score_samples", None) or detector.decision_function
    scores = np.asarray(score(X), dtype=np.float64)
    may_be_nan = not calibrates and getattr(detector, "on_error", "raise") == "skip"
    if np.isnan(scores).any() and not may_be_nan:
        # NaN would sort above all calibration scores, and pass for normal.
        index = int(np.flatnonzero(np.isnan(scores))[0])
        raise ValueError(
            f"ConformalDetector: the score of sample {index} by {type(detector).__name__} is NaN, "
            f"as are {int(np.isnan(scores).sum())} of {len(scores)}; a rank needs numbers."
        )
    return scores


def _standardised(scores, calibration_scores):
    """Scores on a scale that detectors share."""
    scale = calibration_scores.std()
    return (scores - calibration_scores.mean()) / (scale if scale > 0 else 1.0)


def _without_lowest(scores, n_dropped):
    """Sorted scores of each fold, without those that are the lowest of all folds."""
    standardised = np.concatenate([_standardised(fold, fold) for fold in scores])
    lowest = np.zeros(len(standardised), dtype=bool)
    lowest[np.argsort(standardised, kind="stable")[:n_dropped]] = True
    indices = np.split(lowest, np.cumsum([len(fold) for fold in scores])[:-1])
    return [np.sort(fold[~dropped]) for fold, dropped in zip(scores, indices)]
