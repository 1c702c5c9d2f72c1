"""The workers that `joblib.parallel_config` has chosen."""

import sys
import threading

from joblib.parallel import get_active_backend

_here = threading.local()


def n_workers():
    """Workers of the active backend; 1 where none was chosen, and inside a worker."""
    backend, n_jobs = get_active_backend()
    n_jobs = backend.default_n_jobs if n_jobs is None else n_jobs
    if n_jobs == 1 or backend.nesting_level or inside_a_worker():
        return 1
    return backend.effective_n_jobs(n_jobs)


def shares_memory():
    """Whether the workers are threads of this process."""
    return getattr(get_active_backend()[0], "supports_sharedmem", False)


def active_backend():
    """The active backend, and the library that it is of: "joblib", "dask" or "ray"."""
    backend = get_active_backend()[0]
    library = type(backend).__module__.partition(".")[0]
    return backend, "dask" if hasattr(backend, "client") else library


def yields_results():
    """Whether results can be had one by one, before all are there."""
    return get_active_backend()[0].supports_return_generator


def inside_a_worker():
    """Whether this is work on a block, whose result is to be sent, or any task of Dask's.

    A task that waited for others would keep the thread that they need.
    """
    dask = sys.modules.get("distributed.worker")
    on_dask = dask is not None and hasattr(dask.thread_state, "execution_state")
    return on_dask or getattr(_here, "works", False)


class AtWork:
    """Context of a worker's work, in which there are no further workers."""

    def __enter__(self):
        self._before = getattr(_here, "works", False)
        _here.works = True

    def __exit__(self, *_):
        _here.works = self._before
