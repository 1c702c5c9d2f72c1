"""MSC: features adapted by the mean-shifted contrastive loss."""

from numbers import Integral, Real

from .._compat import Interval
from ..augment import ContrastiveAugmentation
from ..losses import angular_center_loss, mean_shifted_contrastive_loss, nt_xent_loss
from ._base import CONSTRAINTS, NOT_NEGATIVE, BaseAdapter, unit


class MeanShiftedContrastive(BaseAdapter):
    r"""MSC's adaptation: contrast two views of each normal image, as seen from their mean.

    With features z of unit length, their mean c over the training images before training, and
    :math:`u = z - c`, for the 2B views of a batch, i and j of the same image,

    .. math:: \ell(i, j) = -\log \frac{\exp(\cos(u_i, u_j) / \tau)}
        {\sum_{m \neq i} \exp(\cos(u_i, u_m) / \tau)}

    averaged over all views. Seen from their mean, normal features point everywhere already, so the
    loss need not push them apart from each other, which would spoil a pretrained network. Scores
    are taken on z, which is not shifted.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained. By default ``FeatureExtractor()``.
    mean_shift : bool, default=True
        False is plain contrastive training (NT-Xent on z), the paper's counter-example.
    temperature : float, default=0.25
        :math:`\tau` (paper).
    angular_weight : float, default=0
        Weight of the angular centre loss :math:`-z^\top c / \lVert c \rVert_2`, the mean over
        images, the sum over both views. The paper's "MSC with angular loss" is 1.
    code_compatible : bool, default=False
        As the official code does where `angular_weight` is not 0: the shift too is by the centre of
        unit length, and the angular loss is :math:`\lVert z - c \rVert_2^2`, whose weight is
        twice that of the paper's.
    n_epochs : int, default=25
        Passes over the images (paper; 20 in the code).
    n_steps : int, optional
        Steps of the optimiser instead.
    trainable : str, int or list of str, default="last_two"
        Stages to train; see :class:`~skad.CompactnessAdapter`. The paper trains the last two of
        ResNet-152, the code all of ResNet-18.
    batch_size : int, default=64
        Images in a step, with two views each; at least 2 (paper).
    learning_rate : float, default=1e-5
        Of stochastic gradient descent (code; not in the paper).
    momentum : float, default=0
        (Code.)
    weight_decay : float, default=5e-5
        (Paper.)
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together; none in paper and code.
    collapse_limit : float in [0, 1), default=0.25
        Collapse is an angular spread of the features below this share of that before training.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    memory_limit : float, default=2048
        Most MiB for the outputs of the frozen stages that are kept; see
        :class:`~skad.CompactnessAdapter`.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides the order of the images and their augmentation.
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

    Warns
    -----
    CollapseWarning
        If the features collapse and `stop_at_collapse` is False.

    See Also
    --------
    skad.MSC : Detector on these features.
    skad.augment.ContrastiveAugmentation : How the views are made.
    skad.losses.mean_shifted_contrastive_loss : The loss.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from skad import FeatureExtractor, KNNScorer, MeanShiftedContrastive
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = make_pipeline(
    ...     MeanShiftedContrastive(FeatureExtractor(image_size=32), n_steps=2),
    ...     KNNScorer(metric="cosine"),
    ... )
    >>> detector.fit(digits[labels == 0][:100]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _augments = True

    _parameter_constraints = {  # noqa: RUF012
        **CONSTRAINTS,
        "mean_shift": ["boolean"],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "angular_weight": [NOT_NEGATIVE],
        "code_compatible": ["boolean"],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        extractor=None,
        *,
        mean_shift=True,
        temperature=0.25,
        angular_weight=0.0,
        code_compatible=False,
        n_epochs=25,
        n_steps=None,
        trainable="last_two",
        batch_size=64,
        learning_rate=1e-5,
        momentum=0.0,
        weight_decay=5e-5,
        clip_norm=None,
        collapse_limit=0.25,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.mean_shift = mean_shift
        self.temperature = temperature
        self.angular_weight = angular_weight
        self.code_compatible = code_compatible
        self.n_epochs = n_epochs
        self.n_steps = n_steps
        self.trainable = trainable
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def _count_steps(self, n_images):
        n_batches = -(-n_images // self.batch_size)
        return self.n_steps or self.n_epochs * n_batches

    def _prepare(self, run):
        run.augmentation = ContrastiveAugmentation(run.extractor.preprocessing_.image_size)
        run.center = unit(run.first_features).mean(0)
        run.direction = unit(run.center[None])[0]
        # The official code shifts by the mean itself, unless it has the angular loss as well.
        unit_shift = self.code_compatible and self.angular_weight
        run.shift = run.direction if unit_shift else run.center

    def _loss(self, run, step):
        first, second = run.images.views(step, run.augmentation)
        if self.mean_shift:
            loss = mean_shifted_contrastive_loss(first, second, run.shift, self.temperature)
        else:
            loss = nt_xent_loss(first, second, self.temperature)
        if self.angular_weight:
            angular = sum(angular_center_loss(view, run.direction) for view in (first, second))
            # |z - c|^2 of unit vectors is 2 - 2 z.c.
            angular = 4 + 2 * angular if self.code_compatible else angular
            loss = loss + self.angular_weight * angular
        return loss

    def _learned(self, run):
        self.center_ = run.center.cpu().numpy()
