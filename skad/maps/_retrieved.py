"""Galleries of the pixels of the training images that are retrieved for an image."""

import copy
from typing import Self

import numpy as np
from sklearn.utils import check_random_state

from .._parameters import POSITIVE, RandomStateParameters, changed
from .._types import Tensor
from ..scorers._kmeans import kmeans
from ._galleries import BaseGallery, few_at_once
from ._maps import pixels_of
from ._nearest import AT_ONCE, Nearest
from ._parameters import GalleryParameters, PixelCentroidParameters, StoreParameters
from ._store import MapStore


class RetrievedPixels(StoreParameters, GalleryParameters, BaseGallery):
    """Gallery of all pixels of the training images that are retrieved for an image (SPADE).

    Attributes
    ----------
    store_ : MapStore
        The maps of all training images.

    See Also
    --------
    skad.MapDetector : A detector with a gallery.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import MapDetector
    >>> from skad.maps import RetrievedPixels
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(gallery=RetrievedPixels(n_neighbor_pixels=3)).fit(tiles[:30])
    >>> detector.gallery_.store_.n_images
    30
    """

    def begin(self, n_images: int, owner: str) -> Self:
        """Prepare for the maps of the training images.

        Parameters
        ----------
        n_images : int
            Number of training images.
        owner : str
            Named in errors.

        Returns
        -------
        self : object
            The gallery itself.
        """
        self.store_ = None
        return super().begin(n_images, owner)

    def add(self, start: int, maps: list[Tensor]) -> None:
        """Keep the maps.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """
        self._keep(start, maps)

    def _keep(self, start, maps):
        if self.store_ is None:
            shapes = [tuple(one.shape[1:]) for one in maps]
            self.store_ = MapStore(shapes, self.n_images_, self.memory_limit * 2**20, self.owner_)
        self.store_.write(start, maps)

    def extended(self, n_images: int) -> Self:
        """Copy the gallery, with room for more images; this one stays as it is.

        Parameters
        ----------
        n_images : int
            Number of images to add. The first has the index `n_images_` of this gallery.

        Returns
        -------
        gallery : object
            The copy, ready for `add`.
        """
        other = copy.copy(self)
        other.n_images_ = self.n_images_ + n_images
        other.store_ = self.store_.extended(n_images)
        return other

    def distances(self, maps: list[Tensor], retrieved: "np.ndarray | None") -> list[Tensor]:
        """Compute distances to the pixels of the retrieved images.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        retrieved : ndarray of int, shape (n, n_retrieved), or None
            Indices of the training images that each image is compared with.

        Returns
        -------
        distances : list of tensors of float32, shape (n, height, width)
            One for all layers joined, or one for each layer.
        """
        import torch

        found = []
        for alone, indices in zip(few_at_once(maps, 1), retrieved):
            fused = self._fused(alone)
            nearest = [Nearest(pixels_of(one)[0], self.n_neighbor_pixels) for one in fused]
            for gallery in self._galleries(indices, len(nearest[0].queries), maps[0].device):
                for search, rows in zip(nearest, gallery):
                    search.among(rows)
            found.append([n.mean().view(one[:, 0].shape) for n, one in zip(nearest, fused)])
        return [torch.cat(parts) for parts in zip(*found)]

    def _galleries(self, indices, n_queries, device):
        """Pixels of a few images at a time, as rows for each fused layer."""
        import torch

        n_pixels = max(height * width for _, height, width in self.store_.shapes)
        step = max(1, AT_ONCE // (n_pixels * n_queries))
        for first in range(0, len(indices), step):
            some = [self.store_.read(index) for index in indices[first : first + step]]
            maps = [torch.cat(layer).to(device) for layer in zip(*some)]
            yield [pixels_of(one).flatten(0, 1) for one in self._stored(maps)]

    def _stored(self, maps):
        """Maps from the store, as they are compared."""
        return self._fused(maps)


class RetrievedFew(RetrievedPixels):
    """A few rows for each training image; those of the images that are retrieved.

    They are kept as maps one pixel wide. Subclasses say which by `_few_of`, and how many by
    `_n_kept`.
    """

    def add(self, start: int, maps: list[Tensor]) -> None:
        """Keep a few rows of each image.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """
        for alone in few_at_once(maps, 1):
            kept = [self._kept(pixels_of(one)[0]) for one in self._fused(alone)]
            self._keep(start, [rows.T[None, ..., None] for rows in kept])
            start += 1

    def _kept(self, pixels):
        """As many rows for every image; one again and again where pixels are too much alike."""
        rows = self._few_of(pixels)
        return rows[np.minimum(np.arange(self._n_kept(len(pixels))), len(rows) - 1)]

    def _stored(self, maps):
        return maps


class RetrievedCentroids(RandomStateParameters, PixelCentroidParameters, RetrievedFew):
    """Gallery of centroids of the pixels of each training image, for the retrieved images.

    See Also
    --------
    skad.maps.CentroidPixels : Centroids of all images.
    skad.maps.RetrievedCoreset : Pixels far from each other, which are faster to find.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import MapDetector
    >>> from skad.maps import RetrievedCentroids
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(gallery=RetrievedCentroids(n_centroids=20)).fit(tiles[:30])
    >>> detector.score_maps(tiles[30:]).shape
    (10, 80, 80)
    """

    n_centroids: int = changed(default=50, limits=[POSITIVE])

    def begin(self, n_images: int, owner: str) -> Self:
        """Prepare for the maps of the training images.

        Parameters
        ----------
        n_images : int
            Number of training images.
        owner : str
            Named in errors.

        Returns
        -------
        self : object
            The gallery itself.
        """
        self._seed = check_random_state(self.random_state).randint(2**31 - 1)
        return super().begin(n_images, owner)

    def _n_kept(self, n_pixels):
        return self.n_centroids

    def _few_of(self, pixels):
        import torch

        pixels = pixels.cpu().numpy()
        n_clusters = min(self.n_centroids, len(pixels))
        centers, _ = kmeans(pixels, n_clusters, random_state=self._seed, owner=self.owner_)
        return torch.from_numpy(centers)
