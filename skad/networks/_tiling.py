"""Big pictures: what a network sees of them at once, and one map of what it gave."""


class Tiling:
    """Squares of a picture that overlap, and their maps blended into one.

    The squares lie on a grid on which the maps of all layers have a pixel, so that a pixel of the
    whole map is the mean of pixels of tiles at the same place. Where two tiles overlap, the quarter
    of the overlap that is next to a tile's edge counts nothing, as the network did not see what is
    beyond; in the half between, one goes over into the other.

    Parameters
    ----------
    image_size : int
        Side of the picture.
    size, overlap : int
        Side of a tile, and by how much two that are next to each other overlap at the least.
    grid : int
        What `image_size` and `size` are multiples of.
    """

    def __init__(self, image_size, size, overlap, grid):
        self.image_size, self.size, self.overlap = image_size, size, overlap
        step = (size - overlap) // grid * grid
        self.starts = [*range(0, image_size - size, step), image_size - size]

    @property
    def n_tiles(self):
        """Tiles of a picture."""
        return len(self.starts) ** 2

    def cut(self, images):
        """Tiles of pictures, one after another.

        Parameters
        ----------
        images : tensor of shape (n, channels, image_size, image_size)

        Returns
        -------
        tiles : tensor of shape (n * n_tiles, channels, size, size)
        """
        import torch

        size = self.size
        tiles = [
            images[..., top : top + size, left : left + size]
            for top in self.starts
            for left in self.starts
        ]
        return torch.stack(tiles, 1).flatten(0, 1)

    def pooled(self, features):
        """Features of pictures: the means of those of their tiles.

        Parameters
        ----------
        features : tensor of shape (n * n_tiles, n_features)

        Returns
        -------
        features : tensor of shape (n, n_features)
        """
        return features.unflatten(0, (-1, self.n_tiles)).mean(1)

    def blend(self, maps):
        """Maps of pictures from those of their tiles.

        Parameters
        ----------
        maps : tensor of shape (n * n_tiles, channels, side, side)

        Returns
        -------
        maps : tensor of shape (n, channels, height, width)
        """
        import torch

        side = maps.shape[-1]
        if self.size % side or maps.shape[-2] != side:
            raise ValueError(
                f"tiles: of tiles of {self.size} pixels a layer has maps of {maps.shape[-2]} x "
                f"{side}, which do not fit together; give a size that is a multiple of its stride."
            )
        stride = self.size // side
        whole = maps.new_zeros((len(maps) // self.n_tiles, maps.shape[1], *self._sides(stride)))
        weights = torch.zeros_like(whole[:1, :1])
        parts = maps.unflatten(0, (-1, self.n_tiles)).unbind(1)
        ramps = [self._ramp(index, stride).to(maps) for index in range(len(self.starts))]
        places = [(i, j) for i in range(len(self.starts)) for j in range(len(self.starts))]
        for part, (i, j) in zip(parts, places):
            top, left = self.starts[i] // stride, self.starts[j] // stride
            here = (..., slice(top, top + side), slice(left, left + side))
            weight = ramps[i][:, None] * ramps[j]
            whole[here] += part * weight
            weights[here] += weight
        return whole / weights

    def _sides(self, stride):
        return (self.image_size // stride,) * 2

    def _ramp(self, index, stride):
        """Weight of each pixel of a side of a tile; edges of the picture are none of the tile."""
        import torch

        places = (torch.arange(self.size // stride) + 0.5) * stride
        ramp = torch.ones(len(places))
        for side, inner in (
            (places, index > 0),
            (self.size - places, index < len(self.starts) - 1),
        ):
            if inner and self.overlap:
                ramp = ramp * ((side / self.overlap - 0.25) / 0.5).clamp(1e-6, 1)
        return ramp
