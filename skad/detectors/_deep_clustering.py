"""Deep clustering: clusters of normal images as classes for a pretrained network."""

import numpy as np

from .._compat import StrOptions, fit_context
from .._labels import classes_of_normal
from ..adapters import PseudoLabelAdapter
from ..adapters._pseudo_labels import NOISE
from ..clusterers import SCAN
from ..features import FeatureExtractor
from ..scorers import ConfidenceScorer, GaussianScorer, KNNScorer
from ._image import BaseImageDetector


class DeepClustering(BaseImageDetector):
    r"""Normal images of many classes, none of them labelled: pseudo-labels and fine-tuning.

    A clusterer finds groups of normal images; a pretrained network learns to tell them apart for a
    few epochs, at whose ends its weights are averaged (:class:`~skad.PseudoLabelAdapter`). The
    score of its features :math:`\psi` is

    .. math:: s(x) = -\min_m \bigl(1 - \cos(\psi(x), \psi(x_m))\bigr)

    Parameters
    ----------
    backbone : str or callable, default="tiny"
        Network, by name or factory; see :class:`~skad.FeatureExtractor`, also for what follows.
        (Paper: ResNet-18, ResNet-152 and ViT.)
    clusterer : clusterer, optional
        Anything with ``fit_predict``: one that takes images gets them, another the features of the
        backbone. By default :class:`~skad.SCAN` from random weights (paper), which trains for very
        long without a GPU; clusters of pretrained features are there in seconds, as by ``SCAN(
        FeatureExtractor(), trainable="head", augmentation=None, learning_rate=1e-2,
        n_self_labelling_epochs=0)`` or ``make_pipeline(FeatureExtractor(), Normalizer(),
        KMeans(10))``.
    weights : "pretrained", None or path, default="pretrained"
        Weights to begin with.
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's.
    resize : {"crop", "whole"}, optional
        By default the backbone's.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of frozen stages; trained ones are float32.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    scorer : {"knn", "mahalanobis", "confidence"}, default="knn"
        - "knn": cosine distance to the nearest training images (paper).
        - "mahalanobis": distance to the nearest cluster by one covariance of all (Lee et al.),
          which the paper compares with.
        - "confidence": of the classifier of clusters, which it compares with too.
    n_neighbors : int, default=1
        For "knn" (paper).
    metric : str, default="cosine"
        For "knn" (paper); see :class:`~skad.KNNScorer`.
    first_head : {"random", "discriminant"}, default="random"
        Weights of the classifier to begin with.
    trainable : str, int or list of str, default="all"
        Stages to train; see :class:`~skad.PseudoLabelAdapter`, also for what follows.
    averaged_epochs : {"all", "last"} or list of int, default="all"
        The epochs at whose ends the weights are averaged (paper).
    augmentation : {"mild"}, callable or None, default="mild"
        What images look like in training.
    n_epochs : int, default=5
        Passes over the images (paper).
    batch_size : int, default=32
        Images in a step.
    learning_rate, final_learning_rate : float, default=1e-5, 1e-6
        Of Adam, from the first to the last along half a cosine (paper).
    weight_decay : float, default=0.0
        (The paper does not say.)
    collapse_limit : float in [0, 1), default=0.25
        Collapse is an angular spread of the features below this share of that before training.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    memory_limit : float, default=2048
        Most MiB for what is kept where `augmentation` is None.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts; a clusterer has its own.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws what the training draws; a clusterer that is given has its own.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.PseudoLabelAdapter` ("adapter") and scorer ("scorer").
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each normal training image.
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training; see :class:`~skad.CompactnessAdapter` and
        :class:`~skad.displays.TrainingCurveDisplay`.
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
    skad.PseudoLabelAdapter : The features alone.
    skad.SCANFeatures : Without pretraining.

    Notes
    -----
    Class-conditional Mahalanobis distance on features that are not trained is
    ``GaussianScorer().fit(features, class_labels=clusters)``.

    Look at the clusters (`labels_`) before relying on the scores: the network learns what they are
    made by. Clusters of CIFAR-10 that were half right made the scores worse than those of
    :class:`~skad.DN2` more often than better, where true classes gained 9 points
    (doc/results.rst).

    References
    ----------
    Cohen, Abutbul, Hoshen, "Out-of-Distribution Detection without Class Labels", 2021.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from skad import DeepClustering
    >>> digits, labels = load_digits(return_X_y=True)
    >>> normal = digits[labels < 3][:100]  # zeros, ones and twos
    >>> detector = DeepClustering(
    ...     clusterer=KMeans(3, random_state=0), image_size=32, n_epochs=1, random_state=0
    ... )
    >>> len(set(detector.fit(normal).labels_))
    3
    """

    _parameter_constraints = {  # noqa: RUF012
        **{
            name: value
            for part in (FeatureExtractor, PseudoLabelAdapter)
            for name, value in part._parameter_constraints.items()
            if name
            not in (
                *("extractor", "layers", "flattened_layers", "contrast_normalization", "memory"),
                *("output", "temperature", "perturbation", "batch_norm", "clip_norm"),
            )
        },
        "scorer": [StrOptions({"knn", "mahalanobis", "confidence"})],
        "n_neighbors": KNNScorer._parameter_constraints["n_neighbors"],
        "metric": KNNScorer._parameter_constraints["metric"],
        "contamination": KNNScorer._parameter_constraints["contamination"],
    }

    def __init__(
        self,
        backbone="tiny",
        clusterer=None,
        *,
        weights="pretrained",
        image_size=None,
        resize=None,
        precision="float32",
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
        scorer="knn",
        n_neighbors=1,
        metric="cosine",
        first_head="random",
        trainable="all",
        averaged_epochs="all",
        augmentation="mild",
        n_epochs=5,
        batch_size=32,
        learning_rate=1e-5,
        final_learning_rate=1e-6,
        weight_decay=0.0,
        collapse_limit=0.25,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        contamination="auto",
        n_jobs=None,
        random_state=0,
        verbose=False,
    ):
        self.backbone = backbone
        self.clusterer = clusterer
        self.weights = weights
        self.image_size = image_size
        self.resize = resize
        self.precision = precision
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.scorer = scorer
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.first_head = first_head
        self.trainable = trainable
        self.averaged_epochs = averaged_epochs
        self.augmentation = augmentation
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.final_learning_rate = final_learning_rate
        self.weight_decay = weight_decay
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, class_labels=None):
        """Cluster normal images, and learn what they look like.

        Parameters
        ----------
        X : images
            Normal images in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        class_labels : array-like of shape (n_images,), optional
            Classes to learn in the place of clusters; where they are true ones, an upper bound. In
            a Pipeline or a search they come by metadata routing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if there is only one cluster; if a parameter
            does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        class_labels = classes_of_normal(class_labels, y, owner=type(self).__name__)
        return self._fit(X, y, class_labels=class_labels)

    def _join(self, adapter, scorer):
        if self.scorer == "mahalanobis":
            # Noise is no class: its rows are left out, as labelled anomalies are.
            is_class = np.where(adapter.labels_ == NOISE, -1, 1)
            return {"y": is_class, "class_labels": adapter.labels_}

    def _make_steps(self):
        scorer = {
            "knn": KNNScorer(self.n_neighbors, metric=self.metric),
            "mahalanobis": GaussianScorer(),
            "confidence": ConfidenceScorer(),
        }[self.scorer]
        adapter = self._make(
            PseudoLabelAdapter,
            extractor=self._make(FeatureExtractor),
            clusterer=SCAN(random_state=self.random_state, verbose=self.verbose)
            if self.clusterer is None
            else self.clusterer,
            output="logits" if self.scorer == "confidence" else "features",
        )
        scorer.set_params(contamination=self.contamination)
        return [("adapter", adapter), ("scorer", scorer)]
