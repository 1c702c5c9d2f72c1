"""A covariance matrix as its eigenvectors, shrunken or truncated; d x d only where n > d."""

from numbers import Integral

import numpy as np

from .._rows import nonzero
from ._blocks import blockwise

# A centre so many standard deviations from the origin may be subtracted after the projection, which
# is quicker and costs no more than four of sixteen digits.
_NEAR = 1e4


class Covariance:
    """Variances along orthonormal directions, and one variance for all that is orthogonal to them.

    Parameters
    ----------
    directions : ndarray of shape (n_features, n_directions)
        Orthonormal columns.
    variances : ndarray of shape (n_directions,)
        Positive.
    rest : float
        Variance of every direction orthogonal to these; 0 where what lies there is left out.
    shrinkage : float
        Share of the mean variance that is mixed in.
    """

    def __init__(self, directions, variances, rest, shrinkage):
        self.directions = np.ascontiguousarray(directions)
        self.variances, self.rest, self.shrinkage = variances, rest, shrinkage
        if not self._has_rest:
            self._projection = self.directions / np.sqrt(variances)

    @classmethod
    def estimate(cls, moments, *, shrinkage, n_components, owner):
        """Covariance of rows about the means of their groups.

        Parameters
        ----------
        moments : list of Moments
            One entry a group.
        shrinkage : "ledoit_wolf" or float in [0, 1]
            Share of the mean variance that is mixed in, for all directions alike.
        n_components : int, float or None
            Number of directions kept, or share of the variance that they hold; None for all.
        owner : str
            Named in errors.

        Returns
        -------
        covariance : Covariance
        """
        n_rows, n_features = sum(m.count for m in moments), len(moments[0].mean)
        directions, variances = _principal(moments, n_rows, n_features)
        if not len(variances):
            raise ValueError(
                f"{owner}: no two training rows of a group differ (n_samples = {n_rows}, "
                f"n_features = {n_features}), so there is no covariance. Give rows that differ."
            )
        if shrinkage == "ledoit_wolf":
            quartic = sum(m.quartic for m in moments) / n_rows
            shrinkage = _ledoit_wolf(variances, quartic, n_rows, n_features)
            if shrinkage == 0 and len(variances) < n_features:
                shrinkage = _oracle_approximating(variances, n_rows, n_features)
        rest = shrinkage * variances.sum() / n_features
        if n_components is not None:
            kept = _n_kept(variances, n_components)
            directions, variances = directions[:, :kept], variances[:kept]
            return cls(directions, (1.0 - shrinkage) * variances + rest, 0.0, shrinkage)
        if rest == 0 and len(variances) < n_features:
            raise ValueError(
                f"{owner}: the covariance of {n_rows} rows is singular, of rank {len(variances)} "
                f"in {n_features} dimensions. Shrink it (shrinkage='ledoit_wolf' or a number above "
                "0), truncate it (n_components), or give more rows."
            )
        return cls(directions, (1.0 - shrinkage) * variances + rest, rest, shrinkage)

    def extended(self, vector):
        """The same covariance, with the part of a vector that is orthogonal as one more direction.

        Without shrinkage that part is left out as before.
        """
        remainder = vector - self.directions @ (self.directions.T @ vector)
        remainder -= self.directions @ (self.directions.T @ remainder)
        length = np.linalg.norm(remainder)
        if not self._has_rest or length <= 1e-12 * np.linalg.norm(vector):
            return self
        directions = np.column_stack([self.directions, remainder / length])
        variances = np.append(self.variances, self.rest)
        return type(self)(directions, variances, self.rest, self.shrinkage)

    @property
    def _has_rest(self):
        return self.rest > 0 and self.directions.shape[1] < len(self.directions)

    @property
    def n_coordinates(self):
        """Number of columns that `whiten` gives."""
        return len(self.variances) + self._has_rest

    @property
    def log_determinant(self):
        """Logarithm of the determinant, in the space that is not left out."""
        n_rest = len(self.directions) - len(self.variances) if self._has_rest else 0
        return float(np.log(self.variances).sum() + (n_rest and n_rest * np.log(self.rest)))

    @property
    def n_dimensions(self):
        """Dimensions of the space that is not left out."""
        return len(self.directions) if self._has_rest else len(self.variances)

    def whiten(self, X, center):
        """Coordinates in which the covariance is the identity.

        The last one, where the directions do not span the space, is the length of the remainder:
        enough for lengths, and for distances and angles to rows that have no remainder.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        center : ndarray of shape (n_features,) or float

        Returns
        -------
        coordinates : ndarray of float64, shape (n_samples, n_coordinates)
        """
        return blockwise(lambda part: self._whiten(part, center), X, X.shape[1])

    def _whiten(self, X, center):
        if not self._has_rest:
            shift = _product(np.broadcast_to(center, (1, X.shape[1])), self._projection)
            if np.linalg.norm(shift) <= _NEAR:
                rows = _product(X.astype(np.float64, copy=False), self._projection)
                rows -= shift
                return rows
            return _product(np.subtract(X, center, dtype=np.float64), self._projection)
        rows = np.subtract(X, center, dtype=np.float64)
        coordinates = _product(rows, self.directions)
        rows -= _product(coordinates, self.directions.T)
        remainder = np.linalg.norm(rows, axis=1) / np.sqrt(self.rest)
        return np.column_stack([coordinates / np.sqrt(self.variances), remainder])

    def squared_lengths(self, X, center):
        """Squared Mahalanobis distance of each row to `center`, shape (n_samples,)."""

        def lengths(part):
            whitened = self._whiten(part, center)
            return np.einsum("nd,nd->n", whitened, whitened)

        return blockwise(lengths, X, X.shape[1])

    def left_out(self, squared, n_rows):
        r"""Squared lengths of the rows behind the estimate, each left out of mean and covariance.

        By Sherman and Morrison's formula, with :math:`m^2` as of all n rows and shrinkage
        :math:`\lambda`,

        .. math:: \frac{n}{n - 1} \, \frac{m^2}{1 - (1 - \lambda)\, m^2 / (n - 1)},

        which is exact but for :math:`\lambda` and the mean variance, which hold all rows.

        Parameters
        ----------
        squared : ndarray of float64, shape (n_rows,)
            What `squared_lengths` gives for the rows and their mean. None of the directions may
            have been dropped.
        n_rows : int
            At least 2.

        Returns
        -------
        squared : ndarray of float64, shape (n_rows,)
        """
        return squared * (n_rows / (n_rows - 1)) / self._left(squared, n_rows)

    def share_of_one(self, n_rows):
        """Share of itself that each row of the estimate has in it, for a squared length of one."""
        shrinkage = getattr(self, "shrinkage", None)
        if shrinkage is None:  # in earlier pickles
            n_features, n_directions = self.directions.shape
            trace = self.variances.sum() + (n_features - n_directions) * self.rest
            shrinkage = self.rest * n_features / trace
        return (1.0 - shrinkage) / (n_rows - 1)

    def _left(self, squared, n_rows):
        """What the other rows hold of the variance along each row."""
        # Nothing is left of a direction that is one row's alone.
        return np.maximum(1.0 - self.share_of_one(n_rows) * squared, np.finfo(np.float64).eps)

    def without(self, whitened, centered, n_rows):
        r"""Whitened vectors, whitened instead by the covariance of all rows but one.

        By the formula of :meth:`left_out`, vectors are stretched along that row,

        .. math:: v + \Bigl(\bigl(1 - (1 - \lambda)\, m^2 / (n - 1)\bigr)^{-1/2} - 1\Bigr)
            \frac{u^T v}{m^2}\, u, \qquad m^2 = u^T u,

        and by :math:`\sqrt{(n - 1) / n}` altogether.

        Parameters
        ----------
        whitened : ndarray of float64, shape (n, n_vectors, n_coordinates)
            For each of n rows that are left out, vectors to whiten anew.
        centered : ndarray of float64, shape (n, n_coordinates)
            These rows less the mean, whitened.
        n_rows : int
            Of the estimate, at least 2.

        Returns
        -------
        whitened : ndarray of float64, shape (n, n_vectors, n_coordinates)
        """
        squared = np.einsum("nd,nd->n", centered, centered)
        stretch = (1.0 / np.sqrt(self._left(squared, n_rows)) - 1.0) / nonzero(squared)
        along = np.einsum("nkd,nd->nk", whitened, centered) * stretch[:, None]
        moved = whitened + along[:, :, None] * centered[:, None]
        return np.sqrt((n_rows - 1) / n_rows) * moved


def _principal(moments, n_rows, n_features):
    """Directions of variance, largest first, and the variances; those without are left out."""
    from scipy import linalg

    epsilon = np.finfo(np.float64).eps
    if n_rows <= n_features:
        rows = np.concatenate([m.rows for m in moments])
        _, singular, transposed = linalg.svd(rows, full_matrices=False)
        directions, variances = transposed.T, singular**2 / n_rows
        smallest = n_features * epsilon * variances[0]
    else:
        variances, directions = linalg.eigh(sum(m.scatter for m in moments) / n_rows)
        variances, directions = variances[::-1], directions[:, ::-1]
        smallest = 4 * n_features * epsilon * max(variances[0], 0.0)
    # Rows that are equal but for the rounding of their mean have no variance either.
    size = max(np.abs(m.mean).max() for m in moments)
    kept = variances > max(smallest, (epsilon * size) ** 2 * n_features)
    return directions[:, kept], variances[kept]


def _ledoit_wolf(variances, quartic, n_rows, n_features):
    """Shrinkage of Ledoit and Wolf (2004) from eigenvalues and the mean fourth power of lengths."""
    squares = np.square(variances).sum()
    mean = variances.sum() / n_features
    distance = (squares - n_features * mean**2) / n_features
    noise = (quartic - squares) / (n_rows * n_features)
    if noise <= 1e-12 * distance or distance <= 0:
        return 0.0  # but for rounding: with two rows, say, which lie on one line
    return float(min(noise / distance, 1.0))


def _oracle_approximating(variances, n_rows, n_features):
    """Shrinkage of Chen, Wiesel, Eldar and Hero (2010), which is never 0."""
    squares, square = np.square(variances).sum(), variances.sum() ** 2
    noise = (1 - 2 / n_features) * squares + square
    distance = (n_rows + 1 - 2 / n_features) * (squares - square / n_features)
    return float(min(noise / distance, 1.0))


def _n_kept(variances, n_components):
    """How many of the directions to keep."""
    if isinstance(n_components, Integral):
        return min(int(n_components), len(variances))
    held = np.cumsum(variances) / variances.sum()
    return int(np.searchsorted(held, n_components * (1 - 1e-12)) + 1)


def _product(rows, matrix):
    """Matrix product in which a row's bits depend neither on the other rows nor on threads.

    Those of BLAS do, which takes one row, or those at the end, by other kernels.
    """
    return np.einsum("nd,dk->nk", rows, matrix)
