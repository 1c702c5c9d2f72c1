"""A fitted estimator on its way to workers: sent once, and unpacked once by each."""

import hashlib
import pickle
import threading
from collections import OrderedDict

import numpy as np

# What a worker has unpacked: a search among detectors has few in use at a time.
_N_KEPT = 4
_kept, _lock = OrderedDict(), threading.Lock()


class Parcel:
    """An object as bytes, its large arrays apart.

    Arrays stay arrays of bytes, so that backends do with them what they do best: processes of one
    machine map them from memory, Dask scatters each once, Ray puts each into its store.

    Parameters
    ----------
    value : object
    """

    def __init__(self, value):
        buffers = []
        head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        self.arrays = [np.frombuffer(head, np.uint8)]
        self.arrays += [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        digest = hashlib.blake2b(digest_size=16)
        for array in self.arrays:
            digest.update(array)
        self.digest = digest.hexdigest()


class StoredParcel(Parcel):
    """The same in the object store of Ray, from which each machine fetches it once.

    Parameters
    ----------
    value : object
    """

    def __init__(self, value):
        import ray

        super().__init__(value)
        self.arrays = [ray.put(array) for array in self.arrays]


class Local:
    """An object for workers that are threads of this process, as it is.

    Parameters
    ----------
    value : object
    """

    def __init__(self, value):
        self.digest, self.arrays = None, [value]


def unpacked(digest, arrays):
    """What was packed; the same object for one digest.

    Parameters
    ----------
    digest : str or None
    arrays : sequence of ndarray of uint8
        Of a Parcel, or of another of these.
    """
    if digest is None:
        return arrays[0]
    with _lock:
        if digest not in _kept:
            head, *buffers = map(_fetched, arrays)
            _kept[digest] = pickle.loads(head.tobytes(), buffers=buffers)
        _kept.move_to_end(digest)
        while len(_kept) > _N_KEPT:
            _kept.popitem(last=False)
        return _kept[digest]


def _fetched(array):
    """An array, or what a reference of Ray's refers to."""
    if isinstance(array, np.ndarray):
        return array
    import ray

    return ray.get(array)
