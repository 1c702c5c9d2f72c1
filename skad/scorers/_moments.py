"""Moments of rows that come in batches: all that a shrunken covariance needs."""

import operator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ._blocks import block_length, blocks
from ._workers import each_alike

# Blocks that are added up by whoever takes them, before the sums of all are: those are no larger
# than the rows, and the order is the same in one process and in many.
_BLOCKS_TOGETHER = 8


@dataclass(frozen=True)
class Moments:
    """Sums over rows y about their mean; those of several batches add up, whatever their order.

    Up to as many rows as features are kept themselves; beyond, their scatter matrix is no larger
    than they are.
    """

    count: int
    mean: np.ndarray  # (d,)
    cubic: np.ndarray  # (d,), sum of |y|^2 y
    quartic: float  # sum of |y|^4
    rows: np.ndarray | None  # (n, d), y
    _scatter: np.ndarray | None  # (d, d), sum of y y^T

    @classmethod
    def of(cls, X):
        """Moments of the rows of `X`, of shape (n_samples, n_features).

        Workers of a joblib backend take some blocks each, if there are several times as many.
        """
        n_features = X.shape[1]
        together = _BLOCKS_TOGETHER * block_length(n_features, at_least=n_features)
        if len(X) <= together:
            return cls._of_blocks(X)
        parts = ((part,) for part in blocks(X, n_features, at_least=together))
        return reduce(operator.add, each_alike(cls._of_blocks, parts))

    @classmethod
    def _of_blocks(cls, X):
        # At least as many rows at a time as features: a scatter matrix for fewer is a waste.
        return reduce(operator.add, map(cls._of_block, blocks(X, X.shape[1], at_least=X.shape[1])))

    @classmethod
    def _of_block(cls, X):
        mean = X.mean(axis=0, dtype=np.float64)
        y = np.subtract(X, mean, dtype=np.float64)
        squares = np.einsum("nd,nd->n", y, y)
        few = len(y) <= y.shape[1]
        return cls(
            count=len(y),
            mean=mean,
            cubic=squares @ y,
            quartic=float(squares @ squares),
            rows=y if few else None,
            _scatter=None if few else y.T @ y,
        )

    @property
    def scatter(self):
        """Sum of y y^T, shape (n_features, n_features)."""
        return self._scatter if self.rows is None else self.rows.T @ self.rows

    def __add__(self, other):
        """Moments of both, each moved to the common mean (Chan, Golub and LeVeque)."""
        count = self.count + other.count
        step = (other.mean - self.mean) * (other.count / count)
        keep = self.rows is not None and other.rows is not None and count <= len(step)
        one, two = self._about(self.mean + step, keep), other._about(self.mean + step, keep)
        return replace(
            one,
            count=count,
            cubic=one.cubic + two.cubic,
            quartic=one.quartic + two.quartic,
            rows=np.concatenate([one.rows, two.rows]) if keep else None,
            _scatter=None if keep else one._scatter + two._scatter,
        )

    def _about(self, point, keep_rows):
        """Sums about another point; from the mean, so nothing cancels."""
        shift = point - self.mean
        length = shift @ shift
        if self.rows is None:
            along, spread = self._scatter @ shift, np.trace(self._scatter)
        else:
            along, spread = (self.rows @ shift) @ self.rows, np.square(self.rows).sum()
        quartic = self.quartic + 4.0 * (shift @ along) - 4.0 * (shift @ self.cubic)
        return Moments(
            count=self.count,
            mean=point,
            cubic=self.cubic - 2.0 * along - (spread + self.count * length) * shift,
            quartic=quartic + 2.0 * length * spread + self.count * length**2,
            rows=self.rows - shift if keep_rows else None,
            _scatter=None if keep_rows else self.scatter + self.count * np.outer(shift, shift),
        )
