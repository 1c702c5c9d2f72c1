"""Work that is done in parts, by joblib's workers where there are any."""

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend


def has_workers():
    """Whether ``joblib.parallel_config`` names a backend with several workers."""
    return effective_n_jobs(None) > 1


def has_processes():
    """Whether these workers are processes, which share no objects with this one."""
    backend, _ = get_active_backend()
    return has_workers() and not getattr(backend, "supports_sharedmem", False)


def each(function, arguments, mapped=False):
    """Apply a function to each of several arguments, by workers or in turn.

    Parameters
    ----------
    function : callable
        Of a module, so that workers find it.
    arguments : iterable of tuple
        Taken from as needed, so not all need be there at once.
    mapped : bool, default=False
        Whether processes on this machine map large arrays from memory; otherwise each gets a copy
        of its own, which is gone when it is done.

    Yields
    ------
    result : object
        In the order of the arguments, whoever is done first.
    """
    if not has_workers():
        yield from (function(*one) for one in arguments)
        return
    backend, _ = get_active_backend()
    ordered = "generator" if getattr(backend, "supports_return_generator", False) else "list"
    how = {} if mapped else {"max_nbytes": None}
    yield from Parallel(return_as=ordered, **how)(delayed(function)(*one) for one in arguments)
