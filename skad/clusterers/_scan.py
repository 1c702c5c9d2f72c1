"""SCAN: clusters of images that a network finds alike, without labels."""

import os
from numbers import Integral, Real

import numpy as np
from scipy.special import softmax

from .._compat import HasMethods, Interval, StrOptions
from ..adapters import SelfSupervisedAdapter
from ..adapters._base import NOT_NEGATIVE
from ..adapters._heads import linear_head
from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..losses import self_labelling_loss
from ._base import ImageClusterMixin
from ._semantic import ClusteringAdapter, NeighborClustering


class SCAN(ImageClusterMixin, ClusteringAdapter):
    r"""Semantic clustering by adopting nearest neighbours, and self-labelling.

    A network learns features without labels (by default by SimCLR). Then it learns, with a linear
    head behind it, to put an image x and its neighbours x' into one of K clusters of even size,

    .. math:: L = -\operatorname{mean} \log \langle p(x), p(x') \rangle - \lambda H(\bar p)

    with probabilities p, their mean over a batch and its entropy H. At last (self-labelling) it
    learns the clusters that it is sure of from strongly augmented images. `transform` gives the
    features below the head.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained. By default
        ``SelfSupervisedAdapter(FeatureExtractor(skad.backbones.cifar_resnet18, weights=None),
        objective="simclr", normalize=False, temperature=0.1, learning_rate=1e-3,
        weight_decay=1e-4)``, 500 epochs, which takes long. (The official code's SimCLR goes by
        stochastic gradient descent.)
    n_clusters : int, default=10
        K. (The deep clustering paper has 10 for all image sets.)
    n_neighbors : int, default=20
        Neighbours of each image, of which one is drawn, or the image itself (code). They are near
        by the cosine of the output of SimCLR's projector, or of the features if there is none.
        There are no more of them than other images in a cluster of even size.
    entropy_weight : float, default=5.0
        :math:`\lambda` (code).
    trainable : str, int or list of str, default="all"
        "all" trains the whole network, BatchNorm in training mode (code, for small images); "head"
        the head alone (code, for ImageNet; for pretrained networks); else stages, as for
        :class:`~skad.CompactnessAdapter`.
    augmentation : {"strong"}, callable or None, default="strong"
        What neighbours and self-labelled images look like: "strong" for
        :class:`~skad.augment.StrongAugmentation` (code), another map of a batch and a
        ``torch.Generator`` to views, or None for images as they are, with which
        ``trainable="head"`` takes seconds.
    n_epochs : int, default=50
        Passes over the images with the loss above (code).
    batch_size : int, default=128
        Pairs in a step (code).
    learning_rate : float, default=1e-4
        Of Adam, in both trainings (code).
    weight_decay : float, default=1e-4
        (Code.)
    threshold : float in [0, 1), default=0.99
        Probability from which an image is labelled by its likeliest cluster (code).
    n_self_labelling_epochs : int, default=200
        Passes over the images (code); 0 leaves self-labelling out.
    self_labelling_batch_size : int, default=1000
        Images in a step (code). Steps without a sure image are left out.
    memory_limit : float, default=2048
        Most MiB for prepared images where `augmentation` is None.
    checkpoint : path, optional
        Folder that keeps the state of the trainings while they last. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides the head's first weights, the order of the images, their neighbours and
        augmentation; what the extractor draws, its own parameters decide.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image.
    coef_ : ndarray of float32, shape (n_clusters, n_features)
        Weights of the head.
    intercept_ : ndarray of float32, shape (n_clusters,)
        Its biases.
    extractor_ : FeatureExtractor
        Fitted, with the trained network.
    network_ : torch.nn.Module
        The trained network, in evaluation mode.
    clustering_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along the training by the loss above; see
        :class:`~skad.CompactnessAdapter`. "consistency" and "entropy" are the two terms of the
        loss, on images as they are; "selection" is the first less the second, and the network with
        the lowest one goes on (the code does so on test images).
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        The same along self-labelling, with "confident", the share of the images of a step above
        the threshold.
    stopped_at_ : int
        Steps of self-labelling.
    collapsed_at_ : None
        Collapse of features is not looked for, but all images in one cluster are.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.SCANFeatures : Detector on these features.
    skad.DeepClustering : Detector that learns these clusters with a pretrained network.
    skad.metrics.clustering_accuracy : Where classes are known.

    References
    ----------
    Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to Classify Images
    without Labels", ECCV 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skad import SCAN, FeatureExtractor
    >>> digits = load_digits().data[:200]
    >>> clusterer = SCAN(
    ...     FeatureExtractor(),
    ...     n_clusters=5,
    ...     trainable="head",
    ...     augmentation=None,
    ...     learning_rate=1e-2,
    ...     n_self_labelling_epochs=0,
    ... )
    >>> np.unique(clusterer.fit_predict(digits))
    array([0, 1, 2, 3, 4])
    """

    _parameter_constraints = {  # noqa: RUF012
        "extractor": [HasMethods(["fit", "transform"]), None],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "entropy_weight": [NOT_NEGATIVE],
        "trainable": [str, Integral, "array-like"],
        "augmentation": [StrOptions({"strong"}), callable, None],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [NOT_NEGATIVE],
        "threshold": [Interval(Real, 0, 1, closed="left")],
        "n_self_labelling_epochs": [Interval(Integral, 0, None, closed="left")],
        "self_labelling_batch_size": [Interval(Integral, 2, None, closed="left")],
        "memory_limit": [NOT_NEGATIVE],
        "checkpoint": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_steps = None

    def __init__(
        self,
        extractor=None,
        *,
        n_clusters=10,
        n_neighbors=20,
        entropy_weight=5.0,
        trainable="all",
        augmentation="strong",
        n_epochs=50,
        batch_size=128,
        learning_rate=1e-4,
        weight_decay=1e-4,
        threshold=0.99,
        n_self_labelling_epochs=200,
        self_labelling_batch_size=1000,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.entropy_weight = entropy_weight
        self.trainable = trainable
        self.augmentation = augmentation
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.threshold = threshold
        self.n_self_labelling_epochs = n_self_labelling_epochs
        self.self_labelling_batch_size = self_labelling_batch_size
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    _if_collapsed = (
        "Train for longer (n_epochs, learning_rate), begin with a better extractor, or raise "
        "entropy_weight."
    )

    def _inner(self):
        """The training by neighbours; this one is self-labelling."""
        own = self.get_params(deep=False)
        shared = NeighborClustering().get_params(deep=False).keys() & own.keys()
        extractor = representation() if self.extractor is None else self.extractor
        return NeighborClustering(**{n: own[n] for n in shared} | {"extractor": extractor})

    @property
    def _images_in_step(self):
        return self.self_labelling_batch_size

    def _epochs(self):
        return self.n_self_labelling_epochs

    def _prepare(self, run):
        import torch

        run.head = run.add("head", linear_head(run.inner.coef_, run.inner.intercept_))
        run.augmentation = self._make_augmentation(run)
        with torch.no_grad():
            surest = run.head(run.first_features).softmax(1).amax(1)
        run.confident = float((surest > self.threshold).float().mean())
        if self.n_self_labelling_epochs and not run.confident:
            raise ValueError(
                f"{run.owner}: no image is sure enough of its cluster for self-labelling: threshold"
                f"={self.threshold}, the greatest probability is {float(surest.max()):.3f}. Lower "
                "threshold, train for longer (n_epochs, learning_rate), or leave self-labelling "
                "out (n_self_labelling_epochs=0)."
            )

    def _loss(self, run, step):
        import torch

        with run.in_full_precision():
            if run.augmentation is None:
                images = views = run.images.hidden_batch(step)
            else:
                images, views = run.images.image_and_view(step, run.augmentation)
                images, views = run.cut.frozen_part(images), run.cut.frozen_part(views)
        with torch.no_grad():  # in training mode, as in the official code
            weak = run.head(run.cut.trained_part(images.clone()).float())
        run.confident = float((weak.softmax(1).amax(1) > self.threshold).float().mean())
        if not run.confident:
            return None
        strong = run.head(run.cut.trained_part(views).float())
        with run.in_full_precision():
            return self_labelling_loss(weak, strong.float(), self.threshold)

    def _measure(self, run):
        return {"confident": run.confident}

    def _learned(self, run):
        super()._learned(run)
        self.clustering_curve_ = run.inner.training_curve_
        self._label(run)

    def _probabilities(self, features):
        return softmax(self._logits(features).astype(np.float64), axis=1)


def representation():
    """What SCAN begins with: SimCLR at the settings of SCAN's code, but for the optimiser."""
    return SelfSupervisedAdapter(
        FeatureExtractor(cifar_resnet18, weights=None),
        objective="simclr",
        normalize=False,
        temperature=0.1,
        learning_rate=1e-3,
        weight_decay=1e-4,
    )
