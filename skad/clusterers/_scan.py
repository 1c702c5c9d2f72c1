"""SCAN: clusters of images that a network finds alike, without labels."""

import numpy as np
from scipy.special import softmax

from ..adapters import SelfSupervisedAdapter
from ..adapters._heads import linear_head
from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..losses import self_labelling_loss
from ..networks._parameters import RandomParameters
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
    r"""Semantic clustering by adopting nearest neighbours, and self-labelling.

    A network learns features without labels (by default by SimCLR). Then it learns, with a linear
    head behind it, to put an image x and its neighbours x' into one of K clusters of even size,

    .. math:: L = -\operatorname{mean} \log \langle p(x), p(x') \rangle - \lambda H(\bar p)

    with probabilities p, their mean over a batch and its entropy H. At last (self-labelling) it
    learns the clusters that it is sure of from strongly augmented images. `transform` gives the
    features below the head.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image.
    coef_ : ndarray of float32, shape (n_clusters, n_features)
        Weights of the head.
    intercept_ : ndarray of float32, shape (n_clusters,)
        Its biases.
    clustering_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along the training by the loss above; see
        :class:`~skad.CompactnessAdapter`. "consistency" and "entropy" are the two terms of the
        loss, on images as they are; "selection" is the first less the second, and the network with
        the lowest one goes on (the code does so on test images).

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

    n_steps = None

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
