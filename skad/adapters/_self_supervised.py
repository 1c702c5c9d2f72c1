"""NSA's features: a network trained from random weights on views of normal images alone."""

import copy
import math
from numbers import Integral

import numpy as np

from .._compat import StrOptions
from .._parameters import (
    AT_LEAST_TWO,
    POSITIVE,
    SHARE_BELOW_ONE,
    changed,
    parameter,
)
from .._random import local_seed, torch_seed
from ..augment import ContrastiveAugmentation
from ..losses import byol_loss, nt_xent_loss, simsiam_loss
from ..losses._rows import unit
from ..networks._parameters import FlattenedLayerParameters, LayerParameters, RandomParameters
from ..networks._stages import network_stages
from ..training._parameters import (
    AugmentationParameters,
    CollapseParameters,
    DecayParameters,
    EpochParameters,
    ObjectiveParameters,
    StepParameters,
    TemperatureParameters,
    TrainingParameters,
)
from ._projection import ProjectedNetwork, ProjectorParameters, mlp
from ._scratch import ScratchAdapter, cosine_decay

N_EPOCHS = {"simclr": 500, "simsiam": 4000, "byol": 4000}

# Outputs of the layers of each head. NSA gives the number of layers alone.
PROJECTOR_WIDTHS = {
    "simclr": (512, 128),
    "simsiam": (2048, 2048, 2048),
    "byol": (4096, 4096, 256),
}
PREDICTOR_WIDTHS = {"simsiam": (512, 512), "byol": (4096, 4096)}  # and back to the projection


class AgreementParameters(
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
        note="The paper's best without negatives is SimSiam.",
    )
    normalize: bool = parameter(
        default=True,
        limits=["boolean"],
        text="NSA's normalisations in training; False is the plain objective, SS, SC or BYOL in "
        "the paper.",
    )
    negatives: str | None = parameter(
        default=None,
        limits=[StrOptions({"rotation"}), None],
        text="For SimCLR: each image also stands in the batch turned by 90, 180 and 270 degrees, "
        "as three other images (the paper's SC(n-); all turns in each batch are CSI's, the "
        "paper draws some at random).",
    )
    predictor_widths: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of int",
        text="Outputs of the predictor's layers but for the last, which is as wide as the "
        "projection. By default 512, 512 for SimSiam (three layers: paper; the bottleneck is "
        "SimSiam's) and 4096, 4096 for BYOL.",
    )
    temperature: float = changed(default=0.5, note="For SimCLR (CSI's; not in the paper).")
    target_momentum: float = parameter(
        default=0.996,
        limits=[SHARE_BELOW_ONE],
        text="Of BYOL's moving average; it rises to 1 along half a cosine (BYOL's; not in the "
        "paper).",
    )
    augmentation: object = changed(
        default=None,
        note="By default crops of 20 % of the image and more, mirrored, with changed colours, "
        "without blur: ``ContrastiveAugmentation(image_size, blur_probability=0)`` (not in "
        "the paper).",
    )
    n_epochs: int | None = changed(
        default=None,
        limits=[POSITIVE, None],
        note="By default 500 for SimCLR and 4000 for the others (paper).",
    )
    batch_size: int = changed(
        default=512,
        limits=[AT_LEAST_TWO],
        note="Two views of each; those that are turned count as well (paper).",
    )
    learning_rate: float = changed(
        default=1e-4, note="Adam, falling to 0 along half a cosine (paper)."
    )
    weight_decay: float = changed(default=0.0, note="(Not in the paper.)")
    monitor: object = parameter(
        default=None,
        limits=[callable, None],
        text="Called as ``monitor(extractor)`` at each look along the training with a fitted "
        "extractor; it returns a dict of numbers that join `training_curve_`. The training "
        "does not depend on them.",
    )


class SelfSupervisedAdapter(
    RandomParameters, AgreementParameters, FlattenedLayerParameters, LayerParameters, ScratchAdapter
):
    r"""NSA's training: agree on two views of each normal image, no shifted image being needed.

    With features y of an image, a projector g and, but for SimCLR, a predictor h,

    .. math:: z = \frac{g(y / \lVert y \rVert)}{\lVert g(y / \lVert y \rVert) \rVert}, \qquad
        p = h(z)

    Those two divisions are NSA's change (`normalize`), the first alone for SimCLR. On views 1 and 2
    of each image, with stopped gradients sg and, for BYOL, projections z' of a network whose
    weights are the moving average of those trained,

    .. math::
        L_{\text{SimSiam}} &= -\tfrac12 [\cos(p_1, \operatorname{sg} z_2)
            + \cos(p_2, \operatorname{sg} z_1)] \\
        L_{\text{BYOL}} &= 4 - 2 \cos(p_1, z'_2) - 2 \cos(p_2, z'_1) \\
        L_{\text{SimCLR}} &= \text{NT-Xent}(z_1, z_2)

    Attributes
    ----------
    projector_ : torch.nn.Module
        The trained projector, on the CPU, which :class:`~skad.SCAN` looks for neighbours with.
    tap_widths_ : list of int
        Number of features of each layer.
    map_taps_ : list of int
        Places of `flattened_layers` among them; both are for :class:`~skad.EnsembleScorer`.

    See Also
    --------
    skad.NSA : Detector on these features.
    skad.backbones : Networks for small images.

    Notes
    -----
    The views of a batch pass through the network together for SimCLR, and one view after the other
    for SimSiam and BYOL, as in their official codes; BatchNorm so takes its statistics of both or
    of one. A ``precision="bfloat16"`` of the extractor holds for training alone (mixed precision).

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

    _augments = True

    layers: object = changed(
        default=None,
        limits=[StrOptions({"ensemble", "stages"}), "array-like", None],
        kind='"ensemble", "stages" or list of str',
        note='Those of the projector are "projector.0", "projector.1" and so on. "stages": each '
        "stage of the network averaged over places, and each but the first as it is; "
        '"ensemble": those and the layers of the projector, as in the paper\'s ensemble.',
    )

    memory_limit = 0  # nothing is kept of images that look otherwise each time

    @property
    def _n_turns(self):
        return 4 if self.negatives == "rotation" else 1

    @property
    def _images_in_step(self):
        return max(2, self.batch_size // self._n_turns)

    def _epochs(self):
        return self.n_epochs or N_EPOCHS[self.objective]

    def _rate(self, step, n_steps):
        return cosine_decay(self.learning_rate, step, n_steps)

    def _measure(self, run):
        if self.monitor is None:
            return {}
        run.extractor._fingerprint = None  # features kept on disk are those of another network
        found = self.monitor(run.extractor)
        if not isinstance(found, dict):
            raise TypeError(
                f"{run.owner}: monitor must return a dict of numbers by name; got {found!r}."
            )
        return {name: float(value) for name, value in found.items()}

    def _prepare(self, run):
        if self.negatives is not None and self.objective != "simclr":
            raise ValueError(
                f"{run.owner}: negatives={self.negatives!r} needs an objective with negatives, "
                f"objective='simclr'; got {self.objective!r}."
            )
        size = run.extractor.preprocessing_.image_size
        run.augmentation = self.augmentation or ContrastiveAugmentation(size, blur_probability=0)
        projector, predictor = self._widths(run.owner)
        n_features = run.first_features.shape[1]
        with local_seed(torch_seed(run.seed, "heads")):
            ends = {"simsiam": "fixed_batch_norm"}.get(self.objective, "plain")
            run.projector = run.add("projector", mlp(n_features, projector, affine_end=ends))
            if self.objective != "simclr":
                widths = [*predictor, projector[-1]]
                run.predictor = run.add("predictor", mlp(projector[-1], widths, affine_end="plain"))
        if self.objective == "byol":
            self._prepare_target(run)
        # Before training, so that a name that does not exist is told now.
        run.tapping = self._tapping_extractor(run)

    def _widths(self, owner):
        """Outputs of the layers of projector and predictor."""
        projector, predictor = (
            given if given is not None else default.get(self.objective, ())
            for given, default in (
                (self.projector_widths, PROJECTOR_WIDTHS),
                (self.predictor_widths, PREDICTOR_WIDTHS),
            )
        )
        projector, predictor = list(projector), list(predictor)
        if not projector or not all(
            isinstance(w, Integral) and w > 0 for w in [*projector, *predictor]
        ):
            raise ValueError(
                f"{owner}: projector_widths and predictor_widths must be lists of positive whole "
                f"numbers, the first not empty; got {projector} and {predictor}."
            )
        return projector, predictor

    def _prepare_target(self, run):
        """BYOL's other network: the same at first, then an average over the steps."""
        from torch import nn

        run.target = copy.deepcopy(run.extractor)
        run.target_projector = copy.deepcopy(run.projector)
        both = nn.ModuleDict({"network": run.target.network_, "projector": run.target_projector})
        run.add("target", both, trained=False)
        online = {f"network.{name}": value for name, value in run.cut.parameters.items()}
        online |= {f"projector.{n}": value for n, value in run.projector.named_parameters()}
        target = dict(both.named_parameters())
        run.averages = [(target[name], value) for name, value in online.items()]

    def _loss(self, run, step):
        with run.in_full_precision():
            images = run.images.view_images(step, run.augmentation, self._n_turns)
        if self.objective == "simclr":
            projections = self._project(run, images).chunk(2)
            with run.in_full_precision():
                return nt_xent_loss(*projections, self.temperature)
        views = images.chunk(2)
        projections = [self._project(run, view) for view in views]
        predictions = [run.predictor(z).float() for z in projections]
        if self.objective == "simsiam":
            return simsiam_loss(*predictions, *projections)
        return byol_loss(*predictions, *(self._project_target(run, view) for view in views))

    def _project(self, run, images):
        return self._head(run.features(images), run.projector)

    def _project_target(self, run, images):
        import torch

        with torch.no_grad():
            return self._head(run.target._outputs(images), run.target_projector)

    def _head(self, features, projector):
        """Projections of features, with NSA's normalisations."""
        features = unit(features) if self.normalize else features
        projections = projector(features).float()
        second = self.normalize and self.objective != "simclr"
        return unit(projections) if second else projections

    def _after_step(self, run, step):
        if self.objective != "byol":
            return
        import torch

        rest = (1 - self.target_momentum) * (1 + math.cos(math.pi * step / run.n_steps)) / 2
        with torch.no_grad():
            for target, online in run.averages:
                target.lerp_(online, rest)

    def _tapping_extractor(self, run):
        """An extractor of the layers asked for, of the network in training and its head."""
        if self.layers is None and self.flattened_layers is None:
            return None
        if run.extractor.layers is not None or run.extractor.flattened_layers is not None:
            raise ValueError(
                f"{run.owner}: layers are named twice, by the adapter and by its extractor; leave "
                "out those of the extractor."
            )
        network = ProjectedNetwork(run.extractor.network_, run.projector, self.normalize)
        layers, flattened = self.layers, self.flattened_layers
        if isinstance(layers, str):
            # A stem that ends with an activation is no block.
            modules = dict(run.extractor.network_.named_modules())
            stages = [n for n in network_stages(modules[""]) if list(modules[n].parameters())]
            head = [f"projector.{i}" for i in range(len(run.projector))]
            flattened = stages[1:] if flattened is None else flattened
            layers = [*stages, *head] if layers == "ensemble" else stages
        extractor = type(run.extractor)(**run.extractor.get_params())
        extractor.set_params(
            layers=network.names_of(layers, run.owner),
            flattened_layers=network.names_of(flattened, run.owner),
            precision="float32",  # that of trained networks
        )
        state = {name: v for name, v in vars(run.extractor).items() if name.endswith("_")}
        vars(extractor).update(state)
        extractor._set_network(network.eval(), run.extractor.preprocessing_)
        return extractor

    def _learned(self, run):
        self.extractor_ = run.tapping or run.extractor
        self.projector_ = copy.deepcopy(run.projector).cpu()
        self.tap_widths_, self.map_taps_ = self.extractor_.tap_widths_, self.extractor_.map_taps_

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

        Raises
        ------
        ValueError
            If `layers` holds layers of the projector, which have no maps.
        """
        maps = super().feature_maps(X)
        return {name.removeprefix("encoder."): values for name, values in maps.items()}

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
        names = super().get_feature_names_out(input_features)
        return np.array([name.removeprefix("encoder.") for name in names], dtype=object)
