"""What every adapter shares: an extractor around an extractor, whose network it trains."""

from abc import ABC, abstractmethod
from types import NoneType

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from .._compat import fit_context
from .._fitting import unchanged_on_error
from ..features import FeatureExtractor
from ..images._door import check_images
from ..training._journal import journal
from ..training._parameters import ExtractorParameters
from ..training._run import Run


class BaseAdapter(ExtractorParameters, TransformerMixin, BaseEstimator, ABC):
    """Train a copy of an extractor's network; subclasses give what with, and the loss of a step.

    Attributes
    ----------
    extractor_ : FeatureExtractor
        Fitted, with the trained network.
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
    def _prepare(self, run, **auxiliary):
        """Get ready for a training: what the loss needs goes onto `run`."""

    @abstractmethod
    def _loss(self, run, step):
        """Loss of a step, a scalar tensor; None for a step that there is nothing to learn in."""

    @abstractmethod
    def _count_steps(self, n_images):
        """Number of steps of the optimiser."""

    # True where `trainable` may be "head": no stage of the network is trained.
    _may_train_head_alone = False

    # Measure of `training_curve_` whose lowest value says which network is kept; None: the last.
    _selected_by = None

    def _default_extractor(self):
        """What gives the features where nothing is said."""
        return FeatureExtractor()

    def _inner(self):
        """What this training begins with, unfitted."""
        return self._default_extractor() if self.extractor is None else self.extractor

    def _snapshot_steps(self, n_steps):
        """Steps whose networks are all kept."""
        return ()

    def _rate(self, step, n_steps):
        """Learning rate of a step."""
        return self.learning_rate

    @property
    def _fewest(self):
        """Least number of images in a batch: BatchNorm cannot learn from one."""
        return 2 if self._from_scratch else 1

    @property
    def _images_in_step(self):
        """Largest number of images in a step."""
        return self.batch_size

    def _measure(self, run):
        """Further measures for `training_curve_`, a dict of str to float."""
        return {}

    def _after_step(self, run, step):
        """What is to be done when the optimiser has taken a step, their number being `step`.

        Training ends if this gives True.
        """

    def _learned(self, run):
        """Set what the subclass has learned."""

    def _make_optimizer(self, parameters):
        import torch

        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
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

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y)

    def _adapt(self, X, y, **auxiliary):
        self._check_extractor()
        with unchanged_on_error(self), journal() as checkpoints:
            source = check_images(self, X, y, reset=True)
            if len(source) < 2:
                raise ValueError(
                    f"{type(self).__name__}: training needs at least 2 normal images; got 1 sample."
                )
            run = Run(self, source, checkpoints)
            try:
                self._prepare(run, **auxiliary)
                run.train(lambda step: self._loss(run, step), self._count_steps(len(source)))
            finally:
                run.close()
            self.extractor_ = run.extractor
            self.training_curve_ = run.watch.as_arrays
            self.stopped_at_, self.collapsed_at_ = run.stopped_at, run.watch.collapsed_at
            self._learned(run)
        return self

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

    def transform(self, X):
        """Compute the features of images by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
        """
        check_is_fitted(self)
        return self.extractor_.transform(check_images(self, X))

    def feature_maps(self, X):
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

    def get_feature_names_out(self, input_features=None):
        """Names of the features: the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows seen in `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_features,)
        """
        check_is_fitted(self)
        return self.extractor_.get_feature_names_out(input_features)

    @property
    def network_(self):
        """The trained network, in evaluation mode."""
        check_is_fitted(self)
        return self.extractor_.network_

    @property
    def image_shape(self):
        """Shape of the image in flat rows, as the extractor's parameter says."""
        return getattr(self.extractor, "image_shape", None)

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
