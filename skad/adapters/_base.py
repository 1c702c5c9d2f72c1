"""What every adapter shares: an extractor around an extractor, whose network it trains."""

from abc import ABC, abstractmethod
from types import NoneType
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._callbacks import CallbackSupportMixin, fit_task
from .._compat import fit_context
from .._fitting import fitted_copy, unchanged_on_error
from .._types import ArrayLike, Images, Labels, Module, Source
from ..features import FeatureExtractor
from ..images._door import check_images, take_source
from ..training._acceptance import n_held_out
from ..training._journal import journal
from ..training._parameters import ExtractorParameters
from ..training._run import Training
from ..training._start import Start


class BaseAdapter(ExtractorParameters, CallbackSupportMixin, TransformerMixin, BaseEstimator, ABC):
    """Train a copy of an extractor's network; subclasses give what with, and the loss of a step.

    Attributes
    ----------
    extractor_ : FeatureExtractor
        The fitted extractor, with the trained network.
    network_ : torch.nn.Module
        The trained network, in evaluation mode.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.
    """

    # True where every step sees other pictures, so that nothing computed for one is of further use.
    _augments = False

    # False where features may draw together without harm.
    _warns_of_collapse = True

    # True where the whole network is trained, in training mode: BatchNorm learns its statistics.
    _from_scratch = False

    @abstractmethod
    def _plan(self, n_images, network):
        """What the training of a network on so many images is to be like, a Plan."""

    @abstractmethod
    def _task(self, start, **auxiliary):
        """What is trained, and the loss of a step: a Task."""

    def _learn(self, task, outcome):
        """Set what the subclass has learned."""

    def _default_extractor(self):
        """What gives the features where nothing is said."""
        return FeatureExtractor()

    def _inner(self):
        """What this training begins with, unfitted."""
        return self._default_extractor() if self.extractor is None else self.extractor

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None) -> Self:
        """Train on normal images.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y)

    def _adapt(self, X, y, **auxiliary):
        with unchanged_on_error(self):
            source = check_images(self, X, y, reset=True)
            self.fit_source(source, **auxiliary)
        source.brightest.warn_if_dark(type(self).__name__)
        return self

    def fit_source(self, source: Source, **auxiliary: object) -> Self:
        """Train on normal images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.
        **auxiliary : dict
            Further arguments of `fit`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        owner = type(self).__name__
        self._check_extractor()
        if len(source) < 2:
            raise ValueError(f"{owner}: training needs at least 2 normal images; got 1 sample.")
        take_source(self, source)
        seed = int(check_random_state(self.random_state).randint(2**31))
        held_out = 0
        if getattr(self, "accept", "always") == "if_better":
            held_out = n_held_out(len(source), owner)
        with journal() as files:
            inner = fitted_copy(self._inner(), source)
            plan = self._plan(len(source) - held_out, inner.network_)
            with (
                fit_task(self, plan.n_steps) as progress,
                Start(owner, inner, source, plan, seed, held_out) as start,
            ):
                task = self._task(start, **auxiliary)
                outcome = Training(task, plan, start, self.get_params(), progress).run(files)
            self.extractor_ = start.extractor
            self.training_curve_ = outcome.curve
            self.stopped_at_, self.collapsed_at_ = outcome.stopped_at, outcome.collapsed_at
            self._tell(outcome.acceptance)
            self._learn(task, outcome)
        return self

    def _tell(self, acceptance):
        """Set why a network was kept, if it had to prove itself."""
        for name in ("acceptance_", "accepted_at_"):
            vars(self).pop(name, None)
        if acceptance is not None:
            self.acceptance_, self.accepted_at_ = acceptance, acceptance["step"]

    def _check_extractor(self):
        given = self.extractor
        if isinstance(given, FrozenEstimator):
            check_is_fitted(given.estimator)
            given = given.estimator
        if not isinstance(given, (FeatureExtractor, BaseAdapter, NoneType)):
            raise TypeError(
                f"{type(self).__name__}: extractor must be a FeatureExtractor or an adapter; got a "
                f"{type(given).__name__}."
            )

    def transform(self, X: Images) -> np.ndarray:
        """Compute the features of images by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        check_is_fitted(self)
        return self.compute(check_images(self, X))

    def compute(self, source: Source) -> np.ndarray:
        """Compute what `transform` returns, for images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        return self.extractor_.compute(source)

    def feature_maps(self, X: Images) -> dict[str, np.ndarray]:
        """Compute the maps of the layers by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        maps : dict of str to ndarray of float32, shape (n_images, channels, height, width)
            See :meth:`skad.FeatureExtractor.feature_maps`.
        """
        check_is_fitted(self)
        return self.extractor_.feature_maps(check_images(self, X))

    def get_feature_names_out(self, input_features: "ArrayLike | None" = None) -> np.ndarray:
        """Get the names of the features: the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows of `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_features,)
            One name for each column.
        """
        check_is_fitted(self)
        return self.extractor_.get_feature_names_out(input_features)

    @property
    def network_(self) -> Module:
        """The trained network, in evaluation mode."""
        check_is_fitted(self)
        return self.extractor_.network_

    @property
    def _n_features_out(self):
        return len(self.get_feature_names_out())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # always float32
        tags.input_tags.three_d_array = True
        return tags


def unit(rows):
    """Rows of unit length, as a tensor."""
    import torch

    return torch.nn.functional.normalize(rows, dim=1)
