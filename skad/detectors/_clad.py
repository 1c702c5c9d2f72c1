"""CLAD: clusters of an autoencoder's codes as classes for a network, and ODIN."""

from numbers import Integral

from .._compat import Interval
from ..adapters import AutoencoderAdapter, PseudoLabelAdapter
from ..backbones import cifar_resnet18, clad_large
from ..clusterers import DEC
from ..features import FeatureExtractor
from ..scorers import ConfidenceScorer
from ._image import BaseImageDetector


class CLAD(BaseImageDetector):
    r"""Clustering-based anomaly detection: a classifier of clusters that is unsure of anomalies.

    An autoencoder is trained on normal images, and its codes clustered (:class:`~skad.DEC`); a
    network learns from random weights to tell the clusters apart. The score is the classifier's
    confidence after ODIN,

    .. math:: s(x) = \operatorname{logit} \max_i \operatorname{softmax}(f(\tilde x) / T)_i, \qquad
        \tilde x = x - \epsilon \operatorname{sign} \nabla_x \mathrm{CE}(f(x) / T, \arg\max f(x))

    For grey images of 28 pixels (MNIST) the paper's encoder is ``skad.backbones.clad_small``, with
    ``backbone=partial(cifar_resnet18, n_channels=1, image_size=28)``.

    Parameters
    ----------
    backbone : str or callable, default=skad.backbones.cifar_resnet18
        The classifier: ResNet-18 (paper), here with the stem for small images. (The code has that
        for large ones, of whose map 32 pixels leave one place.)
    encoder : callable, default=skad.backbones.clad_large
        The autoencoder's network, a factory with a decoder; its code has 100 numbers (paper).
    image_size : int, optional
        Side in pixels that both networks see; by default each network's own (32).
    resize : {"crop", "whole"}, optional
        By default the network's ("whole").
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default 0.5 and 0.25. (The code takes those of the training images.)
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_clusters : int, default=10
        (Paper.)
    temperature : float, default=1000
        T of ODIN. (ODIN's paper; CLAD's code chose by test images.)
    perturbation : float, default=0.0014
        :math:`\epsilon` of ODIN for pixels in [0, 1]. (ODIN's paper, as for T; 0 for none.)
    n_autoencoder_epochs : int, default=100
        Passes over the images (paper), by Adam at 1e-3 (code; paper: 0.01).
    n_clustering_epochs : int, default=100
        Most passes over the images in DEC (paper).
    n_epochs : int, default=100
        Passes over the images in learning the clusters (paper).
    batch_size : int, default=128
        Images in a step of it (code).
    learning_rate : float, default=1e-4
        Of Adam (paper).
    memory_limit : float, default=2048
        Most MiB for prepared images; those beyond are prepared anew in each epoch.
    checkpoint : path, optional
        Folder that keeps the state of the trainings while they last. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws the random weights, where k-means starts and the order of the images.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.PseudoLabelAdapter` ("adapter") and :class:`~skad.ConfidenceScorer`
        ("scorer").
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each normal training image.
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly. The classifier was trained
        on the images that it is set by, so it is on the tight side.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along the last training; see :class:`~skad.CompactnessAdapter`.
    stopped_at_ : int
        Its steps.
    collapsed_at_ : None
        Collapse is not looked for.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

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
    >>> detector = CLAD(
    ...     partial(small_cnn, width=8, image_size=8),
    ...     partial(clad_small, image_size=8, code_dim=5),
    ...     n_clusters=3,
    ...     n_autoencoder_epochs=5,
    ...     n_clustering_epochs=2,
    ...     n_epochs=2,
    ... )
    >>> detector.fit(digits[labels < 3][:100]).score_samples(digits[:5]).shape
    (5,)
    """

    _parameter_constraints = {  # noqa: RUF012
        **{
            name: value
            for part in (FeatureExtractor, PseudoLabelAdapter)
            for name, value in part._parameter_constraints.items()
            if name
            in (
                *("backbone", "image_size", "resize", "device", "mean", "std", "image_shape"),
                *("n_jobs", "temperature", "perturbation", "n_epochs", "learning_rate"),
                *("memory_limit", "checkpoint", "random_state", "verbose"),
            )
        },
        "encoder": [callable],
        "batch_size": DEC._parameter_constraints["batch_size"],
        "n_clusters": [Interval(Integral, 2, None, closed="left")],
        "n_autoencoder_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_clustering_epochs": [Interval(Integral, 1, None, closed="left")],
        "contamination": ConfidenceScorer._parameter_constraints["contamination"],
    }

    def __init__(
        self,
        backbone=cifar_resnet18,
        encoder=clad_large,
        *,
        image_size=None,
        resize=None,
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
        n_clusters=10,
        temperature=1000.0,
        perturbation=0.0014,
        n_autoencoder_epochs=100,
        n_clustering_epochs=100,
        n_epochs=100,
        batch_size=128,
        learning_rate=1e-4,
        memory_limit=2048,
        checkpoint=None,
        contamination="auto",
        n_jobs=None,
        random_state=0,
        verbose=False,
    ):
        self.backbone = backbone
        self.encoder = encoder
        self.image_size = image_size
        self.resize = resize
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.n_clusters = n_clusters
        self.temperature = temperature
        self.perturbation = perturbation
        self.n_autoencoder_epochs = n_autoencoder_epochs
        self.n_clustering_epochs = n_clustering_epochs
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _make_steps(self):
        autoencoder = self._make(
            AutoencoderAdapter,
            extractor=self._make(FeatureExtractor, backbone=self.encoder, weights=None),
            n_epochs=self.n_autoencoder_epochs,
            batch_size=512,
            learning_rate=1e-3,
            decay_at=1.0,
            weight_decay=0.0,
        )
        clusterer = self._make(
            DEC,
            extractor=autoencoder,
            n_epochs=self.n_clustering_epochs,
            batch_size=256,
            learning_rate=0.01,
        )
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
