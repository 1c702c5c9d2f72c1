"""SCAN: clusters of images that a network finds alike, without labels."""

import numpy as np
import torch
from scipy.special import softmax

from ..adapters import SelfSupervisedAdapter
from ..adapters._heads import linear_head
from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..losses import self_labelling_loss
from ..networks._parameters import RandomParameters
from ..training._task import Task
from ._base import ImageClusterMixin
from ._semantic import (
    ClusteringAdapter,
    NeighborClustering,
    SelfLabellingParameters,
    SemanticParameters,
    TrainedHeadParameters,
)


class SCAN(
    RandomParameters,
    SelfLabellingParameters,
    TrainedHeadParameters,
    SemanticParameters,
    ImageClusterMixin,
    ClusteringAdapter,
):
    r"""Semantic clustering: put an image and its nearest neighbours into one cluster.

    First a network learns features without labels, by default by SimCLR. Then a linear head is
    added, and both learn to put an image x and its neighbours x' into the same one of K clusters of
    even size,

    .. math:: L = -\operatorname{mean} \log \langle p(x), p(x') \rangle - \lambda H(\bar p)

    with probabilities p, their mean over a batch :math:`\bar p`, and the entropy H. Finally, in
    self-labelling, images whose cluster is sure are learned from strongly augmented views.
    `transform` returns the features below the head.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image.
    coef_ : ndarray of float32, shape (n_clusters, n_features)
        Weights of the head.
    intercept_ : ndarray of float32, shape (n_clusters,)
        Biases of the head.
    clustering_curve_ : dict of str to ndarray of shape (n_looks,)
        Measures without labels during the training by the loss above; see
        :class:`~skad.CompactnessAdapter`. "consistency" and "entropy" are the two terms of the
        loss, on images without augmentation. "selection" is the first minus the second; the network
        with the lowest value is kept (the code selects on test images).

    See Also
    --------
    skad.SCANFeatures : A detector on these features.
    skad.DeepClustering : Detector that learns these clusters with a pretrained network.
    skad.metrics.clustering_accuracy : Compares clusters with known classes.

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

    def _plan(self, n_images, network):
        size = self.self_labelling_batch_size
        return self._plan_of(self.n_self_labelling_epochs, n_images, size)

    def _task(self, start):
        task = SelfLabellingTask(start, self.threshold, self._make_augmentation(start))
        if self.n_self_labelling_epochs and not task.confident:
            raise ValueError(
                f"{start.owner}: no image is sure enough of its cluster for self-labelling: "
                f"threshold={self.threshold}, the greatest probability is {task.surest:.3f}. Lower "
                "threshold, train for longer (n_epochs, learning_rate), or leave self-labelling "
                "out (n_self_labelling_epochs=0)."
            )
        return task

    def _learn(self, task, outcome):
        super()._learn(task, outcome)
        self.clustering_curve_ = task.start.inner.training_curve_
        self._label(task.start)

    def _probabilities(self, features):
        return softmax(self._logits(features).astype(np.float64), axis=1)


class SelfLabellingTask(Task):
    """Clusters of which the network is sure, learned from other views.

    Parameters
    ----------
    start : Start
    threshold : float
    augmentation : callable or None
    """

    def __init__(self, start, threshold, augmentation):
        super().__init__(start)
        self.threshold, self.augmentation = threshold, augmentation
        self.head = linear_head(start.inner.coef_, start.inner.intercept_).to(start.device)
        with torch.no_grad():
            surest = self.head(start.features).softmax(1).amax(1)
        self.confident = float((surest > threshold).float().mean())
        self.surest = float(surest.max())

    def loss(self, step):
        """Cross-entropy of the sure ones' clusters."""
        with self.full_precision():
            if self.augmentation is None:
                images = views = self.images.hidden_batch(step)
            else:
                images, views = self.images.image_and_view(step, self.augmentation)
                images, views = self.cut.frozen_part(images), self.cut.frozen_part(views)
        with torch.no_grad():  # in training mode, as in the official code
            weak = self.head(self.cut.trained_part(images.clone()).float())
        self.confident = float((weak.softmax(1).amax(1) > self.threshold).float().mean())
        if not self.confident:
            return None
        strong = self.head(self.cut.trained_part(views).float())
        with self.full_precision():
            return self_labelling_loss(weak, strong.float(), self.threshold)

    def measures(self):
        """The share of images of a step above the threshold."""
        return {"confident": self.confident}


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
