"""Moments of rows that come in batches: all that a shrunken covariance needs."""

from dataclasses import dataclass, replace

import numpy as np

from ._blocks import blocks

# Fourth powers of larger values would leave float64.
_LARGEST = 1e75


@dataclass(frozen=True)
class Moments:
    """Sums over rows y = x - reference; those of several batches add up.

    Taken about a point near the rows, so that nothing cancels. Up to as many rows as features are
    kept themselves; beyond, their scatter matrix is no larger than they are.
    """

    count: int
    reference: np.ndarray  # (d,)
    first: np.ndarray  # (d,), sum of y
    cubic: np.ndarray  # (d,), sum of |y|^2 y
    quartic: float  # sum of |y|^4
    rows: np.ndarray | None  # (n, d), y
    scatter: np.ndarray | None  # (d, d), sum of y y^T

    @classmethod
    def of(cls, X, reference=None):
        """Moments of the rows of `X`, of shape (n_samples, n_features)."""
        largest = max(-float(X.min()), float(X.max()))
        if largest > _LARGEST:
            raise ValueError(
                f"Values for a covariance must lie within {_LARGEST:g}, since their fourth powers "
                f"are taken; got {largest:g}. Scale the features down."
            )
        if reference is None:
            reference = X.mean(axis=0, dtype=np.float64)
        moments, n_features = None, X.shape[1]
        # At least as many rows at a time as features: a scatter matrix for fewer is a waste.
        for part in blocks(X, n_features, at_least=n_features):
            found = cls._of_block(part, reference)
            moments = found if moments is None else moments + found
        return moments

    @classmethod
    def _of_block(cls, X, reference):
        y = np.subtract(X, reference, dtype=np.float64)
        squares = np.einsum("nd,nd->n", y, y)
        few = len(y) <= y.shape[1]
        return cls(
            count=len(y),
            reference=reference,
            first=y.sum(axis=0),
            cubic=squares @ y,
            quartic=float(squares @ squares),
            rows=y if few else None,
            scatter=None if few else y.T @ y,
        )

    def __add__(self, other):
        """Moments of both; they need the same reference."""
        both = replace(
            self,
            count=self.count + other.count,
            first=self.first + other.first,
            cubic=self.cubic + other.cubic,
            quartic=self.quartic + other.quartic,
        )
        if self.rows is not None and other.rows is not None and both.count <= len(self.first):
            return replace(both, rows=np.concatenate([self.rows, other.rows]))
        return replace(both, rows=None, scatter=self._any_scatter() + other._any_scatter())

    def extended(self, X):
        """Moments of these rows and those of `X`."""
        return self + type(self).of(X, self.reference)

    @property
    def mean(self):
        """Mean of the rows, shape (n_features,)."""
        return self.reference + self._shift

    @property
    def _shift(self):
        return self.first / self.count

    def _any_scatter(self):
        return self.scatter if self.rows is None else self.rows.T @ self.rows

    def centered_rows(self):
        """Rows minus their mean, where they were kept."""
        return self.rows - self._shift

    def centered_scatter(self):
        """Scatter matrix about the mean, shape (n_features, n_features)."""
        return self._any_scatter() - self.count * np.outer(self._shift, self._shift)

    def centered_quartic(self):
        """Sum of the fourth powers of the rows' distances to their mean."""
        if self.rows is not None:
            squares = (self.centered_rows() ** 2).sum(axis=1)
            return float(squares @ squares)
        shift = self._shift
        length = shift @ shift
        return (
            self.quartic
            + 4.0 * (shift @ self.scatter @ shift)
            + self.count * length**2
            - 4.0 * (shift @ self.cubic)
            + 2.0 * length * np.trace(self.scatter)
            - 4.0 * length * (shift @ self.first)
        )
