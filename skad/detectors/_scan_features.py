"""SCAN's features as a detector: no pretraining, no labels."""

from numbers import Integral

from .._compat import Interval
from ..adapters import SelfSupervisedAdapter
from ..backbones import cifar_resnet18
from ..clusterers import SCAN
from ..features import FeatureExtractor
from ..scorers import KNNScorer
from ._image import BaseImageDetector


class SCANFeatures(BaseImageDetector):
    r"""Normal images of many classes, from random weights: cosine distance in SCAN's features.

    A network is trained by SimCLR, then clusters normal images (:class:`~skad.SCAN`). The score of
    its features :math:`\psi` is

    .. math:: s(x) = -\min_m \bigl(1 - \cos(\psi(x), \psi(x_m))\bigr)

    Parameters
    ----------
    backbone : str or callable, default=skad.backbones.cifar_resnet18
        Network, by name or factory (paper: ResNet-18 with a stem for small images).
    weights : "pretrained", None or path, default=None
        Random weights to begin with (paper), or others.
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's (32).
    resize : {"crop", "whole"}, optional
        By default the backbone's ("whole").
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of training; "bfloat16" is mixed precision.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_representation_epochs : int, default=500
        Passes over the images by SimCLR (code).
    representation_batch_size : int, default=512
        Images in a step of it (code).
    representation_learning_rate : float, default=1e-3
        Of Adam, falling to 0 along half a cosine. (The code has stochastic gradient descent.)
    temperature : float, default=0.1
        Of SimCLR's loss (code).
    projector_widths : list of int, optional
        Outputs of the layers of SimCLR's head; by default 512 and 128 (code).
    n_clusters : int, default=10
        See :class:`~skad.SCAN`, also for what follows.
    n_neighbors : int, default=20
        Neighbours of each image that share its cluster (code).
    entropy_weight : float, default=5.0
        What the evenness of clusters counts (code).
    augmentation : {"strong"} or callable, default="strong"
        What neighbours and self-labelled images look like.
    n_epochs : int, default=50
        Passes over the images with SCAN's loss (code).
    batch_size : int, default=128
        Pairs in a step (code).
    learning_rate : float, default=1e-4
        Of Adam (code).
    weight_decay : float, default=1e-4
        In all three trainings (code).
    threshold : float in [0, 1), default=0.99
        Probability from which an image is labelled by its likeliest cluster (code).
    n_self_labelling_epochs : int, default=200
        Passes over the images (code).
    self_labelling_batch_size : int, default=1000
        Images in a step (code).
    checkpoint : path, optional
        Folder that keeps the state of the trainings while they last. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws the random weights, the order of the images, their neighbours and augmentation.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.SCAN` ("clusterer") and :class:`~skad.KNNScorer` ("scorer").
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each normal training image.
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along self-labelling; see :class:`~skad.SCAN`.
    stopped_at_ : int
        Steps of self-labelling.
    collapsed_at_ : None
        Collapse of features is not looked for, but all images in one cluster are.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    Warns
    -----
    CollapseWarning
        If all images end in one cluster.
    ClusterWarning
        If some clusters end without images.

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

    _parameter_constraints = {  # noqa: RUF012
        **{
            name: value
            for part in (FeatureExtractor, SelfSupervisedAdapter, SCAN)
            for name, value in part._parameter_constraints.items()
            if name
            in (
                *("backbone", "weights", "image_size", "resize", "precision", "device", "mean"),
                *("std", "image_shape", "n_jobs", "temperature", "projector_widths"),
                *SCAN._parameter_constraints.keys() - {"extractor", "trainable", "memory_limit"},
            )
        },
        "augmentation": SCAN._parameter_constraints["augmentation"][:2],
        "n_representation_epochs": [Interval(Integral, 1, None, closed="left")],
        "representation_batch_size": SelfSupervisedAdapter._parameter_constraints["batch_size"],
        "representation_learning_rate": SCAN._parameter_constraints["learning_rate"],
        "contamination": KNNScorer._parameter_constraints["contamination"],
    }

    def __init__(
        self,
        backbone=cifar_resnet18,
        *,
        weights=None,
        image_size=None,
        resize=None,
        precision="float32",
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
        n_representation_epochs=500,
        representation_batch_size=512,
        representation_learning_rate=1e-3,
        temperature=0.1,
        projector_widths=None,
        n_clusters=10,
        n_neighbors=20,
        entropy_weight=5.0,
        augmentation="strong",
        n_epochs=50,
        batch_size=128,
        learning_rate=1e-4,
        weight_decay=1e-4,
        threshold=0.99,
        n_self_labelling_epochs=200,
        self_labelling_batch_size=1000,
        checkpoint=None,
        contamination="auto",
        n_jobs=None,
        random_state=0,
        verbose=False,
    ):
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.resize = resize
        self.precision = precision
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.n_representation_epochs = n_representation_epochs
        self.representation_batch_size = representation_batch_size
        self.representation_learning_rate = representation_learning_rate
        self.temperature = temperature
        self.projector_widths = projector_widths
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.entropy_weight = entropy_weight
        self.augmentation = augmentation
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.threshold = threshold
        self.n_self_labelling_epochs = n_self_labelling_epochs
        self.self_labelling_batch_size = self_labelling_batch_size
        self.checkpoint = checkpoint
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

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
        clusterer = self._make(SCAN, extractor=representation)
        scorer = KNNScorer(1, metric="cosine", contamination=self.contamination)
        return [("clusterer", clusterer), ("scorer", scorer)]
