"""Tasks given to Dask itself.

joblib's backend for Dask waits for ever where a worker is lost while something is sent to it, and
Dask's broadcasts do too. So joblib only names the cluster, and errors of sending come out here.
"""

from itertools import islice

import numpy as np

# Arrays of more bytes are sent apart from their tasks, once for all tasks that have them; of still
# more, to all workers before they ask, as Dask prefers the one that has what takes long to send.
_LARGE, _HUGE = 2**20, 2**26

# What Dask takes with a task without a warning, in bytes: a block of images, and some room.
_MOST = 2**28


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
        Dask's own, where workers are lost as something is sent to them, with the only copy of what
        was sent, or by a task that ends each worker that tries it.
    """
    import dask
    from distributed import as_completed

    client, sent, places, left = backend.client, {}, {}, iter(enumerate(tasks))

    def apart(value):
        if not isinstance(value, np.ndarray) or value.nbytes < _LARGE:
            return value
        if id(value) not in sent:
            sent[id(value)] = client.scatter(value, hash=False)
            if value.nbytes >= _HUGE:
                _held_by_all(client, sent[id(value)])
        return sent[id(value)]

    def submitted(n_tasks):
        for place, task in islice(left, n_tasks):
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": _MOST}):
                arguments = [apart(value) for value in task]
                future = client.submit(function, *arguments, pure=False, **backend.submit_kwargs)
            places[future] = place
            yield future

    waiting = as_completed(list(submitted(2 * max(1, sum(client.ncores().values())))))
    for future in waiting:
        result = future.result()
        yield places.pop(future), result
        for one in submitted(1):
            waiting.add(one)


def _held_by_all(client, value):
    """Have each worker fetch what was sent to one of them; nobody waits for it."""
    from distributed import fire_and_forget

    for address in client.ncores():
        options = {"workers": [address], "allow_other_workers": True, "pure": False}
        fire_and_forget(client.submit(type, value, **options))
