"""Nearest rows: faiss proposes in float32, float64 measures and, for an exact index, checks."""

import numpy as np

from .._warnings import warn
from ._blocks import blocks, blockwise

# faiss is asked for a few rows more than needed: what lies beyond the last one proves that no
# nearer row was missed.
_SPARE = 3

# Queries farther away than this many radii are searched from here: squares of float32 overflow.
_FAR = 1e6

# Queries that faiss takes together at the least: with fewer it is half as fast.
_AT_ONCE = 512

# Rows from which an approximate index pays: scoring as many rows again takes minutes otherwise.
LARGE = 200_000

# Inverted lists that are looked through for a query, of sqrt(n), and links of a node of the graph
# with the width of the search in it: so many find 98 of 100 neighbours and more among 1e5 rows
# (``benchmarks/speed.py growth``).
_N_PROBED = 64
_N_LINKS, _SEARCH_WIDTH = 32, 128


class NeighborIndex:
    """Search a gallery for the nearest rows.

    Distances are exact to float64. So are the neighbours of ``kind="exact"``, although faiss works
    in float32; "ivf" (inverted lists) and "hnsw" (graph) may miss some.

    Parameters
    ----------
    gallery : ndarray of shape (n_rows, n_features)
        The rows to search, float32 or float64.
    prepare : callable
        Maps raw rows to the float64 rows between which distances are euclidean.
    kind : {"exact", "ivf", "hnsw"}
    built : faiss.Index, optional
        What was built of this gallery before.
    """

    def __init__(self, gallery, prepare, kind="exact", built=None):
        self._gallery, self._prepare, self._kind = gallery, prepare, kind
        self._float64_search = None
        self._center = sum(rows.sum(axis=0) for rows in self._prepared()) / len(gallery)
        squared_norms = np.concatenate(
            [np.square(rows - self._center).sum(axis=1) for rows in self._prepared()]
        )
        self._scale = float(np.sqrt(squared_norms.mean())) or 1.0
        self._reach = float(np.sqrt(squared_norms.max())) / self._scale
        if built is None:
            scaled = [self._scaled(rows).astype(np.float32) for rows in self._prepared()]
            built = _BUILDERS[kind](np.concatenate(scaled))
        self._index = built

    def written(self):
        """What took long to build, as an ndarray of uint8; None for an exact index."""
        import faiss

        return None if self._kind == "exact" else faiss.serialize_index(self._index)

    def _prepared(self):
        """The gallery as float64, block by block."""
        return map(self._prepare, blocks(self._gallery, self._gallery.shape[1]))

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
        n_proposed = min(n_neighbors + _SPARE, len(self._gallery))
        proposed_squared, proposed = self._index.search(scaled.astype(np.float32), n_proposed)
        missing = (proposed < 0).any(axis=1)  # an approximate index may run out of candidates
        squared, rows = self._measure(queries, np.maximum(proposed, 0))
        squared, rows = squared[:, :n_neighbors], rows[:, :n_neighbors]
        again = missing
        if self._kind == "exact" and n_proposed < len(self._gallery):
            found = squared[:, -1] / self._scale**2
            margin = proposed_squared[:, -1] - self._search_error(norms, np.sqrt(found))
            # Beyond _FAR the search ran from elsewhere, and relative error is all that counts.
            again = (found > margin) & (norms <= _FAR)
        if again.any():
            squared[again], rows[again] = self._search_float64(queries[again], n_neighbors)
        return squared, rows

    def _search_error(self, norms, distances):
        """Bound on what float32 adds to a squared distance, written as |q|^2 + |g|^2 - 2 q.g.

        Of rows g that may have been missed, which are nearer than those found.
        """
        epsilon = np.finfo(np.float32).eps * (2.0 + np.sqrt(len(self._center)))
        return epsilon * (norms + np.minimum(self._reach, norms + distances)) ** 2

    def _measure(self, queries, rows):
        """Squared distances in float64 from each query to its proposed rows, sorted."""

        def measure(indices):
            neighbors = self._prepare(self._gallery[rows[indices].ravel()])
            neighbors = neighbors.reshape(len(indices), rows.shape[1], -1)
            neighbors -= queries[indices, None, :]
            return np.einsum("nkd,nkd->nk", neighbors, neighbors)

        squared = blockwise(measure, np.arange(len(rows)), rows.shape[1] * queries.shape[1])
        order = np.argsort(squared, axis=1, kind="stable")
        return np.take_along_axis(squared, order, 1), np.take_along_axis(rows, order, 1)

    def _search_float64(self, queries, n_neighbors):
        """Search again where float32 can't tell: dense data of few features, or many ties."""
        if self._float64_search is None:
            from sklearn.neighbors import NearestNeighbors

            rows = np.concatenate([self._scaled(rows) for rows in self._prepared()])
            # A tree takes plain differences; brute force would expand the square in float64 too.
            self._float64_search = NearestNeighbors(algorithm="ball_tree").fit(rows)
        indices = self._float64_search.kneighbors(
            self._scaled(queries), n_neighbors, return_distance=False
        )
        return self._measure(queries, indices)


def _exact(rows):
    import faiss

    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return index


def _inverted_lists(rows):
    import faiss

    n_rows, n_features = rows.shape
    n_lists = max(1, min(n_rows // 39, int(np.sqrt(n_rows))))  # faiss wants 39 rows a list
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(n_features), n_features, n_lists)
    index.cp.min_points_per_centroid = 1  # and prints a warning where there are fewer in all
    index.train(rows)
    index.add(rows)
    index.nprobe = min(_N_PROBED, n_lists)
    return index


def _graph(rows):
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], _N_LINKS)
    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the graph depends on the order in which rows come in
    try:
        index.add(rows)
    finally:
        faiss.omp_set_num_threads(n_threads)
    index.hnsw.efSearch = _SEARCH_WIDTH
    return index


_BUILDERS = {"exact": _exact, "ivf": _inverted_lists, "hnsw": _graph}


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
    """What `NeighborIndex.written` gave, as an index; None where there is nothing to be read."""
    if written is None:
        return None
    import faiss

    try:
        return faiss.deserialize_index(written)
    except RuntimeError:
        warn(
            f"{owner}: faiss {faiss.__version__} can't read the index of neighbours that was saved "
            "by another version, so it is built again, which takes minutes where training rows are "
            "many. Save the estimator again to have that behind you."
        )
        return None
