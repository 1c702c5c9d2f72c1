"""VICReg: features adapted by invariance, variance and covariance."""

import torch

from .._parameters import AT_LEAST_TWO, NOT_NEGATIVE, changed, parameter
from .._random import local_seed, torch_seed
from ..augment import ContrastiveAugmentation
from ..losses import vicreg_loss
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    AcceptanceParameters,
    EpochParameters,
    FineTuningParameters,
    StepParameters,
)
from ..training._task import Task
from ._base import BaseAdapter
from ._plans import fine_tuning, steps_of_epochs
from ._projection import ProjectorParameters, checked_widths, mlp


class VICRegParameters(
    FineTuningParameters,
    StepParameters,
    EpochParameters,
    ProjectorParameters,
    AcceptanceParameters,
):
    """Features that agree between views and go on to vary."""

    invariance_weight: float = parameter(
        default=25.0,
        limits=[NOT_NEGATIVE],
        text="Weight :math:`\\lambda` of the difference between views (paper).",
    )
    variance_weight: float = parameter(
        default=25.0,
        limits=[NOT_NEGATIVE],
        text="Weight :math:`\\mu` of features that vary less than before (paper).",
    )
    covariance_weight: float = parameter(
        default=1.0,
        limits=[NOT_NEGATIVE],
        text="Weight :math:`\\nu` of features that vary together (paper).",
    )
    projector_widths: list | None = changed(
        default=None,
        note="By default there is no head. (Paper, which trains from random weights on many "
        "images: 8192, 8192, 8192.)",
    )
    n_epochs: int = changed(default=2, note="(Ours; 1000 in the paper, from random weights.)")
    batch_size: int = changed(
        default=64, limits=[AT_LEAST_TWO], note="Each gives two views (MSC's; 2048 in the paper)."
    )
    learning_rate: float = changed(
        default=1e-3,
        note="Together with `clip_norm` it is the length of a step, whatever the network (ours).",
    )
    momentum: float = changed(default=0.0, note="(MSC's.)")
    clip_norm: float | None = changed(default=1.0, note="(Ours; without it some networks diverge.)")


class VICRegAdapter(RandomParameters, VICRegParameters, BaseAdapter):
    r"""VICReg's training of a pretrained network: views agree while features keep varying.

    Let Z and Z' be the features :math:`z = \phi(x) / s` of two views of the B images of a batch, or
    the outputs of the head for them, and C their covariance over the batch. The loss is

    .. math:: \frac{\lambda}{Bd} \lVert Z - Z' \rVert_F^2
        + \mu [v(Z) + v(Z')] + \nu [c(Z) + c(Z')]

    .. math:: v(Z) = \frac1d \sum_j \max\bigl(0, 1 - \sqrt{C_{jj} + 10^{-4}}\bigr), \qquad
        c(Z) = \frac1d \sum_{j \neq k} C_{jk}^2

    The scale s of each feature is its standard deviation over views before training. The paper's
    target of 1 then means "as much as before" for every feature, at any scale of features.

    Attributes
    ----------
    scale_ : ndarray of shape (n_features,)
        The scale s, 1 for a feature that did not vary.

    See Also
    --------
    skad.MeanShiftedContrastive : Views agree while other images push them apart.
    skad.losses.vicreg_loss : The loss.

    Notes
    -----
    The loss does not depend on the mean of the features. A batch of one image has no variance and
    is skipped.

    References
    ----------
    Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
    Learning", ICLR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import FeatureExtractor, ImageDetector, KNNScorer, VICRegAdapter
    >>> digits, labels = load_digits(return_X_y=True)
    >>> adapter = VICRegAdapter(n_steps=2)
    >>> detector = ImageDetector(FeatureExtractor(image_size=32), adapter, KNNScorer())
    >>> detector.fit(digits[labels == 0][:100]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    def _plan(self, n_images, network):
        steps = steps_of_epochs(self.n_epochs, n_images, self.batch_size)
        return fine_tuning(self, self.n_steps or steps, augments=True)

    def _task(self, start):
        return VICRegTask(start, self)

    def _learn(self, task, outcome):
        self.scale_ = task.scale.cpu().numpy()


class VICRegTask(Task):
    """Two views of each image that agree, by features that go on to vary."""

    def __init__(self, start, settings):
        super().__init__(start)
        self.settings = settings
        self.augmentation = ContrastiveAugmentation(start.fitted.preprocessing.image_size)
        with torch.no_grad():
            scale = torch.cat(self.images.views(0, self.augmentation)).std(0)
        self.register_buffer("scale", scale.masked_fill(scale == 0, 1))
        given = () if settings.projector_widths is None else settings.projector_widths
        widths = checked_widths(given, start.owner, "projector_widths")
        with local_seed(torch_seed(start.seed, "heads")):
            self.projector = mlp(start.features.shape[1], widths, affine_end="plain")

    def loss(self, step):
        """The loss of both views; None for one image alone."""
        if len(self.images.order(step)) < 2:
            return None
        of = self.settings
        return vicreg_loss(
            *(self.projector(z / self.scale) for z in self.images.views(step, self.augmentation)),
            invariance_weight=of.invariance_weight,
            variance_weight=of.variance_weight,
            covariance_weight=of.covariance_weight,
        )
