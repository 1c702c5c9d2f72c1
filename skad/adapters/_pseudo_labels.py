"""Pseudo-labels: a network learns to tell the clusters of normal images apart."""

import hashlib
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from torch.optim.swa_utils import AveragedModel

from .._compat import HasMethods, StrOptions, fit_context
from .._labels import classes_of_normal
from .._parameters import NOT_NEGATIVE, changed, parameter
from .._types import ArrayLike, Images, Labels, Source
from ..augment import ContrastiveAugmentation
from ..networks._one_image import same_arithmetic
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    AcceptanceParameters,
    AugmentationParameters,
    ClippingParameters,
    CollapseParameters,
    DecayParameters,
    EpochParameters,
    MemoryLimitParameters,
    OutputParameters,
    StageParameters,
    TrainingParameters,
)
from ..training._task import Task
from ._base import BaseAdapter
from ._classes import NOISE, indices_of_classes, takes_images
from ._heads import LinearHead, linear_head, new_head, random_head
from ._odin import OdinParameters, odin_logits
from ._plans import check_output, cosine_decay, from_scratch, steps_of_epochs


class PseudoLabelParameters(
    MemoryLimitParameters,
    CollapseParameters,
    DecayParameters,
    TrainingParameters,
    EpochParameters,
    AugmentationParameters,
    StageParameters,
    AcceptanceParameters,
):
    """Clusters as classes, and weights that are averaged.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each normal training image, or the index of its class in `classes_`.
    """

    clusterer: object = parameter(
        default=None,
        limits=[HasMethods(["fit_predict"]), None],
        kind="clusterer",
        text="Any object with ``fit_predict``. If it takes images (:class:`~skad.SCAN`, "
        ":class:`~skad.DEC`, a Pipeline that begins with an extractor) it gets the images, "
        "otherwise their features. Images that it labels -1 (noise) are left out of the "
        "training. By default k-means with 10 clusters on features of unit length.",
    )
    first_head: str = parameter(
        default="random",
        limits=[StrOptions({"random", "discriminant"})],
        text='Initial weights of the head. "random", or "discriminant": by linear discriminant '
        "analysis of the features, so that training starts from what they tell already. With "
        "fewer images than features this may separate all classes at once and leave nothing "
        "to learn. (The paper does not say.)",
    )
    trainable: object = changed(default="all", note="(The paper does not say.)")
    averaged_epochs: object = parameter(
        default="all",
        limits=[StrOptions({"all", "last"}), "array-like"],
        kind='{"all", "last"} or list of int',
        text="Epochs, counted from 1, at whose ends weights are taken for the average. (Paper: all "
        "five.)",
    )
    augmentation: object = changed(
        default="mild",
        limits=[StrOptions({"mild"}), callable, None],
        note='"mild" crops at least 0.8 of the image and mirrors at random. With None, the output '
        "of frozen stages is computed only once. (The paper does not say.)",
    )
    n_epochs: int = changed(default=5, note="(Paper.)")
    batch_size: int = changed(default=32, note="(The paper does not say.)")
    learning_rate: float = changed(
        default=1e-5,
        note="Here for Adam, falling to `final_learning_rate` along half a cosine (paper).",
    )
    final_learning_rate: float = parameter(
        default=1e-6, limits=[NOT_NEGATIVE], text="Learning rate at the end (paper)."
    )
    weight_decay: float = changed(default=0.0, note="(The paper does not say.)")


class PseudoLabelAdapter(
    RandomParameters,
    PseudoLabelParameters,
    ClippingParameters,
    OdinParameters,
    OutputParameters,
    LinearHead,
    BaseAdapter,
):
    r"""Fine-tune a network to tell clusters of normal images apart, and average its weights.

    .. math:: L = -\frac1B \sum_i \log \operatorname{softmax}(W \psi(x_i) + b)_{c_i}

    with the cluster :math:`c_i` of each image, which a clusterer finds without labels. The network
    that is used has the mean of the weights at the ends of epochs.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image, as an index into `classes_`; -1 for noise.
    classes_ : ndarray of shape (n_classes,)
        Clusters as the clusterer numbers them, or the classes given.
    clusterer_ : clusterer or None
        The fitted clusterer; None if `class_labels` were given.
    coef_ : ndarray of float32, shape (n_classes, n_features)
        Weights of the head.
    intercept_ : ndarray of float32, shape (n_classes,)
        Biases of the head.

    See Also
    --------
    skad.DeepClustering : A detector on these features.
    skad.CLAD : A detector on ODIN's logits, from random weights.

    References
    ----------
    Cohen, Abutbul, Hoshen, "Out-of-Distribution Detection without Class Labels", 2021. Liang, Li,
    Srikant, "Enhancing the Reliability of Out-of-Distribution Image Detection in Neural Networks",
    ICLR 2018 (ODIN).

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from skad import FeatureExtractor, PseudoLabelAdapter
    >>> digits = load_digits().data[:100]
    >>> adapter = PseudoLabelAdapter(
    ...     FeatureExtractor(image_size=32), KMeans(3, random_state=0), n_epochs=1, output="logits"
    ... )
    >>> adapter.fit_transform(digits).shape
    (100, 3)
    """

    _may_train_head_alone = True

    clusterer: object = changed(default=None, kw_only=False)
    output: str = changed(
        default="features",
        limits=[StrOptions({"features", "logits", "odin"})],
        note='"features", "logits" of the clusters, or "odin": ODIN\'s logits, which are those of '
        "the perturbed image over the temperature. :class:`~skad.ConfidenceScorer` scores "
        "both kinds of logits.",
    )
    batch_norm: str = parameter(
        default="eval",
        limits=[StrOptions({"eval", "train"})],
        text='"eval": BatchNorm keeps its statistics, for a pretrained network. "train": it learns '
        "them, for random weights. (The paper does not say.)",
    )
    stop_at_collapse: bool = changed(default=False, note="Weights are not averaged then.")

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None, class_labels: Labels = None) -> Self:
        """Cluster normal images, and train on the clusters.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        class_labels : array-like of shape (n_images,), optional
            Classes to learn instead of clusters. With true classes the result is an upper bound
            for clusters. In a Pipeline or a search they come by metadata routing.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if there is only one cluster or class; if
            labels are not as many as images; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        class_labels = classes_of_normal(class_labels, y, owner=type(self).__name__)
        return self._adapt(X, y, class_labels=class_labels)

    def _plan(self, n_images, network):
        check_output(self)
        learns = self.batch_norm == "train"
        if learns and not (isinstance(self.trainable, str) and self.trainable == "all"):
            raise ValueError(
                f"{type(self).__name__}: batch_norm='train' changes the whole network, so it needs "
                f"trainable='all'; got {self.trainable!r}. Set batch_norm='eval' to train stages."
            )
        n_steps = steps_of_epochs(self.n_epochs, n_images, self.batch_size, 2 if learns else 1)
        rate = cosine_decay(self.learning_rate, n_steps, self.final_learning_rate)
        augments = self.augmentation is not None
        return from_scratch(self, n_steps, rate=rate, from_scratch=learns, augments=augments)

    def _task(self, start, class_labels=None):
        labels, found = class_labels, None
        if class_labels is None:
            labels, found = self._cluster(start)
        classes, indices = indices_of_classes(
            labels, len(start.images), start.owner, class_labels is not None
        )
        averaged = self._epochs_to_average(start.owner)
        task = PseudoLabelTask(start, self._make_augmentation(start), classes, indices, averaged)
        task.add_head(self._make_head(start, task))
        task.clusterer = found
        return task

    def _make_augmentation(self, start):
        if isinstance(self.augmentation, str):
            return mild_augmentation(start.fitted.preprocessing.image_size)
        return self.augmentation

    def _make_head(self, start, task):
        if self.first_head == "random":
            return random_head(start, len(task.classes))
        is_class = task.targets != NOISE
        return new_head(start.features[is_class], task.labels[task.labels != NOISE])

    def _cluster(self, start):
        """Clusters of the images as the clusterer numbers them, and the fitted clusterer."""
        clusterer = self.clusterer
        if clusterer is None:
            kmeans = KMeans(10, n_init=10, random_state=start.seed)
            clusterer = make_pipeline(Normalizer(), kmeans)
        X = start.source if takes_images(clusterer) else start.features.cpu().numpy()
        clusterer = clone(clusterer)
        # A Pipeline's steps pass rows on as arrays, whatever form of output the user asked for.
        with config_context(transform_output="default"):
            return clusterer.fit_predict(X), clusterer

    def _epochs_to_average(self, owner):
        """Numbers of the epochs whose weights are averaged, in order."""
        given = self.averaged_epochs
        if isinstance(given, str):
            return list(range(1, self.n_epochs + 1)) if given == "all" else [self.n_epochs]
        epochs = sorted({int(epoch) for epoch in given})
        if not epochs or epochs[0] < 1 or epochs[-1] > self.n_epochs:
            raise ValueError(
                f"{owner}: averaged_epochs must be 'all', 'last' or numbers from 1 to n_epochs="
                f"{self.n_epochs}; got {list(given)}."
            )
        return epochs

    def _learn(self, task, outcome):
        went_back = outcome.collapsed_at is not None and self.stop_at_collapse
        if outcome.acceptance is not None or not went_back:
            task.take_average()
        self._keep_head(task.head)
        self.labels_, self.classes_ = task.labels, task.classes
        self.clusterer_ = task.clusterer
        self._output = self.output
        self._odin = {"perturbation": self.perturbation, "temperature": self.temperature}

    def transform(self, X: Images) -> np.ndarray:
        """Compute the features, or the logits of the clusters, by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, n_features) or (n_images, n_classes)
            What the parameter `output` names.
        """
        return super().transform(X)

    def compute(self, source: Source) -> np.ndarray:
        """Compute what `transform` returns, for images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, n_features) or (n_images, n_classes)
            As `transform` returns them.
        """
        if self._output == "odin":
            # Gradients are needed, whatever mode the caller is in.
            with torch.inference_mode(False):
                return self._odin_logits(source)
        features = super().compute(source)
        return features if self._output == "features" else self._logits(features)

    def _odin_logits(self, source):
        fitted = self.extractor_.fitted_network_
        head = linear_head(self.coef_, self.intercept_).to(fitted.device).requires_grad_(False)
        preprocessing = fitted.preprocessing
        std = preprocessing.std if preprocessing.contrast_range is None else (1.0,)
        step = self._odin["perturbation"] / torch.tensor(std, device=fitted.device)[:, None, None]
        logits = np.empty((len(source), len(self.coef_)), dtype=np.float32)

        def logits_of(images):
            with same_arithmetic(images):
                images = images.to(fitted.dtype, memory_format=torch.channels_last)
                return head(fitted.outputs(images))

        for start, batch in self.extractor_.batches(source):
            images = fitted.prepare(batch)
            found = odin_logits(logits_of, images, step, self._odin["temperature"])
            logits[start : start + len(batch)] = found.cpu().numpy()
        return logits

    def get_feature_names_out(self, input_features: "ArrayLike | None" = None) -> np.ndarray:
        """Get the names of the outputs: the layer and a number, or "logit" and the class.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows of `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_outputs,)
            One name for each column.
        """
        names = super().get_feature_names_out(input_features)
        if self._output == "features":
            return names
        return np.array([f"logit_{name}" for name in self.classes_], dtype=object)


class PseudoLabelTask(Task):
    """Clusters told apart, and the mean of the weights at the ends of epochs.

    Parameters
    ----------
    start : Start
    augmentation : callable or None
    classes : ndarray of shape (n_classes,)
    labels : ndarray of int, shape (n_images,)
        Index of each image's among them, -1 for noise.
    averaged : list of int
        Epochs whose weights are averaged.
    """

    def __init__(self, start, augmentation, classes, labels, averaged):
        super().__init__(start)
        self.augmentation, self.averaged = augmentation, averaged
        self.classes, self.labels = classes, labels
        self.targets = torch.from_numpy(labels).to(start.device)

    def add_head(self, head):
        """Take the classifier, and begin the average of it and the network."""
        self.head = head.to(self.start.device)
        both = torch.nn.ModuleDict({"network": self.network, "head": self.head})
        self.average = AveragedModel(both, avg_fn=running_mean, use_buffers=True)
        self.average.requires_grad_(False)

    def identity(self):
        """Digest of the labels."""
        return hashlib.blake2b(self.labels.tobytes(), digest_size=16).hexdigest()

    def loss(self, step):
        """Cross-entropy of the clusters."""
        if self.augmentation is None:
            features = self.images.batch(step)
        else:
            with self.full_precision():
                views = self.images.view_of_each(step, self.augmentation)
            features = self.features(views)
        with self.full_precision():
            if (self.labels[self.images.sampler(step)] == NOISE).all():
                return None
            targets = self.targets[self.images.order(step)]
            logits = self.head(features.float())
            return torch.nn.functional.cross_entropy(logits, targets, ignore_index=NOISE)

    def after_step(self, step):
        """The average takes the weights at the end of an epoch."""
        epoch, rest = divmod(step, self.images.sampler.n_batches)
        if not rest and epoch in self.averaged:
            modules = {"network": self.network, "head": self.head}
            self.average.update_parameters(torch.nn.ModuleDict(modules))

    @contextmanager
    def kept(self):
        """Context in which network and head have the averaged weights."""
        own = self.state()
        self.take_average()
        try:
            yield
        finally:
            self.restore(own)

    def take_average(self):
        """Give network and head the averaged weights."""
        averaged = self.average.module
        own = dict(self.named_parameters()) | dict(self.named_buffers())
        with torch.no_grad():
            for name, value in [*averaged.named_parameters(), *averaged.named_buffers()]:
                own[name].copy_(value)


def running_mean(mean, new, n_before):
    """Mean of so many values and a new one; the last of what is counted."""
    if not mean.is_floating_point():
        return new
    return mean + (new - mean) / (n_before + 1)  # a tensor, which is not waited for


def mild_augmentation(image_size):
    """Crops of most of the image, mirrored or not."""
    return ContrastiveAugmentation(
        image_size,
        area=(0.8, 1.0),
        jitter=(0, 0, 0, 0),
        jitter_probability=0,
        gray_probability=0,
        blur_probability=0,
    )
