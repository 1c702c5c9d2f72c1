"""Tasks given to Dask itself.

joblib's backend for Dask waits for ever where a worker is lost while something is sent to it, and
Dask's broadcasts do too. So joblib only names the cluster, and what fails while sending is raised
here.
"""

import threading
from collections import Counter
from itertools import islice

import numpy as np

# Arrays of more bytes are sent apart from their tasks. Those of more than `_HUGE` that several
# tasks have are copied to all workers at once; otherwise Dask gives all tasks to the worker that
# has them.
_LARGE, _HUGE = 2**20, 2**26

# What Dask takes with a task without a warning, in bytes: a block of images, and some room.
_WARNS_ABOVE, _MOST = "distributed.admin.large-graph-warning-threshold", 2**28
_lock = threading.Lock()  # Dask's settings are those of the whole process


def completed(backend, function, tasks):
    """Places and results of tasks, as they are completed.

    Parameters
    ----------
    backend : joblib.parallel.ParallelBackendBase
        joblib's backend for Dask: its client, and what tasks are submitted with.
    function : callable
    tasks : list of tuple
        Arguments. At most two for each thread of the cluster are under way at once.

    Yields
    ------
    place : int
    result : object

    Raises
    ------
    Exception
        Dask's own. Workers may be lost while something is sent to them, or with the only copy of
        what was sent; and a task that ends each worker that tries it is given up.
    """
    from distributed import as_completed

    client, options = backend.client, {**backend.submit_kwargs, "pure": False}
    uses = Counter(id(value) for task in tasks for value in task if _is_large(value))
    shared, places, left = {}, {}, iter(enumerate(tasks))

    def apart(value):
        if id(value) not in uses:
            return value
        if id(value) in shared:
            return shared[id(value)]
        sent = client.scatter(value, hash=False)
        if uses[id(value)] > 1:
            shared[id(value)] = sent
            if value.nbytes > _HUGE and "workers" not in options:
                _copied_to_all(client, sent)
        return sent

    def submitted(n_tasks):
        for place, task in islice(left, n_tasks):
            arguments = [apart(value) for value in task]
            with _lock, _room():
                future = client.submit(function, *arguments, **options)
            places[future] = place
            yield future

    waiting = as_completed(list(submitted(2 * max(1, sum(client.ncores().values())))))
    for future in waiting:
        result = future.result()
        yield places.pop(future), result
        for one in submitted(1):
            waiting.add(one)


def _is_large(value):
    return isinstance(value, np.ndarray) and value.nbytes > _LARGE


def _room():
    """Context in which Dask takes a block of images with a task without a warning."""
    import dask
    from dask.utils import parse_bytes

    return dask.config.set({_WARNS_ABOVE: max(_MOST, parse_bytes(dask.config.get(_WARNS_ABOVE)))})


def _copied_to_all(client, value):
    """Have each worker fetch what was sent to one of them; nobody waits for it."""
    from distributed import fire_and_forget

    for address in client.ncores():
        options = {"workers": [address], "allow_other_workers": True, "pure": False}
        fire_and_forget(client.submit(type, value, **options))
