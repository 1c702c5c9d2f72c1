"""DeepSVDD's features: a network that maps normal images near a fixed centre."""

from numbers import Integral, Real

from .._compat import Interval, StrOptions
from ..losses import compactness_loss, soft_boundary_loss, soft_boundary_radius
from ._autoencoder import AutoencoderAdapter
from ._scratch import SCRATCH_CONSTRAINTS, ScratchAdapter, step_decay

# Coordinates of the centre lie at least so far from zero, as a network without biases reaches zero
# by weights of zero (code).
CENTER_EPSILON = 0.1


class DeepSVDDAdapter(ScratchAdapter):
    r"""DeepSVDD's training: draw the features of normal images together around a fixed centre.

    .. math::
        L_{\text{one-class}} &= \frac1B \sum_i \lVert \phi(x_i) - c \rVert_2^2 \\
        L_{\text{soft}} &= R^2 + \frac1{\nu B} \sum_i
            \max(0, \lVert \phi(x_i) - c \rVert_2^2 - R^2)

    c is the mean feature before training, its coordinates no nearer to zero than 0.1. `transform`
    gives the features as seen from there, :math:`\phi(x) - c`, whose squared length is the score:
    ``CentroidScorer("squared_euclidean", center="origin")``.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained whole. By default
        ``AutoencoderAdapter()``, whose encoder goes on (paper).
    objective : {"one_class", "soft_boundary"}, default="one_class"
        What is minimised.
    nu : float in (0, 1], default=0.1
        :math:`\nu`, the share of images left outside of the radius R (code).
    warm_up_epochs : int, default=10
        Epochs before R leaves zero, for "soft_boundary"; then it is the :math:`1 - \nu` quantile
        of the distances in the batch (code). A training that is no longer ends with R = 0.
    n_epochs : int, default=150
        Passes over the images (code).
    n_steps : int, optional
        Steps of the optimiser instead.
    batch_size : int, default=200
        Images in a step (code).
    learning_rate : float, default=1e-4
        Of Adam (code).
    decay_at : float in [0, 1], default=1/3
        Share of the training after which the learning rate is a tenth (code: epoch 50).
    weight_decay : float, default=5e-7
        (Code.)
    collapse_limit : float in [0, 1), default=0.0
        Collapse is an angular spread of the features below this share of the widest one so far.
        Features are to draw together here, so by default it is not looked for.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    memory_limit : float, default=2048
        Most MiB for prepared images; those beyond are prepared anew in each epoch.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides the order of the images.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    extractor_ : FeatureExtractor
        Fitted, with the trained network.
    network_ : torch.nn.Module
        The trained network, in evaluation mode.
    center_ : ndarray of shape (n_features,)
        The centre c.
    radius_ : float
        The radius R; 0 for "one_class".
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training; see :class:`~skad.CompactnessAdapter`.
    stopped_at_ : int
        Steps that the network was trained.
    collapsed_at_ : int or None
        Step at which collapse was seen.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

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

    _parameter_constraints = {  # noqa: RUF012
        **SCRATCH_CONSTRAINTS,
        "objective": [StrOptions({"one_class", "soft_boundary"})],
        "nu": [Interval(Real, 0, 1, closed="right")],
        "warm_up_epochs": [Interval(Integral, 0, None, closed="left")],
        "decay_at": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        extractor=None,
        *,
        objective="one_class",
        nu=0.1,
        warm_up_epochs=10,
        n_epochs=150,
        n_steps=None,
        batch_size=200,
        learning_rate=1e-4,
        decay_at=1 / 3,
        weight_decay=5e-7,
        collapse_limit=0.0,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.objective = objective
        self.nu = nu
        self.warm_up_epochs = warm_up_epochs
        self.n_epochs = n_epochs
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decay_at = decay_at
        self.weight_decay = weight_decay
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

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
