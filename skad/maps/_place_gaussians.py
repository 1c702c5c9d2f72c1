"""A Gaussian at each of many places, and how far rows are from their means."""

import numpy as np
import torch

from .._rows import same_within
from ._nearest import Nearest

# Least variance of every direction: of the mean over all places, so that where training pictures
# hardly differ (a black margin) a trace of dust is not the worst of all defects; and of the trace
# of a scatter matrix, whose digits end there.
_FLOOR, _ROUNDING = 1e-2, 1e-6

# Values of matrices that are inverted together.
_AT_ONCE = 2**22

# Least share of a variance that is left without a picture, for what rounding makes of it.
LEFT = 1e-5


class PlaceGaussians:
    r"""Means and covariances at places, as matrices by which Mahalanobis distances are lengths.

    The covariance of a place is :math:`(1 - a) S / n + r I`, with the scatter S of n pictures.
    Without one of these, whose row is y from the mean, with the same a, and r n / (n - 1) in the
    place of r, the squared distance :math:`q = y^T \Sigma^{-1} y` of that picture becomes

    .. math:: \frac{n}{n - 1} \, \frac{q}{1 - (1 - a) q / (n - 1)},

    since what goes is of rank one (Sherman and Morrison). So a training picture, known by its mean
    row, is compared with the others alone.

    Parameters
    ----------
    moments : PlaceMoments
        On the CPU.
    pictures : tensor of shape (n_pictures, n_features)
        Mean row of each training picture.
    regularization : "ledoit_wolf" or float
    owner : str
        Named in errors.

    Attributes
    ----------
    count : int
    mean : tensor of shape (n_places, n_features)
    whitening : tensor of shape (n_places, n_features, n_features)
        Lower triangular W of :math:`\Sigma^{-1} = W^T W`.
    kept : tensor of shape (n_places,)
        1 - a.
    center, pictures : tensors
        Mean of the mean rows, and these rows about it.
    tolerance : float
        Distance within which mean rows are of one picture.
    """

    def __init__(self, moments, pictures, regularization, owner):
        self.count, self.mean = moments.count, moments.mean
        self.center = pictures.mean(0)
        self.pictures = pictures - self.center
        length = float(pictures.square().sum(1).mean().sqrt())
        self.tolerance = same_within(np.float32) * length
        rest = self._shrunken(moments, regularization, owner)
        self.whitening = _whitening(moments.scatter, self.kept / self.count, rest)

    def _shrunken(self, moments, regularization, owner):
        """Variance that is added in all directions; sets the share of the covariance `kept`."""
        n_features, least = self.mean.shape[1], _ROUNDING * moments.spread / self.count
        if regularization != "ledoit_wolf":
            self.kept = torch.ones_like(least)
            return least.clamp(min=regularization)
        variances = moments.spread / (self.count * n_features)
        size = float(self.mean.square().mean())
        if float(variances.mean()) <= same_within(np.float32) ** 2 * size:
            raise ValueError(
                f"{owner}: no two of the {self.count} training images differ, so there is no "
                "covariance. Give images that differ, or a number as regularization."
            )
        share = moments.ledoit_wolf()
        self.kept = 1 - share
        return torch.maximum(share * variances, least).clamp(min=_FLOOR * float(variances.mean()))

    def to(self, device):
        """The same on a device."""
        other = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(other, name, value.to(device) if isinstance(value, torch.Tensor) else value)
        return other

    def distances(self, maps, n_together):
        """Mahalanobis distance at each place.

        Parameters
        ----------
        maps : tensor of float32, shape (n, n_features, height, width)
        n_together : int
            At least n. Products are of so many columns for any n, as torch adds up in another order
            for a few, and the last bits of an image would depend on its company.

        Returns
        -------
        distances : tensor of shape (n, height, width)
        """
        rows = maps.flatten(2).permute(2, 1, 0) - self.mean[..., None]
        rows = torch.nn.functional.pad(rows, (0, n_together - len(maps))).contiguous()
        squared = torch.bmm(self.whitening, rows).square().sum(1).T[: len(maps)]
        known = self.knows(maps.mean((2, 3)))
        squared[known] = self.without_itself(squared[known])
        return squared.sqrt().unflatten(1, maps.shape[2:])

    def without_itself(self, squared):
        """Squared distances of training pictures, (n, n_places), to the Gaussians of the others."""
        left = 1 - self.kept * squared / (self.count - 1)
        return self.count / (self.count - 1) * squared / left.clamp(min=LEFT)

    def knows(self, rows):
        """Whether mean rows of pictures, (n, n_features), are those of training pictures."""
        nearest = Nearest(rows - self.center, 1)
        nearest.among(self.pictures)
        return nearest.mean() <= self.tolerance


def _whitening(scatter, weights, rest):
    """Inverse Cholesky factors of weights * scatter + rest * I, by float64."""
    found, n_features = torch.empty_like(scatter), scatter.shape[1]
    identity = torch.eye(n_features, dtype=torch.float64)
    step = max(1, _AT_ONCE // n_features**2)
    for first in range(0, len(scatter), step):
        here = slice(first, first + step)
        some = scatter[here].double() * weights[here, None, None]
        some.diagonal(dim1=1, dim2=2).add_(rest[here, None])
        factors = torch.linalg.cholesky(some)
        found[here] = torch.linalg.solve_triangular(factors, identity, upper=False).float()
    return found
