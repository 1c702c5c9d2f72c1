"""DeepSVDD's features: a network that maps normal images near a fixed centre."""

from numbers import Integral, Real

import numpy as np

from .._compat import Interval, StrOptions
from .._parameters import AT_LEAST_TWO, POSITIVE, changed, parameter
from .._types import Images, Source
from ..losses import compactness_loss, soft_boundary_loss, soft_boundary_radius
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    CollapseParameters,
    DecayParameters,
    EpochParameters,
    MemoryLimitParameters,
    ObjectiveParameters,
    RateDecayParameters,
    StepParameters,
    TrainingParameters,
)
from ..training._task import Task
from ._autoencoder import AutoencoderAdapter
from ._plans import from_scratch, step_decay
from ._scratch import ScratchAdapter

# Coordinates of the centre lie at least so far from zero, as a network without biases reaches zero
# by weights of zero (code).
CENTER_EPSILON = 0.1


class HypersphereParameters(
    MemoryLimitParameters,
    DecayParameters,
    RateDecayParameters,
    TrainingParameters,
    EpochParameters,
    ObjectiveParameters,
):
    """Near a centre."""

    objective: str = changed(
        default="one_class", limits=[StrOptions({"one_class", "soft_boundary"})]
    )
    nu: float = parameter(
        default=0.1,
        limits=[Interval(Real, 0, 1, closed="right")],
        text="Share :math:`\\nu` of images that may lie outside of the radius R (code).",
    )
    warm_up_epochs: int = parameter(
        default=10,
        limits=[Interval(Integral, 0, None, closed="left")],
        text='Epochs in which R stays 0, for "soft_boundary". After them R is the :math:`1 - \\nu` '
        "quantile of the distances in the batch (code). A training that is no longer than "
        "that ends with R = 0.",
    )
    n_epochs: int | None = changed(
        default=None,
        limits=[POSITIVE, None],
        note="By default 150 (code, CIFAR-10). For fewer images than its 5 000 the number falls in "
        "proportion, but not below 15, which was enough for 500 images.",
    )
    batch_size: int = changed(default=200, note="(Code.)", limits=[AT_LEAST_TWO])
    learning_rate: float = changed(default=1e-4, note="Here for Adam (code).")
    decay_at: float = changed(default=1 / 3, note="(Code: epoch 50.)")
    weight_decay: float = changed(default=5e-7, note="(Code.)")


class DeepSVDDAdapter(
    RandomParameters, CollapseParameters, HypersphereParameters, StepParameters, ScratchAdapter
):
    r"""DeepSVDD's training: draw the features of normal images together around a fixed centre.

    .. math::
        L_{\text{one-class}} &= \frac1B \sum_i \lVert \phi(x_i) - c \rVert_2^2 \\
        L_{\text{soft}} &= R^2 + \frac1{\nu B} \sum_i
            \max(0, \lVert \phi(x_i) - c \rVert_2^2 - R^2)

    The centre c is the mean feature before training, with coordinates moved away from zero to at
    least 0.1 in size. `transform` returns :math:`\phi(x) - c`. Its squared length is the score:
    ``CentroidScorer("squared_euclidean", center="origin")``.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        The centre c.
    radius_ : float
        The radius R; 0 for "one_class".

    See Also
    --------
    skad.DeepSVDD : A detector on these features.
    skad.CompactnessAdapter : The same idea for pretrained networks.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from skad import AutoencoderAdapter, CentroidScorer, DeepSVDDAdapter, FeatureExtractor
    >>> from skad.backbones import svdd_mnist
    >>> digits, labels = load_digits(return_X_y=True)
    >>> encoder = FeatureExtractor(
    ...     partial(svdd_mnist, image_size=8), weights=None, contrast_normalization=True
    ... )
    >>> autoencoder = AutoencoderAdapter(encoder, batch_size=20, n_epochs=20)
    >>> detector = make_pipeline(
    ...     DeepSVDDAdapter(autoencoder, batch_size=20, n_epochs=20),
    ...     CentroidScorer("squared_euclidean", center="origin"),
    ... )
    >>> detector.fit(digits[labels == 0][:100]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _published_epochs = 150

    collapse_limit: float = changed(
        default=0.0, note="Off here: the features are meant to draw together."
    )

    def _default_extractor(self):
        return AutoencoderAdapter()

    def _plan(self, n_images, network):
        n_steps = self._n_steps(n_images)
        rate = step_decay(self.learning_rate, n_steps, self.decay_at)
        return from_scratch(self, n_steps, rate=rate)

    def _task(self, start):
        nu = self.nu if self.objective == "soft_boundary" else None
        warm_up = self.warm_up_epochs * start.images.sampler.n_batches
        return HypersphereTask(start, nu, warm_up)

    def _learn(self, task, outcome):
        self.center_, self.radius_ = task.center.cpu().numpy(), float(task.radius)

    def transform(self, X: Images) -> np.ndarray:
        """Compute the features of images, minus the centre.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        return super().transform(X)

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
        return super().compute(source) - self.center_


class HypersphereTask(Task):
    """Features drawn together around a centre, some left outside where `nu` says so.

    Parameters
    ----------
    start : Start
    nu : float, optional
        Share of images left outside of the radius; by default there is none.
    warm_up : int
        Steps before the radius leaves zero.
    """

    def __init__(self, start, nu, warm_up):
        super().__init__(start)
        self.nu, self.warm_up = nu, warm_up
        self.register_buffer("center", away_from_zero(start.features.mean(0)))
        self.register_buffer("radius", self.center.new_zeros(()))

    def loss(self, step):
        """Mean squared distance, or what of it lies beyond the radius."""
        features = self.images.batch(step)
        self._seen = features.detach()
        if self.nu is None:
            # The mean over features, as many times as there are.
            return compactness_loss(features, self.center) * len(self.center)
        return soft_boundary_loss(features, self.center, self.radius, self.nu)

    def after_step(self, step):
        """The radius follows the distances of the batch."""
        if self.nu is not None and step > self.warm_up:
            self.radius.copy_(soft_boundary_radius(self._seen, self.center, self.nu))


def away_from_zero(center, epsilon=CENTER_EPSILON):
    """A centre whose coordinates are zero, or no nearer to it than `epsilon`."""
    import torch

    near = center.abs() < epsilon
    return torch.where(near, epsilon * center.sign(), center)
