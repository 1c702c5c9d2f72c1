"""A random part of the rows of a stream."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reservoir:
    """So many of all rows seen, each as likely as any other, whatever batches they came in.

    Which rows of the stream are kept is random, but the same in every stream: those with the
    smallest hash of their number.
    """

    size: int
    n_seen: int = 0
    indices: np.ndarray | None = None
    rows: np.ndarray | None = None

    def extended(self, X):
        """Reservoir of these rows and those of `X`, shape (n_samples, n_features)."""
        indices = np.arange(self.n_seen, self.n_seen + len(X), dtype=np.uint64)
        if self.n_seen:
            indices = np.concatenate([self.indices, indices])
        order = np.sort(np.argsort(_hash(indices), kind="stable")[: self.size])
        n_old = len(indices) - len(X)
        rows = X[order[order >= n_old] - n_old]
        if self.n_seen:
            rows = np.concatenate([self.rows[order[order < n_old]], rows])
        return Reservoir(self.size, self.n_seen + len(X), indices[order], rows)


def _hash(numbers):
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
