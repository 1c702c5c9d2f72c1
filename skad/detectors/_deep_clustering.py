"""Deep clustering: clusters of normal images as classes for a pretrained network."""

from typing import Self

import numpy as np

from .._compat import StrOptions, fit_context
from .._labels import classes_of_normal
from .._parameters import changed
from .._types import Images, Labels
from ..adapters import PseudoLabelAdapter
from ..adapters._pseudo_labels import NOISE, PseudoLabelParameters
from ..clusterers import SCAN
from ..features import FeatureExtractor
from ..networks._parameters import NetworkParameters, RandomParameters
from ..scorers import ConfidenceScorer, GaussianScorer, KNNScorer
from ..scorers._parameters import ContaminationParameters, MetricParameters
from ._base import BaseImageDetector, ScorerParameters


class DeepClustering(
    RandomParameters,
    ContaminationParameters,
    PseudoLabelParameters,
    MetricParameters,
    ScorerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""Detector for normal images of many unlabelled classes: cluster them, then fine-tune.

    A clusterer finds groups of normal images. A pretrained network learns for a few epochs to tell
    them apart; its weights at the ends of epochs are averaged (:class:`~skad.PseudoLabelAdapter`).
    The score is by the cosine distance of its features :math:`\psi` to the nearest training image,

    .. math:: s(x) = -\min_m \bigl(1 - \cos(\psi(x), \psi(x_m))\bigr)

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.PseudoLabelAdapter` ("adapter") and scorer ("scorer").

    See Also
    --------
    skad.PseudoLabelAdapter : The features alone.
    skad.SCANFeatures : Without pretraining.

    Notes
    -----
    Look at the clusters (`labels_`) before you rely on the scores. On CIFAR-10, clusters that were
    half right gave worse scores than :class:`~skad.DN2` more often than better ones; with the true
    classes the gain was 9 points. ``accept="if_better"`` refused all of ten trainings, eight of
    which would have lost up to 20 points. ``ImageDetector(scorer=EnsembleScorer("mixed"))`` trains
    nothing and needs no clusters, see :class:`~skad.EnsembleScorer`.

    References
    ----------
    Cohen, Abutbul, Hoshen, "Out-of-Distribution Detection without Class Labels", 2021.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from skad import DeepClustering
    >>> normal = load_digits(n_class=3).data[:100]  # zeros, ones and twos
    >>> detector = DeepClustering(clusterer=KMeans(3, random_state=0), image_size=32, n_epochs=1)
    >>> len(set(detector.fit(normal).labels_))
    3
    """

    clusterer: object = changed(
        default=None,
        kw_only=False,
        note="Here by default :class:`~skad.SCAN` from random weights (paper), which takes very "
        "long without a GPU. Clustering pretrained features takes seconds: "
        "``make_pipeline(FeatureExtractor(), Normalizer(), KMeans(10))``.",
    )
    scorer: str = changed(
        default="knn",
        limits=[StrOptions({"knn", "mahalanobis", "confidence"})],
        note='"knn": distance to the nearest training images (paper). The paper compares it with '
        '"mahalanobis", the distance to the nearest cluster with one covariance for all (Lee '
        'et al.), and "confidence", that of the classifier of clusters.',
    )
    n_neighbors: int = changed(default=1, note='For "knn" (paper).')
    metric: str = changed(default="cosine", note='For "knn" (paper).')

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: Labels = None, class_labels: Labels = None) -> Self:
        """Cluster normal images, and learn what they look like.

        Parameters
        ----------
        X : images
            Normal images in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        class_labels : array-like of shape (n_images,), optional
            See :meth:`skad.PseudoLabelAdapter.fit`, also for the errors.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        class_labels = classes_of_normal(class_labels, y, owner=type(self).__name__)
        return self._fit(X, y, class_labels=class_labels)

    def _join(self, adapter, scorer):
        if self.scorer == "mahalanobis":
            # Noise is no class: its rows are left out, as labelled anomalies are.
            labels = adapter.labels_
            return {"y": np.where(labels == NOISE, -1, 1), "class_labels": labels}

    def _obstacle_to_extending(self):
        if isinstance(self._scorer(), GaussianScorer):
            return (
                'no partial_fit with scorer="mahalanobis", since it is not known of which cluster '
                'further images are. Use scorer="knn", or fit to all images.'
            )
        return super()._obstacle_to_extending()

    def _make_steps(self):
        scorers = {"mahalanobis": GaussianScorer(), "confidence": ConfidenceScorer()}
        scorer = scorers.get(self.scorer, KNNScorer(self.n_neighbors, metric=self.metric))
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
