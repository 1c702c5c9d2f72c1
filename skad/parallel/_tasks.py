"""Tasks for the workers of a joblib backend, some of whom may be lost."""

import pickle

from joblib import Parallel, delayed

from .._warnings import warn
from ._backend import AtWork, active_backend, n_workers, shares_memory, yields_results
from ._dask import completed

# How often tasks are given out whose workers are lost.
_N_TRIES = 3


def each(function, tasks, owner):
    """What `answers` gives where there are workers for several tasks, else the same done here."""
    if len(tasks) > 1 and n_workers() > 1:
        return answers(function, tasks, owner)
    return [function(*task) for task in tasks]


def answers(function, tasks, owner):
    """What a function gives for each of some arguments, in order, computed by workers.

    Parameters
    ----------
    function : callable
    tasks : list of tuple
        Arguments.
    owner : str
        Named in the warning.

    Returns
    -------
    results : list

    Raises
    ------
    Exception
        What the function raised, as it was, whatever the backend makes of errors.

    Warns
    -----
    UserWarning
        If workers were lost, and their tasks given to others.
    """
    done = {}
    for n_left in reversed(range(_N_TRIES)):
        left = [place for place in range(len(tasks)) if place not in done]
        try:
            for i, answer in _answers(function, [tasks[place] for place in left]):
                done[left[i]] = answer  # one by one, so that those of workers that are left count
            break
        except Exception as error:  # each backend has its own for a worker that is gone
            if not n_left:
                raise
            warn(
                f"{owner}: workers were lost ({type(error).__name__}: {str(error)[:200]}); "
                f"{len(tasks) - len(done)} tasks are given out again."
            )
    found = [done[place] for place in range(len(tasks))]
    for _, error in found:
        if error is not None:
            raise error
    return [result for result, _ in found]


def _answers(function, tasks):
    """Places and answers of tasks, by the workers of the active backend."""
    backend, library = active_backend()
    if library == "dask":
        yield from completed(backend, _sent_answer, [(function, *task) for task in tasks])
        return
    return_as = "generator" if yields_results() else "list"
    answer = _answer if shares_memory() else _sent_answer
    jobs = (delayed(answer)(function, *task) for task in tasks)
    yield from enumerate(Parallel(return_as=return_as, batch_size=1)(jobs))


def _answer(function, *task):
    """A result and no error, or none and the error, which so comes out as it is."""
    with AtWork():
        try:
            return function(*task), None
        except Exception as error:
            return None, error.with_traceback(None)


def _sent_answer(function, *task):
    """The same from another process; of an error that can't be sent, what it says."""
    result, error = _answer(function, *task)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return result, error
