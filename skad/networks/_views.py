"""Views: how a network looks at pictures, whole or in tiles, at one scale or at several."""

from math import ceil
from numbers import Integral, Real

from ._passes import few_at_once
from ._tiling import Tiling


class Views:
    """What a network sees of pictures, one view for each scale.

    Parameters
    ----------
    network : torch.nn.Module
    image_size : int
        Side of prepared pictures.
    tiles : tuple of int, optional
        Size of the squares that the network sees, and their overlap; by default all at once.
    scales : tuple of float
        Shares of `image_size` to which pictures are reduced.

    Raises
    ------
    ValueError
        If pictures can't be cut, or reduced, in this way.
    """

    def __init__(self, network, image_size, tiles=None, scales=(1.0,)):
        grid = grid_of(network)
        self.tiles = None if tiles is None else _checked_tiles(tiles, image_size, grid)
        self.image_size, self.scales = image_size, _checked_scales(scales)
        self.sizes = [_size(scale, image_size, grid) for scale in self.scales]
        # A picture that is no larger than a tile is seen whole.
        self.tilings = [
            Tiling(size, *self.tiles, grid) if self.tiles and size > self.tiles[0] else None
            for size in self.sizes
        ]

    @property
    def seen_size(self):
        """Side of what the network sees at once in the first view."""
        return self.sizes[0] if self.tilings[0] is None else self.tiles[0]

    @property
    def n_tiles(self):
        """Tiles of a picture in the first view."""
        return 1 if self.tilings[0] is None else self.tilings[0].n_tiles

    def names(self, layers):
        """Names of the maps that `all` gives of layers: those at smaller scales tell theirs."""
        later = [f"{name}@{scale:g}" for scale in self.scales[1:] for name in layers]
        return [*layers, *later]

    def first(self, images, forward):
        """What a network gives in the first view; see `all`."""
        return self._look(images, forward, self.sizes[0], self.tilings[0])

    def all(self, images, forward):
        """What a network gives in all views.

        Parameters
        ----------
        images : tensor of shape (n, channels, image_size, image_size)
        forward : callable
            Takes what is seen, gives features, (n, n_features) or None, and a list of maps.

        Returns
        -------
        features : tensor of shape (n, n_features), or None
            Of the first view.
        maps : list of tensors of shape (n, channels, height, width)
            Of all layers in the first view, then in the others.
        """
        found = [self._look(images, forward, *view) for view in zip(self.sizes, self.tilings)]
        return found[0][0], [one for _, maps in found for one in maps]

    def _look(self, images, forward, size, tiling):
        import torch

        if size != self.image_size:
            images = _reduced(images, size)
        if tiling is None:
            return forward(images)
        found = [forward(part) for part in few_at_once(tiling.cut(images), are_tiles=True)]
        features, maps = zip(*found)
        features = None if features[0] is None else tiling.pooled(torch.cat(features))
        return features, [tiling.blend(torch.cat(parts)) for parts in zip(*maps)]


def _reduced(images, size):
    import torch.nn.functional as F

    return F.interpolate(
        images.float(), (size, size), mode="bilinear", align_corners=False, antialias=True
    ).to(images)


def grid_of(network):
    """Coarsest step of the maps of a network in pixels: the side of a patch, or its last stride.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    step : int
        32 for networks that do not tell.
    """
    patches = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    info = getattr(network, "feature_info", None)
    steps = [stage.get("reduction", 1) for stage in getattr(info, "info", info) or []]
    steps += list(patches) if isinstance(patches, tuple) else []
    return ceil(max(steps)) if steps else 32


def _checked_tiles(tiles, image_size, grid):
    """Size and overlap as whole numbers."""
    try:
        size, overlap = tiles
    except (TypeError, ValueError):
        size = overlap = None
    if not all(isinstance(value, Integral) for value in (size, overlap)):
        raise ValueError(f"tiles must be a pair of whole numbers, (size, overlap); got {tiles!r}.")
    if size > image_size:
        raise ValueError(
            f"tiles={tiles}: tiles are cut out of pictures that are image_size={image_size} pixels "
            f"wide, which is less than {size}. Give a larger image_size, or smaller tiles."
        )
    for name, value in (("the size of tiles", size), ("image_size", image_size)):
        if value % grid or value < grid:
            raise ValueError(
                f"tiles={tiles}: {name} must be a multiple of {grid}, the coarsest step of the "
                f"network's maps; got {value}. The nearest is {max(1, round(value / grid)) * grid}."
            )
    if not 0 <= overlap <= size - grid:
        raise ValueError(
            f"tiles={tiles}: the overlap must be at least 0 and at most {size - grid}, as tiles of "
            f"{size} pixels go on by {grid} at the least, the coarsest step of the network's maps."
        )
    return int(size), int(overlap)


def _checked_scales(scales):
    try:
        values = tuple(scales)
    except TypeError:
        values = ()
    if not values or not all(isinstance(v, Real) and 0 < v <= 1 for v in values):
        raise ValueError(
            f"scales must be one or more shares of image_size, above 0 and at most 1; got "
            f"{scales!r}."
        )
    return tuple(map(float, values))


def _size(scale, image_size, grid):
    """Side of pictures at a scale, on the grid."""
    return image_size if scale == 1 else max(1, round(scale * image_size / grid)) * grid
