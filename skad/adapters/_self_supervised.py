"""NSA's features: a network trained from random weights on views of normal images alone."""

import copy
import math

import numpy as np
import torch
from sklearn.base import clone

from .._compat import StrOptions
from .._parameters import (
    AT_LEAST_TWO,
    POSITIVE,
    SHARE_BELOW_ONE,
    changed,
    parameter,
)
from .._random import local_seed, torch_seed
from .._types import ArrayLike, Images
from ..augment import ContrastiveAugmentation
from ..images._door import take_source
from ..losses import byol_loss, nt_xent_loss, simsiam_loss
from ..losses._rows import unit
from ..networks._parameters import FlattenedLayerParameters, LayerParameters, RandomParameters
from ..networks._stages import network_stages
from ..training._parameters import (
    AugmentationParameters,
    CollapseParameters,
    DecayParameters,
    EpochParameters,
    MemoryLimitParameters,
    ObjectiveParameters,
    StepParameters,
    TemperatureParameters,
    TrainingParameters,
)
from ..training._task import Task
from ._plans import cosine_decay, from_scratch, steps_of_epochs
from ._projection import ProjectedNetwork, ProjectorParameters, checked_widths, mlp
from ._scratch import ScratchAdapter

N_EPOCHS = {"simclr": 500, "simsiam": 4000, "byol": 4000}

# Outputs of the layers of each head. NSA gives the number of layers alone.
PROJECTOR_WIDTHS = {
    "simclr": (512, 128),
    "simsiam": (2048, 2048, 2048),
    "byol": (4096, 4096, 256),
}
PREDICTOR_WIDTHS = {"simsiam": (512, 512), "byol": (4096, 4096)}  # and back to the projection


class AgreementParameters(
    MemoryLimitParameters,
    CollapseParameters,
    DecayParameters,
    TrainingParameters,
    StepParameters,
    EpochParameters,
    AugmentationParameters,
    TemperatureParameters,
    ProjectorParameters,
    ObjectiveParameters,
):
    """Two views that agree."""

    objective: str = changed(
        default="simsiam",
        limits=[StrOptions({"simsiam", "simclr", "byol"})],
        note="SimSiam is the paper's best without negatives.",
    )
    normalize: bool = parameter(
        default=True,
        limits=["boolean"],
        text="Use NSA's normalisations in training. False is the plain objective: SS, SC or BYOL "
        "in the paper.",
    )
    negatives: str | None = parameter(
        default=None,
        limits=[StrOptions({"rotation"}), None],
        text='For SimCLR: "rotation" adds each image turned by 90, 180 and 270 degrees to the '
        "batch, as three other images. This is the paper's SC(n-), with all turns in each "
        "batch as in CSI; the paper draws some at random.",
    )
    projector_widths: list | None = changed(
        default=None,
        note="By default 2048, 2048, 2048 for SimSiam (three layers: NSA's paper; widths: "
        "SimSiam's), 512, 128 for SimCLR (two layers: paper; widths: ours and SCAN's), 4096, "
        "4096, 256 for BYOL (widths: BYOL's).",
    )
    predictor_widths: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of int",
        text="Widths of the predictor's layers without the last, which is as wide as the "
        "projection. By default 512, 512 for SimSiam (three layers: paper; the bottleneck is "
        "SimSiam's) and 4096, 4096 for BYOL.",
    )
    temperature: float = changed(default=0.5, note="For SimCLR (CSI's; not in the paper).")
    target_momentum: float = parameter(
        default=0.996,
        limits=[SHARE_BELOW_ONE],
        text="Momentum of BYOL's moving average; it rises to 1 along half a cosine (BYOL's; not in "
        "the paper).",
    )
    augmentation: object = changed(
        default=None,
        note="By default random crops of at least 20 % of the image, mirrored, with changed "
        "colours and without blur: ``ContrastiveAugmentation(image_size, "
        "blur_probability=0)`` (not in the paper).",
    )
    n_epochs: int | None = changed(
        default=None,
        limits=[POSITIVE, None],
        note="By default 500 for SimCLR and 4000 for the others (paper).",
    )
    batch_size: int = changed(
        default=512,
        limits=[AT_LEAST_TWO],
        note="Each gives two views; turned images are counted too (paper).",
    )
    learning_rate: float = changed(
        default=1e-4, note="Here for Adam, falling to 0 along half a cosine (paper)."
    )
    weight_decay: float = changed(default=0.0, note="(Not in the paper.)")
    monitor: object = parameter(
        default=None,
        limits=[callable, None],
        text="Called as ``monitor(extractor)``, with a fitted extractor, at each look during the "
        "training. It returns a dict of numbers, which are added to `training_curve_`. The "
        "training does not depend on them.",
    )


class SelfSupervisedAdapter(
    RandomParameters, AgreementParameters, FlattenedLayerParameters, LayerParameters, ScratchAdapter
):
    r"""NSA's training: give two views of each normal image the same features.

    With features y of an image, a projector g and a predictor h (none for SimCLR),

    .. math:: z = \frac{g(y / \lVert y \rVert)}{\lVert g(y / \lVert y \rVert) \rVert}, \qquad
        p = h(z)

    The two divisions are NSA's change (`normalize`); SimCLR has the first one only. The loss is on
    views 1 and 2 of each image. Below, sg stops gradients, and z' are projections by a network
    whose weights are a moving average of the trained ones.

    .. math::
        L_{\text{SimSiam}} &= -\tfrac12 [\cos(p_1, \operatorname{sg} z_2)
            + \cos(p_2, \operatorname{sg} z_1)] \\
        L_{\text{BYOL}} &= 4 - 2 \cos(p_1, z'_2) - 2 \cos(p_2, z'_1) \\
        L_{\text{SimCLR}} &= \text{NT-Xent}(z_1, z_2)

    Attributes
    ----------
    projector_ : torch.nn.Module
        The trained projector, on the CPU. :class:`~skad.SCAN` finds neighbours by it.
    tap_widths_ : list of int
        Number of features of each layer.
    map_taps_ : list of int
        Indices of `flattened_layers` in that list; both are for :class:`~skad.EnsembleScorer`.

    See Also
    --------
    skad.NSA : A detector on these features.
    skad.backbones : Networks for small images.

    Notes
    -----
    As in the official codes, both views of a batch pass through the network together for SimCLR,
    and one after the other for SimSiam and BYOL. BatchNorm therefore has statistics of both views
    or of one. ``precision="bfloat16"`` of the extractor applies to training only (mixed precision).

    References
    ----------
    Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA)". Chen, He, "Exploring Simple
    Siamese Representation Learning", CVPR 2021. Chen, Kornblith, Norouzi, Hinton, "A Simple
    Framework for Contrastive Learning of Visual Representations", ICML 2020. Grill et al.,
    "Bootstrap Your Own Latent", NeurIPS 2020.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import FeatureExtractor, SelfSupervisedAdapter
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> network = partial(small_cnn, width=8, image_size=8)
    >>> adapter = SelfSupervisedAdapter(FeatureExtractor(network, weights=None), n_steps=3)
    >>> adapter.fit(digits[labels == 0]).transform(digits[:5]).shape
    (5, 64)
    """

    layers: object = changed(
        default=None,
        limits=[StrOptions({"ensemble", "stages"}), "array-like", None],
        kind='"ensemble", "stages" or list of str',
        note='Layers of the projector are "projector.0", "projector.1" and so on. "stages": each '
        "stage of the network, averaged over positions, and each but the first also position "
        'by position. "ensemble": these and the layers of the projector, as in the paper\'s '
        "ensemble.",
    )

    def _plan(self, n_images, network):
        n_turns = 4 if self.negatives == "rotation" else 1
        batch_size = max(2, self.batch_size // n_turns)
        n_epochs = self.n_epochs or N_EPOCHS[self.objective]
        n_steps = self.n_steps or steps_of_epochs(n_epochs, n_images, batch_size, fewest=2)
        rate = cosine_decay(self.learning_rate, n_steps)
        return from_scratch(self, n_steps, rate=rate, batch_size=batch_size, augments=True)

    def _task(self, start):
        if self.negatives is not None and self.objective != "simclr":
            raise ValueError(
                f"{start.owner}: negatives={self.negatives!r} needs an objective with negatives, "
                f"objective='simclr'; got {self.objective!r}."
            )
        return AgreementTask(start, self)

    def _learn(self, task, outcome):
        self.extractor_ = task.tapping or task.start.extractor
        self._normalize = self.normalize
        self.projector_ = copy.deepcopy(task.projector).cpu()
        self.tap_widths_, self.map_taps_ = self.extractor_.tap_widths_, self.extractor_.map_taps_

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

        Raises
        ------
        ValueError
            If `layers` contains layers of the projector, which have no maps.
        """
        maps = super().feature_maps(X)
        return {name.removeprefix("encoder."): values for name, values in maps.items()}

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
        names = super().get_feature_names_out(input_features)
        return np.array([name.removeprefix("encoder.") for name in names], dtype=object)


class AgreementTask(Task):
    """Two views of each image that agree, by one of three objectives."""

    def __init__(self, start, settings):
        super().__init__(start)
        self.settings, size = settings, start.fitted.preprocessing.image_size
        self.augmentation = settings.augmentation or ContrastiveAugmentation(
            size, blur_probability=0
        )
        projector, predictor = head_widths(settings, start.owner)
        with local_seed(torch_seed(start.seed, "heads")):
            ends = {"simsiam": "fixed_batch_norm"}.get(settings.objective, "plain")
            self.projector = mlp(start.features.shape[1], projector, affine_end=ends)
            if settings.objective != "simclr":
                widths = [*predictor, projector[-1]]
                self.predictor = mlp(projector[-1], widths, affine_end="plain")
        if settings.objective == "byol":
            self._add_target(start)
        # Before training, so that a name that does not exist is told now.
        self.tapping = tapping_extractor(start, settings, self.projector)

    def _add_target(self, start):
        """BYOL's other network: the same at first, then an average over the steps."""
        self.target_fitted = start.fitted.copy()
        both = {"network": self.target_fitted.network, "projector": copy.deepcopy(self.projector)}
        self.target = torch.nn.ModuleDict(both).requires_grad_(False)

    def loss(self, step):
        """The objective, on two views of each image."""
        of = self.settings
        with self.full_precision():
            n_turns = 4 if of.negatives == "rotation" else 1
            images = self.images.view_images(step, self.augmentation, n_turns)
        if of.objective == "simclr":
            projections = self._project(images).chunk(2)
            with self.full_precision():
                return nt_xent_loss(*projections, of.temperature)
        views = images.chunk(2)
        projections = [self._project(view) for view in views]
        predictions = [self.predictor(z).float() for z in projections]
        if of.objective == "simsiam":
            return simsiam_loss(*predictions, *projections)
        return byol_loss(*predictions, *(self._project_target(view) for view in views))

    def _project(self, images):
        return self._head(self.features(images), self.projector)

    def _project_target(self, images):
        with torch.no_grad():
            features = self.target_fitted.outputs(images)
            return self._head(features, self.target["projector"])

    def _head(self, features, projector):
        """Projections of features, with NSA's normalisations."""
        of = self.settings
        projections = projector(unit(features) if of.normalize else features).float()
        second = of.normalize and of.objective != "simclr"
        return unit(projections) if second else projections

    def after_step(self, step):
        """BYOL's target follows."""
        if self.settings.objective != "byol":
            return
        share = math.cos(math.pi * step / self.start.plan.n_steps)
        rest = (1 - self.settings.target_momentum) * (1 + share) / 2
        online = dict(self.named_parameters())
        with torch.no_grad():
            for name, target in self.target.named_parameters():
                if online[name].requires_grad:
                    target.lerp_(online[name], rest)

    def measures(self):
        """What the user's monitor finds."""
        if self.settings.monitor is None:
            return {}
        found = self.settings.monitor(self.start.extractor)
        if not isinstance(found, dict):
            raise TypeError(
                f"{self.start.owner}: monitor must return a dict of numbers by name; got {found!r}."
            )
        return {name: float(value) for name, value in found.items()}


def head_widths(settings, owner):
    """Outputs of the layers of projector and predictor."""
    found = []
    for name, defaults in (
        ("projector_widths", PROJECTOR_WIDTHS),
        ("predictor_widths", PREDICTOR_WIDTHS),
    ):
        given = getattr(settings, name)
        widths = defaults.get(settings.objective, ()) if given is None else given
        found.append(checked_widths(widths, owner, name))
    if not found[0]:
        raise ValueError(f"{owner}: projector_widths is empty; name at least one layer, or None.")
    return found


def tapping_extractor(start, settings, projector):
    """An extractor of the layers asked for, of the network in training and its head."""
    layers, flattened, given = settings.layers, settings.flattened_layers, start.extractor
    if layers is None and flattened is None:
        return None
    if given.layers is not None or given.flattened_layers is not None:
        raise ValueError(
            f"{start.owner}: layers are named twice, by the adapter and by its extractor; leave "
            "out those of the extractor."
        )
    network = ProjectedNetwork(start.fitted.network, projector, settings.normalize)
    if isinstance(layers, str):
        # A stem that ends with an activation is no block.
        modules = dict(start.fitted.network.named_modules())
        stages = [n for n in network_stages(modules[""]) if list(modules[n].parameters())]
        head = [f"projector.{i}" for i in range(len(projector))]
        flattened = stages[1:] if flattened is None else flattened
        layers = [*stages, *head] if layers == "ensemble" else stages
    extractor = clone(given).set_params(
        layers=network.names_of(layers, start.owner),
        flattened_layers=network.names_of(flattened, start.owner),
        precision="float32",  # that of trained networks
    )
    take_source(extractor, start.source)
    return extractor.take(network.eval(), start.fitted.preprocessing)
