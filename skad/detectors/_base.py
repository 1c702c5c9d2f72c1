"""What every detector shares: one door for images, one pipeline behind it."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._callbacks import CallbackSupportMixin, fit_task
from .._compat import StrOptions, fit_context
from .._decision import DecisionMixin
from .._fitting import fitted_copy, twin, unchanged_on_error
from .._labels import has_anomaly_labels, outlier_mask
from .._parameters import ParameterGroup, parameter
from .._types import Images, Labels
from ..features import FeatureExtractor
from ..images._door import check_images
from ..parallel._lazily import is_lazy, lazily
from ..parallel._spread import spread
from ..streams._mixins import ScoreStreamMixin
from ..training._journal import journal

# Attributes of a fitted adapter that its detector has too.
FORWARDED = (
    *("training_curve_", "stopped_at_", "collapsed_at_", "accepted_at_", "acceptance_"),
    "labels_",
)


class ScorerParameters(ParameterGroup):
    """Which of several scores."""

    scorer: str = parameter(default=None, limits=[str], text="How features are scored.")


class UnreadableParameters(ParameterGroup):
    """What becomes of images that can't be read."""

    on_error: str = parameter(
        default="raise",
        limits=[StrOptions({"raise", "skip"})],
        text='What happens to images that cannot be read. "raise": an error. "skip": in scoring '
        "they get the score NaN and -1 from `predict`, and one warning counts and names them. "
        "Fitting always raises.",
    )


def can_extend(detector):
    try:
        obstacle = detector._obstacle_to_extending()
    except Exception:
        if hasattr(detector, "pipeline_"):
            raise
        return True  # parameters do not fit, as `fit` says, which a first `partial_fit` is
    if obstacle:
        raise AttributeError(f"{type(detector).__name__}: {obstacle}")
    return True


class BaseImageScores(ScoreStreamMixin, UnreadableParameters, DecisionMixin, BaseEstimator, ABC):
    """Decisions on images of any container; subclasses give the scores of a source."""

    def score_samples(self, X: Images) -> np.ndarray:
        """Score each image, high = normal.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        scores : ndarray of float64, shape (n_images,)
            NaN for images that could not be read, with ``on_error="skip"``. For a Dask array or
            bag, a Dask array that is not computed yet.
        """
        if is_lazy(X):
            check_is_fitted(self)
            return lazily(self, "score_samples", X, np.float64)
        source = self._source_to_score(X)
        scores = self._scores(source)
        scores[source.failures.mask(len(source))] = np.nan
        source.failures.warn(type(self).__name__, len(source))
        return scores

    def _source_to_score(self, X):
        check_is_fitted(self)
        return check_images(self, X, on_error=self.on_error)

    @abstractmethod
    def _scores(self, source):
        """Score of each image of a source."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class BaseImageDetector(CallbackSupportMixin, BaseImageScores, ABC):
    """Images to decisions; subclasses give `_make_steps()`.

    The last step is a scorer, whose `offset_` is the detector's.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted parts.
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.
    """

    @abstractmethod
    def _make_steps(self):
        """Named steps of the pipeline, unfitted: the extractor (or adapter), then the scorer."""

    def _join(self, first, scorer):
        """Tell the scorer what the first step has learned of its features.

        What is returned, if anything, is a dict of keywords for its `fit`.
        """
        if getattr(scorer, "tap_widths", ()) is None:  # an EnsembleScorer, left to us
            fitted = getattr(first, "extractor_", first)
            scorer.set_params(tap_widths=fitted.tap_widths_, map_taps=fitted.map_taps_)

    def _training_features(self, source, first, scorer):
        """What the scorer is fitted to, of the fitted first step."""
        return first.compute(source)

    def _finish(self, source):
        """Learn what needs the fitted pipeline, such as thresholds."""

    def _scorer(self):
        """The fitted scorer, or before the fit an unfitted one."""
        if hasattr(self, "pipeline_"):
            return self.pipeline_["scorer"]
        _, (_, scorer) = self._make_steps()
        return scorer

    def _obstacle_to_extending(self):
        """Why images can't join those of the fit, or None."""
        scorer = self._scorer()
        try:
            scorer.partial_fit  # noqa: B018
        except AttributeError as error:
            if error.__cause__ is not None:
                return str(error.__cause__)
            return (
                f"no partial_fit, since its {type(scorer).__name__} takes all training images at "
                "once. Fit to all images anew."
            )

    def _further_features(self, source, first):
        """What the scorer is extended by, of the first step as it was fitted."""
        return first.compute(source)

    def _ready(self, scorer, n_images):
        """Have a scorer expect so many more training images."""

    def _finish_further(self, source):
        """Learn anew, with further images, what needs the fitted pipeline."""

    def _make(self, part, **others):
        """An unfitted part of the detector, with those of its parameters that the part has."""
        own = self.get_params(deep=False) | others
        return part(**{name: own[name] for name in part().get_params(deep=False) if name in own})

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: Labels = None) -> Self:
        """Learn what normal images look like.

        Parameters
        ----------
        X : images
            Normal images in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out. A search over labelled images can therefore
            refit on all of them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if a parameter does not fit.
        """
        return self._fit(X, y)

    def _fit(self, X, y, **auxiliary):
        """Fit the steps; `auxiliary` images are for the first."""
        # The files of trainings are kept until the scorer is fitted as well.
        with unchanged_on_error(self), journal(), fit_task(self, n_subtasks=2) as task:
            source = check_images(self, X, y, reset=True)
            (name, first), (_, scorer) = self._make_steps()
            first = fitted_copy(first, source, task, **auxiliary)
            told = self._join(first, scorer) or {}
            features = self._training_features(source, first, scorer)
            with task.part("scorer", scorer):
                scorer.fit(features, **told)
            self.pipeline_ = Pipeline([(name, first), ("scorer", scorer)])
            self.offset_ = scorer.offset_
            self._finish(source)
            for forwarded in FORWARDED:
                vars(self).pop(forwarded, None)  # of an earlier fit
                if hasattr(first, forwarded):
                    setattr(self, forwarded, getattr(first, forwarded))
        source.brightest.warn_if_dark(type(self).__name__)
        return self

    @available_if(can_extend)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Images, y: Labels = None) -> Self:
        """Add normal images, as if they had been there in `fit`, without training.

        The first call is a `fit`. Later calls keep the network, the scale of flat rows and all
        parameters. The features of the new images are added to the scorer, and thresholds are set
        again from earlier and new images.

        A training image is not a neighbour of itself, so the score of an image that was added
        hardly changes. Images that look like it now have it as a neighbour. With ``n_neighbors=2``
        (DN2) it takes two images of a new kind to make that kind normal.

        Thresholds from maps reuse the maps of earlier images. These were compared with fewer
        images than now, so these thresholds are a little low.

        Parameters
        ----------
        X : images
            Normal images in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out. In later calls all may be labelled so.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        AttributeError
            If the scorer or the gallery of maps cannot be extended, as with centroids.
        ValueError, TypeError, OSError
            If images are missing or broken. Then nothing was added.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skad import DN2
        >>> digits, labels = load_digits(return_X_y=True)
        >>> zeros = digits[labels == 0]
        >>> detector = DN2().fit(zeros[:60]).partial_fit(zeros[60:100])
        >>> len(detector.pipeline_["scorer"].gallery_)
        100
        """
        if not hasattr(self, "pipeline_"):
            return self.fit(X, y)
        with unchanged_on_error(self):
            source = check_images(self, X)
            if has_anomaly_labels(y) and len(y) == len(source) and outlier_mask(y).all():
                return self
            source = check_images(self, source, y)
            self._extend(source)
        source.brightest.warn_if_dark(type(self).__name__)
        return self

    def _extend(self, source):
        """Take further images into copies of what they change."""
        (name, first), (_, scorer) = self.pipeline_.steps
        features = self._further_features(source, first)
        scorer = twin(scorer)
        self._ready(scorer, len(source))
        scorer.partial_fit(features)
        self.pipeline_ = Pipeline([(name, first), ("scorer", scorer)])
        self.offset_ = scorer.offset_
        self._finish_further(source)

    def _scores(self, source):
        """Score of each image of a source."""
        extractor = getattr(self.pipeline_[0], "extractor_", self.pipeline_[0])
        parts = list(spread(self, "_scores_here", source, extractor.together))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _scores_here(self, source):
        """Score of each image, by this process alone."""
        first, scorer = (step for _, step in self.pipeline_.steps)
        return scorer.score_samples(first.compute(source))


def composed(owner, extractor, adapter, scorer):
    """Steps of a detector: copies of its parts, the adapter around the extractor.

    Parameters
    ----------
    owner : str
        Named in errors.
    extractor : FeatureExtractor, adapter, FrozenEstimator or None
        By default that of the adapter, or a FeatureExtractor.
    adapter : adapter or None
        Where it is around other adapters, the innermost is given the extractor.
    scorer : estimator

    Returns
    -------
    steps : list of tuple of str and estimator
        "extractor" or "adapter", then "scorer"; unfitted.
    """
    scorer = clone(scorer)
    if adapter is None:
        extractor = FeatureExtractor() if extractor is None else clone(extractor)
        return [("extractor", extractor), ("scorer", scorer)]
    adapter = innermost = clone(adapter)
    if extractor is not None:
        while getattr(innermost, "extractor", None) is not None:
            innermost = innermost.extractor
        if "extractor" not in innermost.get_params(deep=False):
            raise ValueError(
                f"{owner}: adapter has an extractor of its own, {type(innermost).__name__}; leave "
                f"it None there, and say in {owner} which network it is."
            )
        innermost.set_params(extractor=clone(extractor))
    return [("adapter", adapter), ("scorer", scorer)]
