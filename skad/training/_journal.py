"""The journal of a fit: the files of its trainings, kept until all of it is over."""

from contextlib import contextmanager
from contextvars import ContextVar

# A context variable, so that fits in other threads keep journals of their own.
_OPEN = ContextVar("skad_journal", default=None)


@contextmanager
def journal():
    """Join the journal that a fit around this one keeps, or open one.

    When the outermost fit is over, the files of all its trainings are removed. An error keeps them,
    and a note on it says where they are.

    Yields
    ------
    checkpoints : list of Checkpoint
        Of the trainings so far, to which those to come are added.
    """
    joined = _OPEN.get()
    if joined is not None:
        yield joined
        return
    checkpoints = []
    token = _OPEN.set(checkpoints)
    try:
        yield checkpoints
    except BaseException as error:
        for checkpoint in checkpoints:
            checkpoint.note(error)
        raise
    else:
        for checkpoint in checkpoints:
            checkpoint.remove()
    finally:
        _OPEN.reset(token)
