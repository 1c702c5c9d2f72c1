"""Galleries of normal pixels, and the distance of other pixels to the nearest of them."""

import copy
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from .._parameters import POSITIVE, RandomStateParameters, changed
from .._types import Tensor
from ..scorers._kmeans import kmeans
from ._coreset import Coreset
from ._foreground import Foreground
from ._maps import averaged_patches, join, pixels_of, unit_pixels
from ._nearest import AT_ONCE, Nearest, neighbors_among, peak_of
from ._parameters import (
    CoresetParameters,
    FusionParameters,
    GalleryParameters,
    PixelCentroidParameters,
    StoreParameters,
    TokenParameters,
)
from ._store import MapStore

# Images whose layers are joined together.
_IMAGES_AT_ONCE = 8

# Pixels that k-means sees for each centroid; faiss takes as many where there are more.
_PER_CENTROID = 256


class BaseGallery(FusionParameters, BaseEstimator, ABC):
    """Base class of galleries, which keep pixels of normal images to compare other pixels with.

    Subclasses define which pixels are kept, and which of them an image is compared with. A
    :class:`~skad.MapDetector` copies a gallery and calls `begin`, then `add` for each batch of
    training images, then `complete`; after that it calls `distances`. If a gallery has `extended`,
    `partial_fit` can add further images.
    """

    # Whether an image is compared with those training images that are retrieved for it.
    retrieves = True

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
        self.n_images_, self.owner_ = n_images, owner
        return self

    @abstractmethod
    def add(self, start: int, maps: list[Tensor]) -> None:
        """Add maps of training images.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """

    def complete(self) -> None:
        """Prepare for queries, after all training images were added."""

    @abstractmethod
    def distances(self, maps: list[Tensor], retrieved: "np.ndarray | None") -> list[Tensor]:
        """Compute the distances of the pixels of images to the gallery.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        retrieved : ndarray of int, shape (n, n_retrieved), or None
            Indices of the training images that each image is compared with; None if the gallery
            compares all images with the same pixels.

        Returns
        -------
        distances : list of tensors of float32, shape (n, height, width)
            One for all layers joined, or one for each layer.
        """

    def _fused(self, maps):
        """Maps as they are compared: joined, or one for each layer."""
        return [join(maps)] if self.fusion == "joined" else maps


def _few_at_once(maps, n_images=_IMAGES_AT_ONCE):
    """Maps of a few images at a time, since joined ones take much memory.

    Yields
    ------
    maps : list of tensors of shape (n_images, channels, height, width)
    """
    for parts in zip(*(one.split(n_images) for one in maps)):
        yield list(parts)


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
        for alone, indices in zip(_few_at_once(maps, 1), retrieved):
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
        for alone in _few_at_once(maps, 1):
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


class FixedPixels(GalleryParameters, BaseGallery):
    """The same pixels for every image; subclasses set `pixels_` when they are complete.

    Attributes
    ----------
    pixels_ : list of ndarray of shape (n_pixels, n_channels)
        The pixels to compare with: one array for all layers joined, or one for each layer.
    """

    retrieves = False

    def distances(self, maps: list[Tensor], retrieved: "np.ndarray | None") -> list[Tensor]:
        """Compute distances to the pixels.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        retrieved : ndarray of int, shape (n, n_retrieved), or None
            Ignored: all images are compared with the same pixels.

        Returns
        -------
        distances : list of tensors of float32, shape (n, height, width)
            One for all layers joined, or one for each layer.
        """
        import torch

        device, found = maps[0].device, []
        pixels = [torch.from_numpy(rows).float().to(device) for rows in self.pixels_]
        for few in _few_at_once(maps):
            parts = []
            for one, gallery in zip(self._fused(few), pixels):
                search = Nearest(pixels_of(one).flatten(0, 1), self.n_neighbor_pixels)
                search.among(gallery)
                parts.append(search.mean().view(one[:, 0].shape))
            self._pass_over(parts, few)
            found.append(parts)
        return [torch.cat(parts) for parts in zip(*found)]

    def _pass_over(self, distances, maps):
        """Let pixels that do not count be at no distance."""


class CentroidPixels(RandomStateParameters, PixelCentroidParameters, FixedPixels):
    """Gallery of centroids of the pixels of all training images, the same for every image (PANDA).

    k-means runs on 256 random pixels for each centroid.

    Attributes
    ----------
    centroids_ : list of ndarray of shape (n_centroids, n_channels)
        The centroids: one array for all layers joined, or one for each layer.

    See Also
    --------
    skad.maps.RetrievedCentroids : Centroids of each image.
    skad.maps.CoresetPixels : Pixels far from each other.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import MapDetector
    >>> from skad.maps import CentroidPixels
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(gallery=CentroidPixels(n_centroids=20)).fit(tiles[:30])
    >>> detector.gallery_.centroids_[0].shape
    (20, 256)
    """

    n_centroids: int = changed(default=50, limits=[POSITIVE])

    @property
    def pixels_(self) -> list[np.ndarray]:
        """The centroids."""
        return self.centroids_

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
        self._random_state = check_random_state(self.random_state)
        self._drawn = self._taken = None
        return super().begin(n_images, owner)

    def add(self, start: int, maps: list[Tensor]) -> None:
        """Keep the pixels that were drawn.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """
        for few in _few_at_once(maps):
            fused = [pixels_of(one) for one in self._fused(few)]
            if self._drawn is None:
                self._drawn = [self._draw(rows.shape[1]) for rows in fused]
                self._taken = [[] for _ in fused]
            for rows, drawn, taken in zip(fused, self._drawn, self._taken):
                n_images, n_pixels, _ = rows.shape
                ends = np.searchsorted(drawn, [start * n_pixels, (start + n_images) * n_pixels])
                here = drawn[slice(*ends)] - start * n_pixels
                taken.append(rows.flatten(0, 1)[here].cpu().numpy())
            start += len(few[0])

    def _draw(self, n_pixels):
        """Indices among the pixels of all training images."""
        n_all = self.n_images_ * n_pixels
        n_drawn = min(n_all, _PER_CENTROID * self.n_centroids)
        return np.sort(sample_without_replacement(n_all, n_drawn, random_state=self._random_state))

    def complete(self) -> None:
        """Find the centroids."""
        seed, self.centroids_ = self._random_state.randint(2**31 - 1), []
        for pixels in map(np.concatenate, self._taken):
            if len(pixels) < self.n_centroids:
                raise ValueError(
                    f"{self.owner_}: n_centroids={self.n_centroids} is more than there are pixels "
                    f"in the maps of the {self.n_images_} training images, {len(pixels)}. Ask for "
                    "fewer, or give more images, a larger image_size or earlier layers."
                )
            found, _ = kmeans(pixels, self.n_centroids, random_state=seed, owner=self.owner_)
            self.centroids_.append(found)
        del self._drawn, self._taken, self._random_state


class CoresetPixels(TokenParameters, CoresetParameters, FixedPixels):
    """Gallery of a coreset: pixels of all training images that are far from each other (PatchCore).

    Every other pixel is near one of them. Maps are first averaged over patches. The pixels are
    chosen by greedy k-centres, see :func:`skad.maps.greedy_centers`.

    Attributes
    ----------
    pixels_ : list of ndarray of shape (n_pixels, n_channels)
        The chosen pixels: one array for all layers joined, or one for each layer.
    neighbors_ : list of ndarray of int, shape (n_pixels, n_neighbors)
        For each chosen pixel the indices of the nearest chosen pixels, itself first.
    foregrounds_ : list of Foreground or None
        What separates the object from its background, with `foreground`.

    See Also
    --------
    skad.PatchCore : The detector of the paper.
    skad.maps.CentroidPixels : Means of pixels.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import MapDetector
    >>> from skad.maps import CoresetPixels
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(gallery=CoresetPixels()).fit(tiles[:30])
    >>> detector.gallery_.pixels_[0].shape
    (307, 256)
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
        if self.patch_size % 2 == 0:
            raise ValueError(
                f"{owner}: patch_size must be odd, as a patch has a pixel in its middle; got "
                f"{self.patch_size}."
            )
        self._coresets = self.foregrounds_ = None
        return super().begin(n_images, owner)

    def add(self, start: int, maps: list[Tensor]) -> None:
        """Add pixels; a coreset is chosen whenever there are too many.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """
        for few in _few_at_once(maps):
            fused = self._fused(few)
            if self._coresets is None:
                self._coresets = [
                    self._coreset(pixels_of(one).flatten(0, 1), len(one)) for one in fused
                ]
                if self.foreground is not None:
                    self.foregrounds_ = [Foreground(one) for one in fused]
            rows = [pixels_of(one).flatten(0, 1) for one in fused]
            if self.foregrounds_ is not None:
                rows = [r[mask.flatten()] for r, mask in zip(rows, self._masks(fused))]
            for coreset, some in zip(self._coresets, rows):
                coreset.add(some.float().contiguous())

    def _masks(self, fused):
        """Which pixels of each of the fused maps are of the object in front."""
        return [front.of(one) for front, one in zip(self.foregrounds_, fused)]

    def _pass_over(self, distances, maps):
        if self.foregrounds_ is not None:
            for found, mask in zip(distances, self._masks(self._fused(maps))):
                found[~mask.view(found.shape)] = 0.0

    def _coreset(self, rows, n_images):
        n_all = len(rows) // n_images * self.n_images_
        return Coreset(
            max(1, round(self.coreset_share * n_all)),
            self.memory_limit * 2**20 / (4 * rows.shape[1]),
            self.n_projected,
            self.random_state,
        )

    def complete(self) -> None:
        """Choose the pixels."""
        chosen = [coreset.centers() for coreset in self._coresets]
        self.pixels_ = [rows.cpu().numpy() for rows in chosen]
        self.neighbors_ = [neighbors_among(rows) for rows in chosen]
        del self._coresets

    def _fused(self, maps):
        fused = super()._fused([averaged_patches(one, self.patch_size) for one in maps])
        return [unit_pixels(one) for one in fused] if self.pixel_metric == "cosine" else fused

    def peaks(self, maps: list[Tensor]) -> Tensor:
        r"""Compute the score of images by their farthest pixel, weighted as in PatchCore.

        .. math:: s = \Bigl(1 - \frac{\exp d(x, m)}{\sum_{m' \in N_b(m)} \exp d(x, m')}\Bigr)
            d(x, m)

        Here x is the pixel of the image that is farthest from the coreset, :math:`m` the pixel of
        the coreset nearest to x, and :math:`N_b(m)` the b = 9 pixels of the coreset nearest to m.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.

        Returns
        -------
        peaks : tensor of float32, shape (n,)
            One for each image; the mean over layers if they are not joined.
        """
        import torch

        found = []
        for few in _few_at_once(maps):
            fused = self._fused(few)
            masks = [None] * len(fused) if self.foregrounds_ is None else self._masks(fused)
            parts = zip(fused, self.pixels_, self.neighbors_, masks)
            found.append(sum(peak_of(*part) for part in parts))
        return torch.cat(found) / len(self.pixels_)
