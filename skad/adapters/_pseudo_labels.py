"""Pseudo-labels: a network learns to tell the clusters of normal images apart."""

import hashlib

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, StrOptions, fit_context
from .._labels import classes_of_normal
from .._parameters import NOT_NEGATIVE, changed, parameter
from ..augment import ContrastiveAugmentation
from ..images._door import check_images
from ..networks._one_image import same_arithmetic
from ..networks._parameters import RandomParameters
from ..networks._preprocessing import preprocess
from ..training._order import n_batches
from ..training._parameters import (
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
from ._base import BaseAdapter
from ._classes import NOISE, places_of_classes, takes_images
from ._heads import LinearHead, linear_head, new_head, random_head
from ._odin import OdinParameters, odin_logits
from ._scratch import cosine_decay


class PseudoLabelParameters(
    MemoryLimitParameters,
    CollapseParameters,
    DecayParameters,
    TrainingParameters,
    EpochParameters,
    AugmentationParameters,
    StageParameters,
):
    """Clusters as classes, and weights that are averaged.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each normal training image, or the index of its class among `classes_`.
    """

    clusterer: object = parameter(
        default=None,
        limits=[HasMethods(["fit_predict"]), None],
        kind="clusterer",
        text="Anything with ``fit_predict``. One that takes images (:class:`~skad.SCAN`, "
        ":class:`~skad.DEC`, a Pipeline that begins with an extractor) gets the images, any "
        "other the features. Images numbered -1 (noise) are left out of the training. By "
        "default k-means with 10 clusters on features of unit length.",
    )
    first_head: str = parameter(
        default="random",
        limits=[StrOptions({"random", "discriminant"})],
        text="Weights of the head to begin with: random ones, or linear discriminant analysis of "
        "the features, so that training goes on from what they tell already. With fewer "
        "images than features that may tell all apart at once, and leave nothing to learn. "
        "(The paper does not say.)",
    )
    trainable: object = changed(default="all", note="(The paper does not say.)")
    averaged_epochs: object = parameter(
        default="all",
        limits=[StrOptions({"all", "last"}), "array-like"],
        kind='{"all", "last"} or list of int',
        text="The epochs, counted from 1, at whose ends the weights are averaged. (Paper: all "
        "five.)",
    )
    augmentation: object = changed(
        default="mild",
        limits=[StrOptions({"mild"}), callable, None],
        note='"mild" is crops of no less than 0.8 of the image, mirrored or not; with None the '
        "output of frozen stages is computed once. (The paper does not say.)",
    )
    n_epochs: int = changed(default=5, note="(Paper.)")
    batch_size: int = changed(default=32, note="(The paper does not say.)")
    learning_rate: float = changed(
        default=1e-5,
        note="Adam, from here to `final_learning_rate` along half a cosine (paper).",
    )
    final_learning_rate: float = parameter(
        default=1e-6, limits=[NOT_NEGATIVE], text="The last learning rate (paper)."
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

    with the cluster :math:`c_i` of each image, found by a clusterer without labels. At each end of
    an epoch the weights are taken, and their mean is what is used.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image, by its place in `classes_`; -1 for noise.
    classes_ : ndarray of shape (n_classes,)
        Clusters as the clusterer numbers them, or the classes given.
    clusterer_ : clusterer or None
        Fitted; None where `class_labels` were given.
    coef_ : ndarray of float32, shape (n_classes, n_features)
        Weights of the head.
    intercept_ : ndarray of float32, shape (n_classes,)
        Its biases.

    See Also
    --------
    skad.DeepClustering : Detector on these features.
    skad.CLAD : Detector on ODIN's logits, from random weights.

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
        note="Features, logits of the clusters, or ODIN's logits, those of the perturbed image "
        "over the temperature; :class:`~skad.ConfidenceScorer` scores either.",
    )
    batch_norm: str = parameter(
        default="eval",
        limits=[StrOptions({"eval", "train"})],
        text="Whether BatchNorm keeps its statistics, for a pretrained network, or learns them, "
        "for one from random weights. (The paper does not say.)",
    )
    stop_at_collapse: bool = changed(default=False, note="Nothing is averaged then.")

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, class_labels=None):
        """Cluster normal images, and train on the clusters.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        class_labels : array-like of shape (n_images,), optional
            Classes to learn in the place of clusters; where they are true ones, an upper bound of
            what clusters can do. In a Pipeline or a search they come by metadata routing.

        Returns
        -------
        self : object

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

    @property
    def _from_scratch(self):
        return self.batch_norm == "train"

    @property
    def _augments(self):
        return self.augmentation is not None

    def _make_optimizer(self, parameters):
        import torch

        return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)

    def _rate(self, step, n_steps):
        return cosine_decay(self.learning_rate, step, n_steps, self.final_learning_rate)

    def _count_steps(self, n_images):
        return self.n_epochs * n_batches(n_images, self.batch_size, self._fewest)

    def _prepare(self, run, class_labels):
        import torch

        if self._from_scratch and not (isinstance(self.trainable, str) and self.trainable == "all"):
            raise ValueError(
                f"{run.owner}: batch_norm='train' changes the whole network, so it needs "
                f"trainable='all'; got {self.trainable!r}. Set batch_norm='eval' to train stages."
            )
        labels, run.clusterer = class_labels, None
        if class_labels is None:
            labels, run.clusterer = self._cluster(run)
        found = places_of_classes(labels, len(run.images), run.owner, class_labels is not None)
        run.classes, run.labels = found
        run.decisive.append(hashlib.blake2b(run.labels.tobytes(), digest_size=16).hexdigest())
        run.targets = torch.from_numpy(run.labels).to(run.device)
        run.head = self._make_head(run)
        size = run.extractor.preprocessing_.image_size
        run.augmentation = mild_augmentation(size) if self._is_mild else self.augmentation
        run.averaged = self._epochs_to_average(run.owner)
        # Of the trained parameters and of what changes along with them.
        run.averages = {n: torch.zeros_like(v) for n, v in run._copy().items()}
        run.buffers |= {f"skad:average.{n}": value for n, value in run.averages.items()}

    def _make_head(self, run):
        if self.first_head == "random":
            return random_head(run, len(run.classes))
        is_class = run.targets != NOISE
        head = new_head(run.first_features[is_class], run.labels[run.labels != NOISE])
        return run.add("head", head)

    @property
    def _is_mild(self):
        return isinstance(self.augmentation, str)

    def _cluster(self, run):
        """Clusters of the images as the clusterer numbers them, and the fitted clusterer."""
        clusterer = self.clusterer
        if clusterer is None:
            kmeans = KMeans(10, n_init=10, random_state=run.seed)
            clusterer = make_pipeline(Normalizer(), kmeans)
        if takes_images(clusterer):
            X = run.images.source
        else:
            X = run.first_features.cpu().numpy()
        clusterer = clone(clusterer)
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

    def _loss(self, run, step):
        import torch

        if run.augmentation is None:
            features = run.images.batch(step)
        else:
            with run.in_full_precision():
                views = run.images.view_of_each(step, run.augmentation)
            features = run.features(views)
        with run.in_full_precision():
            targets = run.targets[run.images.order(step)]
            if not (targets != NOISE).any():
                return None
            logits = run.head(features.float())
            return torch.nn.functional.cross_entropy(logits, targets, ignore_index=NOISE)

    def _after_step(self, run, step):
        epoch, rest = divmod(step, run.images.sampler.n_batches)
        if rest or epoch not in run.averaged:
            return
        n_before = run.averaged.index(epoch)
        now = run.parameters | run.buffers
        for name, average in run.averages.items():
            if average.is_floating_point():
                average += (now[name].detach() - average) / (n_before + 1)
            else:
                average.copy_(now[name])  # numbers of batches seen

    def _learned(self, run):
        stopped_early = run.watch.collapsed_at is not None and self.stop_at_collapse
        if not stopped_early:
            run.load(run.averages | {f"skad:average.{n}": v for n, v in run.averages.items()})
        self._keep_head(run.head)
        self.labels_, self.classes_ = run.labels, run.classes
        self.clusterer_ = run.clusterer

    def transform(self, X):
        """Compute the features, or the logits of the clusters, by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, n_features) or (n_images, n_classes)
            As `output` says.
        """
        import torch

        if self.output == "odin":
            # Gradients are needed, whatever mode the caller is in.
            with torch.inference_mode(False):
                return self._odin(X)
        features = super().transform(X)
        return features if self.output == "features" else self._logits(features)

    def _odin(self, X):
        import torch

        check_is_fitted(self)
        source, extractor = check_images(self, X), self.extractor_
        made, device = extractor.preprocessing_, extractor._device
        head = linear_head(self.coef_, self.intercept_).to(device).requires_grad_(False)
        std = made.std if made.contrast_range is None else (1.0,)
        step = self.perturbation / torch.tensor(std, device=device)[:, None, None]
        logits = np.empty((len(source), len(self.coef_)), dtype=np.float32)

        def logits_of(images):
            with same_arithmetic(images):
                images = images.to(extractor._dtype, memory_format=torch.channels_last)
                return head(extractor._outputs(images))

        for start, batch in extractor._batches(source):
            images = preprocess(batch, made, device)
            found = odin_logits(logits_of, images, step, self.temperature)
            logits[start : start + len(batch)] = found.cpu().numpy()
        return logits

    def get_feature_names_out(self, input_features=None):
        """Names of the outputs: the layer and a number, or "logit" and the class.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows seen in `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_outputs,)
        """
        names = super().get_feature_names_out(input_features)
        if self.output == "features":
            return names
        return np.array([f"logit_{name}" for name in self.classes_], dtype=object)


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
