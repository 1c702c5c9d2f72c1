"""A fitted estimator on its way to workers: sent once, and unpacked once by each."""

import hashlib
import pickle
import threading
from collections import OrderedDict

import numpy as np

from ._backend import active_backend, shares_memory
from ._memory import keep_freed_memory

# What a worker has unpacked: a search among detectors has few in use at a time.
_N_KEPT = 4
_kept, _lock = OrderedDict(), threading.Lock()


class Parcel:
    """An object as bytes, its large arrays apart.

    Arrays stay arrays of bytes: processes of one machine map them from memory, Dask scatters those
    that are large, Ray puts each into its store.

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


def packed(value):
    """An object as the active backend sends it best.

    Parameters
    ----------
    value : object

    Returns
    -------
    digest : str or None
    arrays : list
        What `unpacked` takes, in workers.
    """
    if shares_memory():
        return None, [value]
    parcel = Parcel(value)
    if active_backend()[1] == "ray":
        import ray

        return parcel.digest, [ray.put(array) for array in parcel.arrays]
    return parcel.digest, parcel.arrays


def unpacked(digest, arrays):
    """What was packed; the same object for one digest.

    Parameters
    ----------
    digest : str or None
    arrays : list
        As `packed` gives them, or as the backend has made them.
    """
    if digest is None:
        return arrays[0]
    keep_freed_memory()
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
