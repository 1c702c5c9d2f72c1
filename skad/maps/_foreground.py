"""The object in front: pixels told from the background by the first principal component."""

import numpy as np

from ._maps import pixels_of

# Share of a picture's pixels below which nothing is taken for its foreground.
_LEAST = 0.01

# Values among which the threshold is looked for.
_N_THRESHOLDS = 128


class Foreground:
    """What tells the pixels of an object from those of the background, learned of a few pictures.

    Features of vision transformers differ most between object and background, so that their first
    principal component is a map of the object (Oquab et al. 2023). The threshold on it is Otsu's.
    The object is on the side on which more of the middle of the pictures lies than of their edge.

    Parameters
    ----------
    maps : tensor of shape (n, channels, height, width)
        Of training pictures.
    """

    def __init__(self, maps):
        height, width = maps.shape[-2:]
        rows = pixels_of(maps).flatten(0, 1).cpu().numpy().astype(np.float64)
        self.mean = rows.mean(0)
        _, axes = np.linalg.eigh((rows - self.mean).T @ (rows - self.mean))
        self.axis = axes[:, -1]
        values = (rows - self.mean) @ self.axis
        self.threshold = _otsu(values)
        high = (values > self.threshold).reshape(len(maps), height, width)
        middle = high[:, height // 4 : height - height // 4, width // 4 : width - width // 4]
        self.is_high = bool(middle.mean() >= high.mean())

    def of(self, maps):
        """Which pixels are of the object; all, where next to none are.

        Parameters
        ----------
        maps : tensor of shape (n, channels, height, width)

        Returns
        -------
        mask : tensor of bool, shape (n, height * width)
        """
        import torch

        mean, axis = (torch.from_numpy(v).float().to(maps.device) for v in (self.mean, self.axis))
        values = (pixels_of(maps) - mean) @ axis
        mask = (values > self.threshold) == self.is_high
        few = mask.float().mean(1, keepdim=True) < _LEAST
        return mask | few


def _otsu(values):
    """Threshold between two classes whose means are the farthest apart (Otsu 1979).

    Parameters
    ----------
    values : ndarray of shape (n_values,)

    Returns
    -------
    threshold : float
    """
    counts, edges = np.histogram(values, bins=_N_THRESHOLDS)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centers)
    means = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (means[0] - means[1]) ** 2.0
    return float(edges[1:-1][between.argmax()])
