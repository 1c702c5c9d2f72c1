"""Nearest rows: faiss proposes in float32, float64 measures and, for an exact index, checks."""

import numpy as np

from .._warnings import warn
from ._blocks import blocks, blockwise
from ._candidates import Tree, far_candidates
from ._faiss import on_cpu, placed
from ._indexes import BUILDERS

# faiss is asked for a few rows more than needed: what lies beyond the last one proves that no
# nearer row was missed.
_SPARE = 3

# Queries farther away than this many radii are searched in float64: squares of float32 overflow.
_FAR = 1e6

# Queries that faiss takes together at the least: with fewer it is half as fast.
_AT_ONCE = 512

# Rows from which an approximate index pays: scoring as many rows again takes minutes otherwise.
LARGE = 200_000


class NeighborIndex:
    """Search a gallery for the nearest rows.

    Distances are exact to float64. So are the neighbours of ``kind="exact"``, although faiss works
    in float32: those of least distance as it is measured, and of equal distances the first in the
    gallery. "ivf" (inverted lists) and "hnsw" (graph) may miss some.

    Parameters
    ----------
    gallery : ndarray of shape (n_rows, n_features)
        The rows to search, float32 or float64.
    prepare : callable
        Maps raw rows to the float64 rows between which distances are euclidean.
    kind : {"exact", "ivf", "hnsw"}
    built : faiss.Index, optional
        What was built of this gallery before.

    Attributes
    ----------
    gallery : ndarray of shape (n_rows, n_features)
    """

    def __init__(self, gallery, prepare, kind="exact", built=None):
        self.gallery, self._prepare, self._kind = gallery, prepare, kind
        self._tree = None
        self._center = sum(rows.sum(axis=0) for rows in self._prepared()) / len(gallery)
        squared_norms = np.concatenate(
            [np.square(rows - self._center).sum(axis=1) for rows in self._prepared()]
        )
        self._scale = float(np.sqrt(squared_norms.mean())) or 1.0
        self._reach = float(np.sqrt(squared_norms.max())) / self._scale
        built = BUILDERS[kind](self._in_float32()) if built is None else built
        self._index = placed(built, kind)

    def written(self):
        """What took long to build, as an ndarray of uint8; None for an exact index."""
        import faiss

        return None if self._kind == "exact" else faiss.serialize_index(on_cpu(self._index))

    def _prepared(self):
        """The gallery as float64, block by block."""
        return map(self._prepare, blocks(self.gallery, self.gallery.shape[1]))

    def _in_float32(self):
        """What faiss searches, filled block by block so that there is no second copy."""
        found, start = np.empty((len(self.gallery), len(self._center)), np.float32), 0
        for rows in self._prepared():
            found[start : start + len(rows)] = self._scaled(rows)
            start += len(rows)
        return found

    def _scaled(self, rows):
        return (rows - self._center) / self._scale

    def search(self, X, n_neighbors):
        """Find the nearest gallery rows of each row of `X`.

        Returns
        -------
        squared : ndarray of float64, shape (n_queries, n_neighbors)
            Squared distances, ascending.
        rows : ndarray of int, shape (n_queries, n_neighbors)
            Their indices in the gallery.
        """
        return blockwise(
            lambda part: self._search_block(self._prepare(part), n_neighbors),
            X,
            X.shape[1],
            at_least=_AT_ONCE,
        )

    def _search_block(self, queries, n_neighbors):
        n_neighbors = int(n_neighbors)  # SWIG takes no integers of numpy
        scaled = self._scaled(queries)
        norms = np.linalg.norm(scaled, axis=1)
        scaled /= np.maximum(norms / _FAR, 1.0)[:, None]
        n_proposed = min(n_neighbors + _SPARE, len(self.gallery))
        proposed_squared, proposed = self._index.search(scaled.astype(np.float32), n_proposed)
        missing = (proposed < 0).any(axis=1)  # an approximate index may run out of candidates
        squared, rows = self._measure(queries, np.maximum(proposed, 0))
        squared, rows = squared[:, :n_neighbors], rows[:, :n_neighbors]
        again = missing
        if self._kind == "exact" and n_proposed < len(self.gallery):
            found = squared[:, -1] / self._scale**2
            margin = proposed_squared[:, -1] - self._search_error(norms, np.sqrt(found))
            # A row as far as the last one found may come before it; beyond _FAR the search ran
            # from elsewhere.
            again = (found >= margin) | (norms > _FAR)
        if again.any():
            squared[again], rows[again] = self._search_float64(queries[again], n_neighbors)
        return squared, rows

    def _search_error(self, norms, distances):
        """Bound on what float32 adds to a squared distance, written as |q|^2 + |g|^2 - 2 q.g.

        Of rows g that may have been missed, which are no farther than those found.
        """
        epsilon = np.finfo(np.float32).eps * (2.0 + np.sqrt(len(self._center)))
        return epsilon * (norms + np.minimum(self._reach, norms + distances)) ** 2

    def _measure(self, queries, rows):
        """Squared distances in float64 from each query to its proposed rows, sorted."""

        def measure(indices):
            neighbors = self._prepare(self.gallery[rows[indices].ravel()])
            neighbors = neighbors.reshape(len(indices), rows.shape[1], -1)
            neighbors -= queries[indices, None, :]
            return np.einsum("nkd,nkd->nk", neighbors, neighbors)

        squared = blockwise(measure, np.arange(len(rows)), rows.shape[1] * queries.shape[1])
        order = np.lexsort((rows, squared))
        return np.take_along_axis(squared, order, 1), np.take_along_axis(rows, order, 1)

    def _search_float64(self, queries, n_neighbors):
        """Search again where float32 can't tell: dense data of few features, or many ties."""
        squared = np.empty((len(queries), n_neighbors))
        rows, scaled = np.empty(squared.shape, dtype=int), self._scaled(queries)
        far = np.linalg.norm(scaled, axis=1) > _FAR
        for some, candidates in ((~far, self._near_candidates), (far, self._far_candidates)):
            if some.any():
                found = candidates(scaled[some], n_neighbors)
                for i, these in zip(np.flatnonzero(some), found):
                    measured = self._measure(queries[i : i + 1], these[None])
                    squared[i], rows[i] = (part[0, :n_neighbors] for part in measured)
        return squared, rows

    def _near_candidates(self, scaled, n_neighbors):
        if self._tree is None:
            self._tree = Tree(np.concatenate(list(self._prepared())), self._scaled)
        return self._tree.candidates(scaled, n_neighbors)

    def _far_candidates(self, scaled, n_neighbors):
        return far_candidates(lambda: map(self._scaled, self._prepared()), scaled, n_neighbors)


class IndexFromGallery:
    """Pickles without an exact index; subclasses have `gallery_`, and `_index` by `_build_index`.

    That is a second copy of the gallery, quickly built again. Inverted lists and graphs take
    minutes where rows are many, and are kept.
    """

    def __getstate__(self):
        state = super().__getstate__().copy()
        index = state.pop("_index", None)
        return state if index is None else state | {"_written": index.written()}

    def __setstate__(self, state):
        state = state.copy()
        written = state.pop("_written", None)
        super().__setstate__(state)
        if hasattr(self, "gallery_"):
            self._build_index(_read(written, type(self).__name__))


def _read(written, owner):
    """What `written` of an index gave, as it was; None where there is nothing to be read."""
    if written is None:
        return None
    import faiss

    try:
        if isinstance(written, list):
            return [faiss.deserialize_index(one) for one in written]
        return faiss.deserialize_index(written)
    except RuntimeError:
        warn(
            f"{owner}: faiss {faiss.__version__} can't read the index of neighbours that was saved "
            "by another version, so it is built again, which takes minutes where training rows are "
            "many. Save the estimator again to have that behind you."
        )
        return None
