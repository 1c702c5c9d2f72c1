"""Which rows may be the nearest, where float32 can't tell: by plain differences in float64."""

import numpy as np

from ._blocks import blocks

# Units in the last place, of a sum over features, that a distance of the tree may be off by.
_SLACK = 8


class Tree:
    """A ball tree of distinct rows.

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
        # A tree takes plain differences; brute force would expand the square in float64 too.
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
            rounding = _SLACK * np.finfo(np.float64).eps * some.shape[1] * lengths
            for kinds in self._tree.query_radius(some, found[:, -1] + rounding):
                yield np.concatenate([self._equal[kind][:n_neighbors] for kind in kinds])
