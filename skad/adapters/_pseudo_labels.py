"""Pseudo-labels: a network learns to tell the clusters of normal images apart."""

import hashlib
from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, Interval, StrOptions, fit_context
from .._labels import classes_of_normal
from ..augment import ContrastiveAugmentation
from ..images._door import check_images
from ..networks._one_image import same_arithmetic
from ..networks._preprocessing import preprocess
from ..training._order import n_batches
from ._base import CONSTRAINTS, BaseAdapter
from ._heads import LinearHead, linear_head, new_head, random_head
from ._odin import odin_logits
from ._scratch import cosine_decay

# A cluster of this number holds what belongs to none, as scikit-learn's DBSCAN numbers it.
NOISE = -1


class PseudoLabelAdapter(LinearHead, BaseAdapter):
    r"""Fine-tune a network to tell clusters of normal images apart, and average its weights.

    .. math:: L = -\frac1B \sum_i \log \operatorname{softmax}(W \psi(x_i) + b)_{c_i}

    with the cluster :math:`c_i` of each image, found by a clusterer without labels. At each end of
    an epoch the weights are taken, and their mean is what is used.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained. By default ``FeatureExtractor()``.
    clusterer : clusterer, optional
        Anything with ``fit_predict``. One that takes images (:class:`~skad.SCAN`,
        :class:`~skad.DEC`, a Pipeline that begins with an extractor) gets the images, any other the
        features of `extractor`. By default k-means with 10 clusters on features of unit length.
        Images numbered -1 (noise) are left out of the training.
    output : {"features", "logits", "odin"}, default="features"
        What `transform` gives: features, logits of the clusters, or ODIN's logits, those of the
        perturbed image over the temperature; :class:`~skad.ConfidenceScorer` scores either.
    temperature : float, default=1000
        T of "odin" (ODIN's paper).
    perturbation : float, default=0.0014
        :math:`\epsilon` of "odin", for pixels in [0, 1] (ODIN's paper).
    first_head : {"random", "discriminant"}, default="random"
        Weights of the head to begin with: random ones, or linear discriminant analysis of the
        features, so that training goes on from what they tell already. With fewer images than
        features that may tell all apart at once, and leave nothing to learn. (The paper does not
        say.)
    trainable : str, int or list of str, default="all"
        Stages to train, see :class:`~skad.CompactnessAdapter`, or "head" for none. (The paper does
        not say.)
    batch_norm : {"eval", "train"}, default="eval"
        Whether BatchNorm keeps its statistics, for a pretrained network, or learns them, for one
        from random weights. (The paper does not say.)
    averaged_epochs : {"all", "last"} or list of int, default="all"
        The epochs, counted from 1, at whose ends the weights are averaged. (Paper: all five.)
    augmentation : {"mild"}, callable or None, default="mild"
        What images look like in training: crops of no less than 0.8 of the image, mirrored or not;
        another map of a batch and a ``torch.Generator`` to views; or None, with which the output of
        frozen stages is computed once. (The paper does not say.)
    n_epochs : int, default=5
        Passes over the images (paper).
    batch_size : int, default=32
        Images in a step. (The paper does not say.)
    learning_rate, final_learning_rate : float, default=1e-5, 1e-6
        Of Adam, from the first to the last along half a cosine (paper).
    weight_decay : float, default=0.0
        (The paper does not say.)
    clip_norm : float or None, default=None
        Largest norm of the gradient of all parameters together.
    collapse_limit : float in [0, 1), default=0.25
        Collapse is an angular spread of the features below this share of that before training.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it, without averaging.
    memory_limit : float, default=2048
        Most MiB for what is kept where `augmentation` is None; see
        :class:`~skad.CompactnessAdapter`.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides the head's first weights, the order of the images and their augmentation, and where
        the default clusterer starts.
    verbose : bool, default=False
        Show a progress bar.

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
    extractor_ : FeatureExtractor
        Fitted, with the trained network.
    network_ : torch.nn.Module
        The trained network, in evaluation mode.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training, before averaging; see :class:`~skad.CompactnessAdapter`.
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

    _parameter_constraints = {  # noqa: RUF012
        **{k: v for k, v in CONSTRAINTS.items() if k != "momentum"},
        "clusterer": [HasMethods(["fit_predict"]), None],
        "output": [StrOptions({"features", "logits", "odin"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "perturbation": [Interval(Real, 0, None, closed="left")],
        "first_head": [StrOptions({"random", "discriminant"})],
        "batch_norm": [StrOptions({"eval", "train"})],
        "averaged_epochs": [StrOptions({"all", "last"}), "array-like"],
        "augmentation": [StrOptions({"mild"}), callable, None],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "final_learning_rate": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        extractor=None,
        clusterer=None,
        *,
        output="features",
        temperature=1000.0,
        perturbation=0.0014,
        first_head="random",
        trainable="all",
        batch_norm="eval",
        averaged_epochs="all",
        augmentation="mild",
        n_epochs=5,
        batch_size=32,
        learning_rate=1e-5,
        final_learning_rate=1e-6,
        weight_decay=0.0,
        clip_norm=None,
        collapse_limit=0.25,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.clusterer = clusterer
        self.output = output
        self.temperature = temperature
        self.perturbation = perturbation
        self.first_head = first_head
        self.trainable = trainable
        self.batch_norm = batch_norm
        self.averaged_epochs = averaged_epochs
        self.augmentation = augmentation
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.final_learning_rate = final_learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

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
            if hasattr(clusterer, "_adapt"):
                clusterer = run.fitted(clusterer, run.images.source)
                return clusterer.labels_, clusterer
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


def takes_images(clusterer):
    """Whether a clusterer takes images; others take rows of features."""
    first = clusterer.steps[0][1] if isinstance(clusterer, Pipeline) else clusterer
    return hasattr(first, "__sklearn_tags__") and get_tags(first).input_tags.three_d_array


def places_of_classes(labels, n_images, owner, given):
    """Classes, and the place of each image's among them, -1 for noise.

    Parameters
    ----------
    labels : array-like
    n_images : int
    owner : str
        Named in errors.
    given : bool
        Whether the labels are the user's, not a clusterer's.
    """
    labels = np.asarray(labels)
    name = "class_labels" if given else "the clusterer's labels"
    if labels.shape != (n_images,):
        raise ValueError(
            f"{owner}: {name} must be one for each of the {n_images} normal images; got shape "
            f"{labels.shape}."
        )
    is_noise = np.zeros(n_images, dtype=bool)
    if not given and labels.dtype.kind in "iu":
        is_noise = labels == NOISE
    classes, found = np.unique(labels[~is_noise], return_inverse=True)
    if len(classes) < 2:
        fix = "" if given else "Ask for more clusters, or choose another clusterer."
        raise ValueError(
            f"{owner}: {name} must tell at least 2 classes apart; got {classes.tolist()}"
            f"{f', and {is_noise.sum()} images of noise' if is_noise.any() else ''}. {fix}".rstrip()
        )
    places = np.full(n_images, NOISE, dtype=np.int64)
    places[~is_noise] = found
    return classes, places
