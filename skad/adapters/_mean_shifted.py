"""MSC: features adapted by the mean-shifted contrastive loss."""

from .._parameters import ABOVE_ZERO, AT_LEAST_TWO, NOT_NEGATIVE, POSITIVE, changed, parameter
from ..augment import ContrastiveAugmentation
from ..losses import angular_center_loss, mean_shifted_contrastive_loss, nt_xent_loss
from ..networks._budget import TINY, in_words
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    OPEN_STAGES,
    AcceptanceParameters,
    EpochParameters,
    FineTuningParameters,
    StepParameters,
    TemperatureParameters,
)
from ..training._task import Task
from ._base import BaseAdapter, unit
from ._plans import fine_tuning, settled, steps_of_epochs

PUBLISHED = {"n_epochs": 25, "learning_rate": 1e-5, "trainable": "last_two"}


class MeanShiftParameters(
    FineTuningParameters,
    StepParameters,
    EpochParameters,
    TemperatureParameters,
    AcceptanceParameters,
):
    """Contrast as seen from the mean."""

    mean_shift: bool = parameter(
        default=True,
        limits=["boolean"],
        text="False is plain contrastive training (NT-Xent on z), which the paper compares with.",
    )
    temperature: float = changed(default=0.25, note="(Paper.)")
    angular_weight: float = parameter(
        default=0.0,
        limits=[NOT_NEGATIVE],
        text="Weight of the angular centre loss :math:`-z^\\top c / \\lVert c \\rVert_2`, averaged "
        'over images and summed over both views. The paper\'s "MSC with angular loss" has '
        "weight 1 (97.5 instead of 97.2 on CIFAR-10 with ResNet-152).",
    )
    code_compatible: bool = parameter(
        default=False,
        limits=["boolean"],
        text="Follow the official code where it differs from the paper, if `angular_weight` is not "
        "0: the centre of the shift has unit length too, and the angular loss is "
        ":math:`\\lVert z - c \\rVert_2^2`, which has twice the weight of the paper's.",
    )
    n_epochs: int | None = changed(
        default=None, limits=[POSITIVE, None], note="By default 25 (paper; 20 in the code)."
    )
    trainable: object = changed(
        default=None,
        limits=OPEN_STAGES,
        note='By default "last_two" (paper, for ResNet-152; the code trains all of ResNet-18). A '
        "network of the package brings its own stages, epochs and rate: "
        f'"tiny" has {in_words(TINY["contrast"])}.',
    )
    batch_size: int = changed(
        default=64, note="Each gives two views (paper).", limits=[AT_LEAST_TWO]
    )
    learning_rate: float | None = changed(
        default=None, limits=[ABOVE_ZERO, None], note="By default 1e-5 (code; not in the paper)."
    )
    momentum: float = changed(default=0.0, note="(Code.)")
    weight_decay: float = changed(default=5e-5, note="(Paper.)")
    clip_norm: float | None = changed(default=None, note="(None in paper and code.)")


class MeanShiftedContrastive(RandomParameters, MeanShiftParameters, BaseAdapter):
    r"""MSC's adaptation: contrast two views of each normal image around the mean of all.

    Let z be features of unit length, c their mean over the training images before training, and
    :math:`u = z - c`. For views i and j of the same image, among the 2B views of a batch, the loss
    is

    .. math:: \ell(i, j) = -\log \frac{\exp(\cos(u_i, u_j) / \tau)}
        {\sum_{m \neq i} \exp(\cos(u_i, u_m) / \tau)}

    averaged over all views. Seen from their mean, normal features already point in all directions.
    So the loss need not push them apart, which would spoil a pretrained network. Scores use z,
    which is not shifted.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        The centre c.

    See Also
    --------
    skad.MSC : A detector on these features.
    skad.augment.ContrastiveAugmentation : How the views are made.
    skad.losses.mean_shifted_contrastive_loss : The loss.

    Notes
    -----
    The network "tiny" of the package gains at most 0.3 AUROC, in its first ten to twenty steps, and
    loses it again. With 8 epochs of 300 pictures at a rate of 1e-2, five classes of CIFAR-10,
    Fashion-MNIST and MNIST changed by -0.2 to -1.7, and solar cells by +0.3
    (``benchmarks/acceptance.py``). With ``accept="if_better"`` the frozen network is kept unless
    the trained one proves better.

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

    def _plan(self, n_images, network):
        given = settled(self, network, "contrast", PUBLISHED)
        steps = steps_of_epochs(given.pop("n_epochs"), n_images, self.batch_size)
        return fine_tuning(self, self.n_steps or steps, **given, augments=True)

    def _task(self, start):
        return MeanShiftTask(start, self)

    def _learn(self, task, outcome):
        self.center_ = task.center.cpu().numpy()


class MeanShiftTask(Task):
    """Two views of each image, contrasted as seen from the mean."""

    def __init__(self, start, settings):
        super().__init__(start)
        self.settings = settings
        self.augmentation = ContrastiveAugmentation(start.fitted.preprocessing.image_size)
        self.register_buffer("center", unit(start.features).mean(0))
        self.register_buffer("direction", unit(self.center[None])[0])
        # The official code shifts by the mean itself, unless it has the angular loss as well.
        unit_shift = settings.code_compatible and settings.angular_weight
        self.shift = self.direction if unit_shift else self.center

    def loss(self, step):
        """The contrast, and the angular loss where it has a weight."""
        of = self.settings
        first, second = self.images.views(step, self.augmentation)
        if of.mean_shift:
            loss = mean_shifted_contrastive_loss(first, second, self.shift, of.temperature)
        else:
            loss = nt_xent_loss(first, second, of.temperature)
        if of.angular_weight:
            angular = sum(angular_center_loss(view, self.direction) for view in (first, second))
            # |z - c|^2 of unit vectors is 2 - 2 z.c.
            angular = 4 + 2 * angular if of.code_compatible else angular
            loss = loss + of.angular_weight * angular
        return loss
