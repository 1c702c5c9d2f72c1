"""SCAN's features as a detector: no pretraining, no labels."""

import os
from collections.abc import Callable

from .._parameters import ABOVE_ZERO, AT_LEAST_TWO, POSITIVE, changed, parameter
from ..adapters import SelfSupervisedAdapter
from ..adapters._projection import ProjectorParameters
from ..backbones import cifar_resnet18
from ..clusterers import SCAN
from ..clusterers._semantic import SelfLabellingParameters, SemanticParameters
from ..features import FeatureExtractor
from ..networks._parameters import NetworkParameters, RandomParameters
from ..scorers import KNNScorer
from ..scorers._parameters import ContaminationParameters
from ..training._parameters import MemoryLimitParameters, TemperatureParameters
from ._base import BaseImageDetector


class SCANFeatures(
    RandomParameters,
    ContaminationParameters,
    SelfLabellingParameters,
    SemanticParameters,
    ProjectorParameters,
    TemperatureParameters,
    MemoryLimitParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""Detector for normal images of many classes, from random weights, by SCAN's features.

    A network is trained by SimCLR, then clusters normal images (:class:`~skad.SCAN`). The score is
    by the cosine distance of its features :math:`\psi` to the nearest training image,

    .. math:: s(x) = -\min_m \bigl(1 - \cos(\psi(x), \psi(x_m))\bigr)

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.SCAN` ("clusterer") and :class:`~skad.KNNScorer` ("scorer").
    collapsed_at_ : None
        Collapse of the features is not looked for; a warning tells if all images are in one
        cluster.

    See Also
    --------
    skad.SCAN : The clusters and features alone.
    skad.DeepClustering : These clusters, for a pretrained network.

    References
    ----------
    Cohen, Abutbul, Hoshen, "Out-of-Distribution Detection without Class Labels", 2021.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import SCANFeatures
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = SCANFeatures(
    ...     partial(small_cnn, width=8, image_size=8),
    ...     n_clusters=3,
    ...     n_representation_epochs=10,
    ...     representation_batch_size=50,
    ...     n_epochs=20,
    ...     learning_rate=1e-2,
    ...     n_self_labelling_epochs=0,
    ... )
    >>> detector.fit(digits[labels < 3][:100]).score_samples(digits[:5]).shape
    (5,)
    """

    backbone: str | Callable = changed(
        default=cifar_resnet18,
        note="(Paper: ResNet-18 with a stem for small images.)",
    )
    weights: str | os.PathLike | None = changed(default=None, note="(Paper: random weights.)")

    n_neighbors: int = changed(default=1, note="(Paper.)")
    n_cluster_neighbors: int = parameter(
        default=20,
        limits=[POSITIVE],
        text="Number of neighbours of each image that are trained to be in its cluster, see "
        ":class:`~skad.SCAN` (code).",
    )
    n_representation_epochs: int = parameter(
        default=500, limits=[POSITIVE], text="Passes over the images in SimCLR (code)."
    )
    representation_batch_size: int = parameter(
        default=512, limits=[AT_LEAST_TWO], text="Images of one step of SimCLR (code)."
    )
    representation_learning_rate: float = parameter(
        default=1e-3,
        limits=[ABOVE_ZERO],
        text="Learning rate of Adam in SimCLR, which falls to 0 along half a cosine. (The code "
        "uses stochastic gradient descent.)",
    )
    projector_widths: list | None = changed(
        default=None, note="Here in SimCLR; by default 512, 128 (widths: ours and SCAN's)."
    )
    temperature: float = changed(default=0.1, note="Here in SimCLR (code).")

    def _make_steps(self):
        representation = self._make(
            SelfSupervisedAdapter,
            extractor=self._make(FeatureExtractor),
            objective="simclr",
            normalize=False,
            augmentation=None,  # SimCLR's
            n_epochs=self.n_representation_epochs,
            batch_size=self.representation_batch_size,
            learning_rate=self.representation_learning_rate,
        )
        clusterer = self._make(SCAN, extractor=representation, n_neighbors=self.n_cluster_neighbors)
        scorer = KNNScorer(self.n_neighbors, metric="cosine", contamination=self.contamination)
        return [("clusterer", clusterer), ("scorer", scorer)]
