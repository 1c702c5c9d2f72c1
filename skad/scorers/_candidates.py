"""Which rows may be the nearest, where float32 can't tell: in float64, with room for rounding."""

import numpy as np

from ._blocks import blocks

# Units in the last place, of a sum over features, that a distance may be off by.
_SLACK = 8

# Queries for which the gallery is gone through together.
_AT_ONCE = 64


class Tree:
    """A ball tree of distinct rows, which takes plain differences.

    Equal rows would all have to be looked at wherever one of them is near.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_rows, n_features)
    scaled : callable
        Moves rows around zero, where their lengths tell what rounding does, and scales them; rows
        that differ may be equal then.
    """

    def __init__(self, rows, scaled):
        from sklearn.neighbors import BallTree

        kinds = np.ascontiguousarray(rows).view(np.dtype((np.void, rows[0].nbytes))).ravel()
        _, first, kind_of = np.unique(kinds, return_index=True, return_inverse=True)
        order = np.argsort(kind_of, kind="stable")
        self._equal = np.split(order, np.cumsum(np.bincount(kind_of))[:-1])
        rows = scaled(rows[first])
        self._tree = BallTree(rows)
        self._reach = np.linalg.norm(rows, axis=1).max()

    def candidates(self, queries, n_neighbors):
        """Indices of rows among which the nearest are, whatever rounding does to ties.

        Parameters
        ----------
        queries : ndarray of float64, shape (n_queries, n_features)
            Scaled as the rows were.
        n_neighbors : int

        Yields
        ------
        rows : ndarray of int
            For each query, at least `n_neighbors` of them; of equal rows the first.
        """
        n_distinct = len(self._equal)
        for some in blocks(queries, n_distinct):
            found, _ = self._tree.query(some, min(n_neighbors, n_distinct))
            lengths = np.linalg.norm(some, axis=1) + self._reach
            reached = found[:, -1] + _rounding(some) * lengths
            for kinds in self._tree.query_radius(some, reached):
                yield np.concatenate([self._equal[kind][:n_neighbors] for kind in kinds])


def far_candidates(gallery, queries, n_neighbors):
    """As `Tree.candidates`, for queries far from all rows, where a tree would look at each.

    The square is expanded, whose rounding is little beside that of distances so large.

    Parameters
    ----------
    gallery : callable
        Gives the rows, scaled, block by block.
    queries : ndarray of float64, shape (n_queries, n_features)
    n_neighbors : int

    Yields
    ------
    rows : ndarray of int
    """
    for start in range(0, len(queries), _AT_ONCE):
        some = queries[start : start + _AT_ONCE]
        ranks, reach = [], 0.0
        for rows in gallery():
            squares = np.einsum("nd,nd->n", rows, rows)
            ranks.append(squares - 2.0 * (some @ rows.T))
            reach = max(reach, np.sqrt(squares.max()))
        ranks = np.concatenate(ranks, axis=1)
        rounding = _rounding(some) * (np.linalg.norm(some, axis=1) + reach) ** 2
        last = np.partition(ranks, n_neighbors - 1, axis=1)[:, n_neighbors - 1]
        for rank, reached in zip(ranks, last + rounding):
            yield np.flatnonzero(rank <= reached)


def _rounding(queries):
    """Share of a length, or a square, that sums over its features may be off by."""
    return _SLACK * np.finfo(np.float64).eps * queries.shape[1]
