"""What the clusterers of images share: labels, probabilities, and words on empty clusters."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from sklearn.base import ClusterMixin
from sklearn.utils.validation import check_is_fitted

from .._compat import fit_context
from .._parameters import POSITIVE, ParameterGroup, parameter
from .._types import Images, Labels, Source
from .._warnings import warn
from ..adapters import CollapseWarning
from ..images._door import check_images


class ClusterWarning(UserWarning):
    """Warning: a clustering has fewer clusters than were asked for."""


class ClusterCountParameters(ParameterGroup):
    """How many clusters.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each normal training image.

    Warns
    -----
    CollapseWarning
        If all images end in one cluster.
    ClusterWarning
        If some clusters end without images.
    """

    n_clusters: int = parameter(default=10, limits=[POSITIVE], text="Number of clusters.")


class ImageClusterMixin(ClusterMixin, ABC):
    """An adapter whose network tells clusters; it has `n_clusters`, and gives `_probabilities`."""

    @abstractmethod
    def _probabilities(self, features):
        """Probability of each cluster, (n_images, n_clusters), of images with these features."""

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None) -> Self:
        """Find clusters.

        Parameters
        ----------
        X : images
            At least as many as clusters, in any container, see :ref:`containers`.
        y : object
            Ignored; present by scikit-learn's convention.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.

        Warns
        -----
        CollapseWarning
            If all images end in one cluster.
        ClusterWarning
            If some clusters end without images.
        """
        return self._adapt(X, None)

    def fit_source(self, source: Source) -> Self:
        """Find clusters in images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        if len(source) < self.n_clusters:
            raise ValueError(
                f"{type(self).__name__}: n_clusters={self.n_clusters}, but there are only "
                f"{len(source)} images. Give more images, or ask for fewer clusters."
            )
        return super().fit_source(source)

    def _label(self, start):
        """Set `labels_` by the trained network, and warn of clusters without images."""
        features = self.extractor_.compute(start.source)
        self.labels_ = self._probabilities(features).argmax(axis=1)
        sizes = np.bincount(self.labels_, minlength=self.n_clusters)
        n_found = np.count_nonzero(sizes)
        if n_found == 1 < self.n_clusters:
            warn(
                f"{start.owner}: all {len(self.labels_)} images ended in one of {self.n_clusters} "
                f"clusters. {self._if_collapsed}",
                CollapseWarning,
            )
        elif n_found < self.n_clusters:
            warn(
                f"{start.owner}: {self.n_clusters - n_found} of {self.n_clusters} clusters have no "
                f"images. Set n_clusters={n_found}, or train for longer (n_epochs).",
                ClusterWarning,
            )

    def predict_proba(self, X: Images) -> np.ndarray:
        """Compute the probability of each cluster.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        probabilities : ndarray of float64, shape (n_images, n_clusters)
            One row for each image.
        """
        check_is_fitted(self)
        return self._probabilities(self.extractor_.compute(check_images(self, X)))

    def predict(self, X: Images) -> np.ndarray:
        """Find the most probable cluster of each image.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        labels : ndarray of int, shape (n_images,)
            Index of the cluster of each image.
        """
        return self.predict_proba(X).argmax(axis=1)
