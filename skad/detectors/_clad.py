"""CLAD: clusters of an autoencoder's codes as classes for a network, and ODIN."""

from collections.abc import Callable

from .._parameters import AT_LEAST_TWO, POSITIVE, changed, parameter
from ..adapters import AutoencoderAdapter, PseudoLabelAdapter
from ..adapters._odin import OdinParameters
from ..backbones import cifar_resnet18, clad_large
from ..clusterers import DEC
from ..clusterers._base import ClusterCountParameters
from ..clusterers._dec import AUTOENCODER
from ..features import FeatureExtractor
from ..networks._parameters import BackboneParameters, ImageParameters, RandomParameters
from ..scorers import ConfidenceScorer
from ..scorers._parameters import ContaminationParameters
from ..training._parameters import EpochParameters, MemoryLimitParameters, TrainingParameters
from ._base import BaseImageDetector


class CLAD(
    RandomParameters,
    ContaminationParameters,
    MemoryLimitParameters,
    TrainingParameters,
    EpochParameters,
    OdinParameters,
    ClusterCountParameters,
    ImageParameters,
    BackboneParameters,
    BaseImageDetector,
):
    r"""Clustering-based anomaly detection: a classifier of clusters that is unsure of anomalies.

    An autoencoder is trained on normal images, and its codes are clustered (:class:`~skad.DEC`).
    A second network, from random weights, learns to tell the clusters apart. The score is the
    confidence of this classifier after ODIN,

    .. math:: s(x) = \operatorname{logit} \max_i \operatorname{softmax}(f(\tilde x) / T)_i, \qquad
        \tilde x = x - \epsilon \operatorname{sign} \nabla_x \mathrm{CE}(f(x) / T, \arg\max f(x))

    For grey images of 28 pixels (MNIST) the paper's encoder is ``skad.backbones.clad_small``, with
    ``backbone=partial(cifar_resnet18, n_channels=1, image_size=28)``.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.PseudoLabelAdapter` ("adapter") and :class:`~skad.ConfidenceScorer`
        ("scorer").
    collapsed_at_ : None
        Collapse is not looked for.

    See Also
    --------
    skad.DEC : The clusters alone.
    skad.DeepClustering : With a pretrained network.

    References
    ----------
    Park, Moon, Ahn, Sohn, "What Is Wrong with One-Class Anomaly Detection?", 2021.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import CLAD
    >>> from skad.backbones import clad_small, small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> classifier = partial(small_cnn, width=8, image_size=8)
    >>> encoder = partial(clad_small, image_size=8, code_dim=5)
    >>> epochs = {"n_autoencoder_epochs": 5, "n_clustering_epochs": 2, "n_epochs": 2}
    >>> detector = CLAD(classifier, encoder, n_clusters=3, **epochs)
    >>> detector.fit(digits[labels < 3][:100]).score_samples(digits[:5]).shape
    (5,)
    """

    backbone: str | Callable = changed(
        default=cifar_resnet18,
        note="Here it is the classifier: ResNet-18 (paper) with the stem for small images. (The "
        "code has the stem for large images, which reduces 32 pixels to a single position.)",
    )
    encoder: Callable = parameter(
        default=clad_large,
        limits=[callable],
        kw_only=False,
        text="Network of the autoencoder: a factory with a decoder (paper: codes of 100 numbers).",
    )
    n_clusters: int = changed(default=10, limits=[AT_LEAST_TWO], note="(Paper.)")
    n_autoencoder_epochs: int = parameter(
        default=100,
        limits=[POSITIVE],
        text="Passes over the images as an autoencoder (paper), by Adam at 1e-3 (code; paper: "
        "0.01).",
    )
    n_clustering_epochs: int = parameter(
        default=100, limits=[POSITIVE], text="Most passes over the images in DEC (paper)."
    )
    n_epochs: int = changed(
        default=100, note="Here those in which the clusters are learned (paper)."
    )
    batch_size: int = changed(default=128, limits=[AT_LEAST_TWO], note="(Code.)")
    learning_rate: float = changed(default=1e-4, note="Here for Adam (paper).")

    def _make_steps(self):
        encoder = self._make(FeatureExtractor, backbone=self.encoder, weights=None)
        autoencoder = self._make(AutoencoderAdapter, extractor=encoder, **AUTOENCODER)
        clusterer = self._make(DEC, extractor=autoencoder, batch_size=256, learning_rate=0.01)
        autoencoder.set_params(n_epochs=self.n_autoencoder_epochs)
        clusterer.set_params(n_epochs=self.n_clustering_epochs)
        adapter = self._make(
            PseudoLabelAdapter,
            extractor=self._make(FeatureExtractor, weights=None),
            clusterer=clusterer,
            output="odin",
            batch_norm="train",
            averaged_epochs="last",
            augmentation=None,
            final_learning_rate=self.learning_rate,
            collapse_limit=0.0,
        )
        # ODIN's logits are over the temperature already.
        scorer = ConfidenceScorer(temperature=1.0, contamination=self.contamination)
        return [("adapter", adapter), ("scorer", scorer)]
