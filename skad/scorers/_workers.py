"""Work that is done in parts, by joblib's workers where there are any."""

from functools import partial
from itertools import islice

from joblib import parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_info, threadpool_limits

from ..parallel._backend import n_workers
from ..parallel._tasks import answers

# Arguments for each worker that are taken together.
_ROUND = 8


def has_workers():
    """Whether ``joblib.parallel_config`` names a backend with several workers, and this is none."""
    return n_workers() > 1


def has_processes():
    """Whether these workers are processes, which share no objects with this one."""
    backend, _ = get_active_backend()
    return has_workers() and not getattr(backend, "supports_sharedmem", False)


def each(function, arguments, *, by_processes=True):
    """Apply a function to each of several arguments, by workers or in turn.

    Processes on this machine map large arrays from memory, of which joblib keeps a copy meanwhile.
    What a lost worker had is given to another.

    Parameters
    ----------
    function : callable
        Of a module, so that processes find it.
    arguments : iterable of tuple
        Taken eight for each worker at a time, so not all need be there at once.
    by_processes : bool, default=True
        Whether processes may do it, or only threads.

    Yields
    ------
    result : object
        In the order of the arguments, whoever is done first.
    """
    if not has_workers() or (has_processes() and not by_processes):
        yield from (function(*one) for one in arguments)
        return
    arguments, n_together = iter(arguments), _ROUND * n_workers()
    while some := list(islice(arguments, n_together)):
        yield from answers(function, some, "scorer")


def each_alike(function, arguments):
    """As `each`, and to the same bits, whoever does it.

    How a product of matrices is added up depends on the number of threads that take part. So each
    is done by one, and without workers there are as many at once as it would have been given.
    """
    libraries = (one for one in threadpool_info() if one["user_api"] == "blas")
    n_threads = max((one["num_threads"] for one in libraries), default=1)
    alone = partial(_alone, function)
    with threadpool_limits(1):
        if has_workers():
            yield from each(alone, arguments)
        else:
            with parallel_config("threading", n_jobs=n_threads):
                yield from each(alone, arguments)


def _alone(function, *arguments):
    with threadpool_limits(1):
        return function(*arguments)
