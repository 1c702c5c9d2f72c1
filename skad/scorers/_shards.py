"""A gallery in parts, each searched on its own; together they find what one index finds."""

import hashlib
import threading
from collections import OrderedDict

import numpy as np

from ._neighbors import NeighborIndex
from ._workers import each, has_processes

# Queries below which shards are searched here: they are found sooner than shards are handed over.
_WORTH_SENDING = 256

# Indexes that a worker keeps from one search to the next.
_N_KEPT = 8


class ShardedIndex:
    """Search a gallery for the nearest rows, part by part; see `NeighborIndex`.

    The nearest of all rows are among the nearest of each part, so that "exact" is as exact: the
    same rows, of equal distances the first in the gallery, at the same distances to the bit. "ivf"
    and "hnsw" look through more, as they do so in each part.

    Parts are made one after another, so none is held twice; of exact ones none before it is needed
    here. Under a joblib backend with several workers these build and search the parts.

    Parameters
    ----------
    gallery : ndarray of shape (n_rows, n_features)
    prepare : callable
        Of a module, for workers.
    kind : {"exact", "ivf", "hnsw"}
    n_shards : int
        As many parts, or as there are rows.
    built : list of faiss.Index, optional
        What was built of these parts before.

    Attributes
    ----------
    gallery : ndarray of shape (n_rows, n_features)
    """

    def __init__(self, gallery, prepare, kind, n_shards, built=None):
        self.gallery, self._prepare, self._kind = gallery, prepare, kind
        self._shards = np.array_split(gallery, min(n_shards, len(gallery)))
        self._starts = np.cumsum([0, *map(len, self._shards[:-1])])
        self._indexes, self._sent = [None] * len(self._shards), None
        if built is not None:
            parts = zip(self._shards, built, strict=True)
            self._indexes = [NeighborIndex(rows, prepare, kind, one) for rows, one in parts]
        elif kind != "exact":
            self._build()

    def _build(self):
        """Build what takes long, in workers if there are any."""
        if not has_processes():
            parts = ((rows, self._prepare, self._kind) for rows in self._shards)
            self._indexes = list(each(NeighborIndex, parts))
            return
        import faiss

        parts = [(rows, self._prepare, self._kind) for rows in self._shards]
        for i, written in enumerate(each(_build_elsewhere, parts)):
            built = faiss.deserialize_index(written)
            self._indexes[i] = NeighborIndex(self._shards[i], self._prepare, self._kind, built)

    def written(self):
        """What took long to build, as one ndarray of uint8 for each part; None for exact ones."""
        return None if self._kind == "exact" else [one.written() for one in self._indexes]

    def search(self, X, n_neighbors):
        """Find the nearest gallery rows of each row of `X`, as `NeighborIndex.search` does."""
        counts = [min(n_neighbors, len(rows)) for rows in self._shards]
        if has_processes() and len(X) >= _WORTH_SENDING:
            found = self._search_by_processes(X, counts)
        else:
            parts = ((i, X, count) for i, count in enumerate(counts))
            found = each(self._search_here, parts, by_processes=False)
        squared = np.empty((len(X), 0))
        rows = np.empty((len(X), 0), dtype=int)
        for start, (more_squared, more_rows) in zip(self._starts, found):
            squared = np.concatenate([squared, more_squared], axis=1)
            rows = np.concatenate([rows, more_rows + start], axis=1)
            order = np.lexsort((rows, squared))[:, :n_neighbors]
            squared, rows = (np.take_along_axis(part, order, 1) for part in (squared, rows))
        return squared, rows

    def _search_here(self, i, X, n_neighbors):
        if self._indexes[i] is None:
            self._indexes[i] = NeighborIndex(self._shards[i], self._prepare, self._kind)
        return self._indexes[i].search(X, n_neighbors)

    def _search_by_processes(self, X, counts):
        """Search where parts are known; those that nobody knew are sent."""
        found = [None] * len(counts)
        if self._sent is not None:
            parts = ((digest, X, count) for (digest, *_), count in zip(self._sent, counts))
            found = list(each(_search_known, parts))
        unknown = [i for i, one in enumerate(found) if one is None]
        parts = [(*sent, X, count) for sent, count in zip(self._to_send(), counts)]
        for i, one in zip(unknown, each(_search_sent, (parts[i] for i in unknown))):
            found[i] = one
        return found

    def _to_send(self):
        """The name by which each part is known elsewhere, and what it is made of there."""
        if self._sent is None:
            written = self.written() or [None] * len(self._shards)
            self._sent = [
                (_digest(rows, self._prepare, self._kind), rows, self._prepare, self._kind, one)
                for rows, one in zip(self._shards, written)
            ]
        return self._sent


def _digest(rows, prepare, kind):
    content = hashlib.blake2b(np.ascontiguousarray(rows), digest_size=16).hexdigest()
    return f"{content} {rows.shape} {rows.dtype} {prepare.__name__} {kind}"


def _build_elsewhere(rows, prepare, kind):
    return NeighborIndex(rows, prepare, kind).written()


def _search_known(digest, X, n_neighbors):
    index = _KEPT.get(digest)
    return None if index is None else index.search(X, n_neighbors)


def _search_sent(digest, rows, prepare, kind, written, X, n_neighbors):
    import faiss

    def make():
        built = None if written is None else faiss.deserialize_index(written)
        return NeighborIndex(rows, prepare, kind, built)

    return _KEPT.get(digest, make).search(X, n_neighbors)


class _Kept:
    """Those of the last few, by name."""

    def __init__(self, n_kept):
        self._n_kept, self._found, self._lock = n_kept, OrderedDict(), threading.Lock()

    def get(self, name, make=lambda: None):
        """What goes by a name; if it is not here, what is made of it, if anything."""
        with self._lock:
            one = self._found.pop(name, None) or make()
            if one is not None:
                self._found[name] = one
            if len(self._found) > self._n_kept:
                self._found.popitem(last=False)
            return one


_KEPT = _Kept(_N_KEPT)
