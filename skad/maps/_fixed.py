"""Galleries of the same pixels for every image."""

from typing import Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from .._parameters import POSITIVE, RandomStateParameters, changed
from .._types import Tensor
from ..scorers._kmeans import kmeans
from ._coreset import Coreset
from ._foreground import Foreground
from ._galleries import BaseGallery, few_at_once
from ._maps import averaged_patches, pixels_of, unit_pixels
from ._nearest import Nearest, neighbors_among, peak_of
from ._parameters import (
    CoresetParameters,
    GalleryParameters,
    PixelCentroidParameters,
    TokenParameters,
)

# Pixels that k-means sees for each centroid; faiss takes as many where there are more.
_PER_CENTROID = 256


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
        for few in few_at_once(maps):
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
        for few in few_at_once(maps):
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
        for few in few_at_once(maps):
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
        for few in few_at_once(maps):
            fused = self._fused(few)
            masks = [None] * len(fused) if self.foregrounds_ is None else self._masks(fused)
            parts = zip(fused, self.pixels_, self.neighbors_, masks)
            found.append(sum(peak_of(*part) for part in parts))
        return torch.cat(found) / len(self.pixels_)
