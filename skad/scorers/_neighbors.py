"""Exact nearest rows: faiss proposes in float32, float64 measures and checks."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

# faiss is asked for a few rows more than needed: what lies beyond the last one proves that no
# nearer row was missed.
_SPARE = 3

# Queries farther away than this many radii are searched from here: squares of float32 overflow.
_FAR = 1e6

# Values that one block of queries may hold, to bound memory (16 MiB in float64).
_BLOCK_VALUES = 2**21


class NeighborIndex:
    """Search a gallery for the nearest rows, exact as float64 although faiss works in float32.

    Parameters
    ----------
    gallery : ndarray of shape (n_rows, n_features)
        The rows to search, float32 or float64.
    prepare : callable
        Maps raw rows to the float64 rows between which distances are euclidean.
    """

    def __init__(self, gallery, prepare):
        import faiss

        self._gallery, self._prepare = gallery, prepare
        rows = prepare(gallery)
        self._center = rows.mean(axis=0)
        rows -= self._center
        squared_norms = np.einsum("nd,nd->n", rows, rows)
        self._scale = float(np.sqrt(squared_norms.mean())) or 1.0
        self._reach = float(np.sqrt(squared_norms.max())) / self._scale
        rows /= self._scale
        self._index = faiss.IndexFlatL2(rows.shape[1])
        self._index.add(rows.astype(np.float32))
        self._float64_search = None

    def search(self, X, n_neighbors):
        """Find the nearest gallery rows of each row of `X`.

        Returns
        -------
        squared : ndarray of float64, shape (n_queries, n_neighbors)
            Squared distances, ascending.
        rows : ndarray of int, shape (n_queries, n_neighbors)
            Their places in the gallery.
        """
        block = max(1, _BLOCK_VALUES // (X.shape[1] * (n_neighbors + _SPARE)))
        parts = [
            self._search_block(self._prepare(X[i : i + block]), n_neighbors)
            for i in range(0, len(X), block)
        ]
        return tuple(np.concatenate(part) for part in zip(*parts))

    def _search_block(self, queries, n_neighbors):
        scaled = (queries - self._center) / self._scale
        norms = np.linalg.norm(scaled, axis=1)
        scaled /= np.maximum(norms / _FAR, 1.0)[:, None]
        n_proposed = min(n_neighbors + _SPARE, len(self._gallery))
        proposed_squared, proposed = self._index.search(scaled.astype(np.float32), n_proposed)
        squared, rows = self._measure(queries, proposed)
        squared, rows = squared[:, :n_neighbors], rows[:, :n_neighbors]
        if n_proposed < len(self._gallery):
            margin = proposed_squared[:, -1] - self._search_error(norms)
            # Beyond _FAR the search ran from elsewhere, and relative error is all that counts.
            unproven = (squared[:, -1] / self._scale**2 > margin) & (norms <= _FAR)
            if unproven.any():
                squared[unproven], rows[unproven] = self._search_float64(
                    queries[unproven], n_neighbors
                )
        return squared, rows

    def _search_error(self, norms):
        """Bound on what float32 adds to a squared distance, written as |q|^2 + |g|^2 - 2 q.g."""
        epsilon = np.finfo(np.float32).eps * (2.0 + np.sqrt(len(self._center)))
        return epsilon * (norms + self._reach) ** 2

    def _measure(self, queries, rows):
        """Squared distances in float64 from each query to its proposed rows, sorted."""
        neighbors = self._prepare(self._gallery[rows.ravel()]).reshape(*rows.shape, -1)
        neighbors -= queries[:, None, :]
        squared = np.einsum("nkd,nkd->nk", neighbors, neighbors)
        order = np.argsort(squared, axis=1, kind="stable")
        return np.take_along_axis(squared, order, 1), np.take_along_axis(rows, order, 1)

    def _search_float64(self, queries, n_neighbors):
        """Search again where float32 can't tell: dense data of few features, or many ties."""
        if self._float64_search is None:
            rows = (self._prepare(self._gallery) - self._center) / self._scale
            # A tree takes plain differences; brute force would expand the square in float64 too.
            self._float64_search = NearestNeighbors(algorithm="ball_tree").fit(rows)
        scaled = (queries - self._center) / self._scale
        return self._measure(
            queries, self._float64_search.kneighbors(scaled, n_neighbors, return_distance=False)
        )
