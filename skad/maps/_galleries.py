"""Galleries of normal pixels, and the distance of other pixels to the nearest of them."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from ..scorers._kmeans import kmeans
from ._maps import join, pixels_of
from ._store import MapStore

# Distances that are looked at together: few enough to stay in the cache of a processor.
_AT_ONCE = 2**20

# Images whose layers are joined together.
_IMAGES_AT_ONCE = 8

# Pixels that k-means sees for each centroid; faiss takes as many where there are more.
_PER_CENTROID = 256


class PixelGallery:
    """Pixels of normal images; subclasses say which, and what of them a new image is held against.

    Parameters
    ----------
    fusion : {"joined", "per_layer"}
        Whether the layers of a pixel are one row or compared apart from each other.
    n_neighbors : int
        Nearest pixels whose distances are averaged.
    """

    # Whether an image is compared with those training images that are retrieved for it.
    retrieves = True

    def __init__(self, fusion, n_neighbors):
        self.fusion, self.n_neighbors = fusion, n_neighbors

    def add(self, start, maps):
        """Take the maps of training images from place `start` on."""
        raise NotImplementedError

    def complete(self):
        """Make ready for queries, as all training images have been taken."""

    def distances(self, maps, places):
        """Distances of the pixels of images to the gallery.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        places : ndarray of int, shape (n, n_retrieved)
            Training images that each image is compared with; None where none are retrieved.

        Returns
        -------
        distances : list of tensors of float32, shape (n, height, width)
            One for all layers, or for each.
        """
        raise NotImplementedError

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


class RetrievedPixels(PixelGallery):
    """All pixels of those training images that are retrieved for an image (SPADE).

    Parameters
    ----------
    fusion, n_neighbors :
        See :class:`PixelGallery`.
    n_images : int
        Training images to come.
    limit : float
        Bytes that their maps may take in memory.
    owner : str
        Named in errors.
    """

    def __init__(self, fusion, n_neighbors, *, n_images, limit, owner):
        super().__init__(fusion, n_neighbors)
        self.n_images, self.limit, self.owner = n_images, limit, owner
        self.store = None

    def add(self, start, maps):
        """Keep the maps."""
        self._keep(start, maps)

    def _keep(self, start, maps):
        if self.store is None:
            shapes = [tuple(one.shape[1:]) for one in maps]
            self.store = MapStore(shapes, self.n_images, self.limit, self.owner)
        self.store.write(start, maps)

    def distances(self, maps, places):
        """Distances to the pixels of the images at `places`."""
        import torch

        found = []
        for alone, retrieved in zip(_few_at_once(maps, 1), places):
            fused = self._fused(alone)
            nearest = [Nearest(pixels_of(one)[0], self.n_neighbors) for one in fused]
            for gallery in self._galleries(retrieved, len(nearest[0].queries), maps[0].device):
                for search, rows in zip(nearest, gallery):
                    search.among(rows)
            found.append([n.mean().view(one[:, 0].shape) for n, one in zip(nearest, fused)])
        return [torch.cat(parts) for parts in zip(*found)]

    def _galleries(self, retrieved, n_queries, device):
        """Pixels of a few images at a time, as rows for each fused layer."""
        import torch

        n_pixels = max(height * width for _, height, width in self.store.shapes)
        step = max(1, _AT_ONCE // (n_pixels * n_queries))
        for first in range(0, len(retrieved), step):
            some = [self.store.read(place) for place in retrieved[first : first + step]]
            maps = [torch.cat(layer).to(device) for layer in zip(*some)]
            yield [pixels_of(one).flatten(0, 1) for one in self._stored(maps)]

    def _stored(self, maps):
        """Maps from the store, as they are compared."""
        return self._fused(maps)


class RetrievedCentroids(RetrievedPixels):
    """Centroids of the pixels of each training image; those of the images that are retrieved.

    Parameters
    ----------
    fusion, n_neighbors, n_images, limit, owner :
        See :class:`RetrievedPixels`.
    n_centroids : int
        Of k-means, for each image.
    random_state : int, RandomState instance or None
    """

    def __init__(self, fusion, n_neighbors, *, n_centroids, random_state, **parameters):
        super().__init__(fusion, n_neighbors, **parameters)
        self.n_centroids = n_centroids
        self._seed = check_random_state(random_state).randint(2**31 - 1)

    def add(self, start, maps):
        """Keep the centroids, as maps one pixel wide."""
        import torch

        for alone in _few_at_once(maps, 1):
            rows = [self._centroids(pixels_of(one)[0].cpu().numpy()) for one in self._fused(alone)]
            self._keep(start, [torch.from_numpy(some.T[None, ..., None]) for some in rows])
            start += 1

    def _centroids(self, pixels):
        """So many rows as `n_centroids`; one again and again where pixels are too much alike."""
        n_clusters = min(self.n_centroids, len(pixels))
        centers, _ = kmeans(pixels, n_clusters, random_state=self._seed, owner=self.owner)
        return centers[np.minimum(np.arange(self.n_centroids), len(centers) - 1)]

    def _stored(self, maps):
        return maps


class CentroidPixels(PixelGallery):
    """Centroids of the pixels of all training images, the same for every image (PANDA).

    Parameters
    ----------
    fusion, n_neighbors :
        See :class:`PixelGallery`.
    n_centroids : int
        Of k-means, which sees 256 pixels for each, drawn from all.
    n_images : int
        Training images to come.
    random_state : int, RandomState instance or None
    owner : str
        Named in errors.
    """

    retrieves = False

    def __init__(self, fusion, n_neighbors, *, n_centroids, n_images, random_state, owner):
        super().__init__(fusion, n_neighbors)
        self.n_centroids, self.n_images, self.owner = n_centroids, n_images, owner
        self._random_state = check_random_state(random_state)
        self._drawn = self._taken = None

    def add(self, start, maps):
        """Take those pixels that were drawn."""
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
        """Places among the pixels of all training images."""
        n_all = self.n_images * n_pixels
        n_drawn = min(n_all, _PER_CENTROID * self.n_centroids)
        return np.sort(sample_without_replacement(n_all, n_drawn, random_state=self._random_state))

    def complete(self):
        """Find the centroids."""
        seed, self.centroids = self._random_state.randint(2**31 - 1), []
        for pixels in map(np.concatenate, self._taken):
            if len(pixels) < self.n_centroids:
                raise ValueError(
                    f"{self.owner}: n_centroids={self.n_centroids} is more than there are pixels "
                    f"in the maps of the {self.n_images} training images, {len(pixels)}. Ask for "
                    "fewer, or give more images, a larger image_size or earlier layers."
                )
            found, _ = kmeans(pixels, self.n_centroids, random_state=seed, owner=self.owner)
            self.centroids.append(found)
        del self._drawn, self._taken, self._random_state

    def distances(self, maps, places):
        """Distances to the centroids."""
        import torch

        device, found = maps[0].device, []
        centroids = [torch.from_numpy(rows).float().to(device) for rows in self.centroids]
        for few in _few_at_once(maps):
            parts = []
            for one, gallery in zip(self._fused(few), centroids):
                search = Nearest(pixels_of(one).flatten(0, 1), self.n_neighbors)
                search.among(gallery)
                parts.append(search.mean().view(one[:, 0].shape))
            found.append(parts)
        return [torch.cat(parts) for parts in zip(*found)]


class Nearest:
    """Distances of rows to the nearest of a gallery that comes in parts.

    Parameters
    ----------
    queries : tensor of shape (n_queries, n_features)
    n_neighbors : int
    """

    def __init__(self, queries, n_neighbors):
        self.queries, self.n_neighbors = queries, n_neighbors
        self._found = queries.new_empty((len(queries), 0))

    def among(self, gallery):
        """Search one part of the gallery, a tensor of shape (n_rows, n_features)."""
        import torch

        count = min(self.n_neighbors, len(gallery))
        # |g - q|^2 - |q|^2, which ranks as the distance does.
        offsets = gallery.square().sum(dim=1)[None]
        found = []
        for some in self.queries.split(max(1, _AT_ONCE // len(gallery))):
            ranks = torch.addmm(offsets, some, gallery.T, alpha=-2)
            places = (
                ranks.topk(count, largest=False).indices if count > 1 else ranks.argmin(1, True)
            )
            # Measured again without that detour, on which near rows lose their digits.
            chosen = gallery.index_select(0, places.flatten()).view(*places.shape, -1)
            found.append(chosen.sub_(some[:, None]).square_().sum(dim=2).sqrt_())
        self._found = torch.cat([self._found, torch.cat(found)], dim=1)
        if self._found.shape[1] > self.n_neighbors:
            self._found = self._found.topk(self.n_neighbors, largest=False).values

    def mean(self):
        """Mean distance to the nearest rows, shape (n_queries,)."""
        return self._found.mean(dim=1)
