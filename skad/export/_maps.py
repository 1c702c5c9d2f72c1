"""Score maps as operations of a graph: maps of layers to distances over the pixels of an image."""

import torch
from torch import nn

from ..augment._blur import _blurring
from ..maps import GaussianPixels
from ..maps._fixed import FixedPixels
from ..maps._maps import averaged_patches, join, pixels_of, unit_pixels
from ..maps._place_gaussians import LEFT
from ._parts import ExportError, constant
from ._pixels import as_size, half, inner_and_target, size_of


def maps_graph(detector, fitted, owner):
    """The gallery of a map detector as a module.

    Parameters
    ----------
    detector : map detector
        Fitted.
    fitted : FittedNetwork
        On the CPU.
    owner : str
        Named in errors.

    Raises
    ------
    ExportError
        If images are compared with the maps of training images that are retrieved for them; if
        maps are of several scales; if pixels of a background are left out.
    """
    gallery = detector.gallery_
    if len(fitted.views.scales) > 1:
        raise ExportError(
            f"{owner}: maps at several scales, {fitted.views.scales}, have no graph; fit with one."
        )
    if isinstance(gallery, GaussianPixels):
        return GaussianMaps(detector, fitted)
    if not isinstance(gallery, FixedPixels):
        size = f", {gallery.store_.n_bytes / 1e6:.0f} MB" if hasattr(gallery, "store_") else ""
        raise ExportError(
            f"{owner}: the gallery, {type(gallery).__name__}, holds the maps of each training "
            f"image{size}, which is no matter for a graph. Fit with n_centroids (of SPADE), or "
            "gallery=CentroidPixels(), or PatchCore or PaDiM."
        )
    if getattr(gallery, "foregrounds_", None) is not None:
        raise ExportError(
            f"{owner}: foreground={gallery.foreground!r} leaves out pixels, which no graph does. "
            "Fit without."
        )
    return Maps(detector, fitted)


class Maps(nn.Module):
    """Distances of the pixels of layers to those of a gallery, smoothed and laid over the image.

    Parameters
    ----------
    detector : map detector
    fitted : FittedNetwork
    """

    def __init__(self, detector, fitted):
        super().__init__()
        gallery, self.preprocessing = detector.gallery_, fitted.preprocessing
        self.is_joined = gallery.fusion == "joined"
        self._take(gallery)
        size = self.preprocessing.image_size
        sigma = detector._fitted.smoothing * size / 224
        blur = _blurring(torch.tensor([float(sigma)]), size, "cpu")[0] if sigma else torch.eye(size)
        self.register_buffer("blur", blur)

    def _take(self, gallery):
        """Keep what pixels are compared with."""
        self.n_neighbors = gallery.n_neighbor_pixels
        self.patch_size = getattr(gallery, "patch_size", 1)
        self.has_unit_pixels = getattr(gallery, "pixel_metric", None) == "cosine"
        self.n_layers = len(gallery.pixels_)
        for index, rows in enumerate(gallery.pixels_):
            self.register_buffer(f"pixels{index}", constant(rows, torch.float32))
        for index, rows in enumerate(getattr(gallery, "neighbors_", [])):
            self.register_buffer(f"neighbors{index}", constant(rows, torch.int64))

    def forward(self, maps, shape):
        """Score map of each image.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
        shape : tuple of int
            Height and width of the images.

        Returns
        -------
        scores : tensor of float32, shape (n, height, width)
        """
        found = [self._smooth(self._distances(*one)) for one in enumerate(self._fused(maps))]
        squares = sum(found) / -self.n_layers
        height, width = size_of(shape)
        rows, columns = (
            self._laid_over(n, *sides)
            for n, sides in zip(shape, ((height, width), (width, height)))
        )
        return rows @ squares @ columns.T

    def peaks(self, maps):
        """Weighted distance of the farthest pixel of each image, see ``CoresetPixels.peaks``."""
        found = [self._peak(*one) for one in enumerate(self._fused(maps))]
        return sum(found) / self.n_layers

    def _fused(self, maps):
        maps = [averaged_patches(one, self.patch_size) for one in maps]
        maps = [join(maps)] if self.is_joined else maps
        return [unit_pixels(one) for one in maps] if self.has_unit_pixels else maps

    def _peak(self, index, maps):
        gallery, pixels = getattr(self, f"pixels{index}"), pixels_of(maps)
        nearest = (gallery.square().sum(1) - 2.0 * (pixels @ gallery.T)).argmin(2)
        distances = (gallery[nearest] - pixels).square().sum(2).sqrt()
        farthest = distances.argmax(1, keepdim=True)
        around = getattr(self, f"neighbors{index}")[nearest.gather(1, farthest)[:, 0]]
        query = pixels.gather(1, farthest[..., None].expand(-1, -1, pixels.shape[2]))
        apart = (gallery[around] - query).square().sum(2).sqrt()
        largest = distances.gather(1, farthest)[:, 0]
        return largest * (1 - torch.softmax(apart, 1)[:, 0]) if apart.shape[1] > 1 else largest

    def _distances(self, index, maps):
        """Mean distance of each pixel to the nearest of the gallery, (n, height, width)."""
        gallery, pixels = getattr(self, f"pixels{index}"), pixels_of(maps)
        ranks = gallery.square().sum(1) - 2.0 * (pixels @ gallery.T)
        count = min(self.n_neighbors, len(gallery))
        nearest = ranks.topk(count, largest=False).indices
        # Measured again without that detour, on which near rows lose their digits.
        apart = [gallery[nearest[..., k]] - pixels for k in range(count)]
        distances = torch.stack([one.square().sum(2).sqrt() for one in apart]).mean(0)
        return distances.unflatten(1, maps.shape[-2:])

    def _smooth(self, maps):
        size, sides = self.preprocessing.image_size, maps.shape[-2:]
        rows, columns = (self.blur @ _stretching(side, size) for side in sides)
        return rows @ maps @ columns.T

    def _laid_over(self, n_pixels, length, other):
        """What takes what the network saw of a side back to the image, see ``lay_over``.

        Returns
        -------
        weights : tensor of float32, shape (n_pixels, image_size)
        """
        size = self.preprocessing.image_size
        inner, target = inner_and_target(self.preprocessing, length, other)
        places = torch.arange(n_pixels) - half(length - inner)
        places = torch.minimum(places.clamp(min=0), inner - 1)
        wide = _bilinear(places, target, inner, as_size(target))
        if self.preprocessing.resize != "crop":
            return wide
        source = (torch.arange(as_size(target)) - half(target - size)).clamp(0, size - 1)
        return wide @ (source[:, None] == torch.arange(size)).float()


def mean_of_lowest(values, share):
    """Mean of a share of the values of each row, the lowest, in float64.

    Parameters
    ----------
    values : tensor of shape (n, n_values)
    share : float

    Returns
    -------
    means : tensor of shape (n,)
    """
    n_values = size_of(values.shape)[1]
    count = torch.ceil(share * n_values.double())
    lowest = torch.arange(values.shape[1]) < count
    return (values.sort(1).values.double() * lowest).sum(1) / count


class GaussianMaps(Maps):
    """The same by Mahalanobis distances, see ``GaussianPixels``."""

    def _take(self, gallery):
        gaussians = gallery.gaussians_on(torch.device("cpu"))
        self.n_layers, self.count = len(gaussians), gaussians[0].count
        self.tolerances = [one.tolerance for one in gaussians]
        for index, one in enumerate(gaussians):
            for name in ("mean", "whitening", "kept", "center", "pictures"):
                self.register_buffer(f"{name}{index}", getattr(one, name).clone())
        self.dimensions = [torch.from_numpy(drawn) for drawn in gallery.dimensions_]

    def _fused(self, maps):
        chosen = [one.index_select(1, drawn) for one, drawn in zip(maps, self.dimensions)]
        if not self.is_joined:
            return chosen
        finest = max(one.shape[2:].numel() for one in maps)
        return [join([one for one in chosen if one.shape[1] or one.shape[2:].numel() == finest])]

    def _distances(self, index, maps):
        def of(name):
            return getattr(self, f"{name}{index}")

        rows = maps.flatten(2).permute(2, 1, 0) - of("mean")[..., None]
        squared = torch.bmm(of("whitening"), rows).square().sum(1).T
        left = (1 - of("kept") * squared / (self.count - 1)).clamp(min=LEFT)
        alone = self.count / (self.count - 1) * squared / left
        known = self._knows(maps.mean((2, 3)) - of("center"), of("pictures"))
        known = (known <= self.tolerances[index])[:, None]
        return torch.where(known, alone, squared).sqrt().unflatten(1, maps.shape[-2:])

    def _knows(self, rows, pictures):
        """Distance to the nearest training picture, as mean rows."""
        ranks = pictures.square().sum(1) - 2.0 * (rows @ pictures.T)
        return (pictures[ranks.argmin(1)] - rows).square().sum(1).sqrt()


def _stretching(side, size):
    """Bilinear interpolation of a side as a matrix (size, side)."""
    given = (torch.tensor(side), torch.tensor(size))
    return _bilinear(torch.arange(size), *given, side)


def _bilinear(places, length, target, n_columns):
    """Weights of the pixels of a side for places of what it is resized to; antialiased.

    Parameters
    ----------
    places : tensor of int64
    length, target : tensors of int64, shape ()
        Pixels of the side before and after.
    n_columns : int
        `length` as a number.
    """
    scale = length.double() / target.double()
    seen = (places + 0.5).double()[:, None] * scale
    far = (torch.arange(n_columns) + 0.5 - seen).abs() / scale.clamp(min=1)
    weights = (1.0 - far).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).float()
