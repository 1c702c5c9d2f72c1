"""Big pictures: what a network sees of them at once, and one map of what it gave."""

import numpy as np


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
        parts = maps.unflatten(0, (-1, self.n_tiles)).unbind(1)
        # Not by len(), which in a graph would be the number of images that it was traced with.
        whole = maps.new_zeros((*parts[0].shape[:2], *(self.image_size // stride,) * 2))
        for part, (rows, columns, weights) in zip(parts, self._shares(stride)):
            whole[..., rows, columns] += part * torch.from_numpy(weights).to(maps)
        return whole

    def _shares(self, stride):
        """Where each tile lies in a map, and its share of every pixel there."""
        ramps = [self._ramp(index, stride) for index in range(len(self.starts))]
        starts = [start // stride for start in self.starts]
        spans = [slice(start, start + len(ramps[0])) for start in starts]
        total = np.zeros(self.image_size // stride)
        for span, ramp in zip(spans, ramps):
            total[span] += ramp
        sides = [(span, ramp / total[span]) for span, ramp in zip(spans, ramps)]
        for rows, down in sides:
            for columns, across in sides:
                yield rows, columns, np.outer(down, across).astype(np.float32)

    def _ramp(self, index, stride):
        """Weight of each pixel of a side of a tile; edges of the picture are none of the tile."""
        places = (np.arange(self.size // stride) + 0.5) * stride
        ramp = np.ones(len(places))
        sides = (places, index > 0), (self.size - places, index < len(self.starts) - 1)
        for far, is_inner in sides:
            if is_inner and self.overlap:
                ramp *= np.clip((far / self.overlap - 0.25) / 0.5, 1e-6, 1)
        return ramp
