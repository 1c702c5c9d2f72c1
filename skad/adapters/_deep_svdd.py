"""DeepSVDD's features: a network that maps normal images near a fixed centre."""

from numbers import Integral, Real

from .._compat import Interval, StrOptions
from .._parameters import AT_LEAST_TWO, changed, parameter
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
from ._autoencoder import AutoencoderAdapter
from ._scratch import ScratchAdapter, step_decay

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
        text=r":math:`\nu`, the share of images left outside of the radius R (code).",
    )
    warm_up_epochs: int = parameter(
        default=10,
        limits=[Interval(Integral, 0, None, closed="left")],
        text=r'Epochs before R leaves zero, for "soft_boundary"; then it is the :math:`1 - \nu` '
        "quantile of the distances in the batch (code). A training that is no longer ends "
        "with R = 0.",
    )
    n_epochs: int = changed(default=150, note="(Code.)")
    batch_size: int = changed(default=200, note="(Code.)", limits=[AT_LEAST_TWO])
    learning_rate: float = changed(default=1e-4, note="Adam (code).")
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

    c is the mean feature before training, its coordinates no nearer to zero than 0.1. `transform`
    gives the features as seen from there, :math:`\phi(x) - c`, whose squared length is the score:
    ``CentroidScorer("squared_euclidean", center="origin")``.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        The centre c.
    radius_ : float
        The radius R; 0 for "one_class".

    See Also
    --------
    skad.DeepSVDD : Detector on these features.
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

    collapse_limit: float = changed(default=0.0, note="Features are to draw together here.")

    def _default_extractor(self):
        return AutoencoderAdapter()

    def _rate(self, step, n_steps):
        return step_decay(self.learning_rate, step, n_steps, self.decay_at)

    def _prepare(self, run):
        run.center = away_from_zero(run.first_features.mean(0))
        run.radius = run.buffers["skad_radius"] = run.center.new_zeros(())
        run.warm_up = self.warm_up_epochs * run.images.sampler.n_batches

    def _loss(self, run, step):
        run.batch_features = run.images.batch(step)
        if self.objective == "one_class":
            # The mean over features, as many times as there are.
            return compactness_loss(run.batch_features, run.center) * len(run.center)
        return soft_boundary_loss(run.batch_features, run.center, run.radius, self.nu)

    def _after_step(self, run, step):
        if self.objective == "soft_boundary" and step > run.warm_up:
            found = soft_boundary_radius(run.batch_features.detach(), run.center, self.nu)
            run.radius.copy_(found)

    def _learned(self, run):
        self.center_ = run.center.cpu().numpy()
        self.radius_ = float(run.radius)

    def transform(self, X):
        """Compute the features of images as seen from the centre.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
        """
        return super().transform(X) - self.center_


def away_from_zero(center, epsilon=CENTER_EPSILON):
    """A centre whose coordinates are zero, or no nearer to it than `epsilon`."""
    import torch

    near = center.abs() < epsilon
    return torch.where(near, epsilon * center.sign(), center)
