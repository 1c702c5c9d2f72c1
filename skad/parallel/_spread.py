"""Work on pictures dealt out to workers, block by block."""

from joblib import Parallel, delayed

from .._warnings import warn
from ._backend import AtWork, n_workers, shares_memory
from ._blocks import block_size
from ._parcel import Parcel, unpacked

# Blocks of a round for each worker: as many results wait to be used, at the most.
_ROUND = 16

# How often blocks are given out again whose workers were lost.
_N_TRIES = 3


def spread(estimator, method, source, together):
    """What a method of an estimator gives for each block of a source, in order.

    The method is given a block, which is a source. Where there are no workers, or too few pictures
    for two of them, there is one block, the source itself. What is noted of pictures as they are
    read (that they can't be, how bright they are) is noted in the source.

    Parameters
    ----------
    estimator : estimator
        Fitted. It is sent to each worker once.
    method : str
        The name of the method.
    source : ImageSource
    together : int
        Pictures that go through the network together.

    Yields
    ------
    result : object
        Of a block.

    Warns
    -----
    UserWarning
        If workers were lost, and their blocks given to others.
    """
    workers = n_workers()
    size = block_size(source, together, workers) if workers > 1 else len(source)
    if size >= len(source):
        yield getattr(estimator, method)(source)
        return
    starts = range(0, len(source), size)
    parcel = _Local(estimator) if shares_memory() else Parcel(estimator)
    for i in range(0, len(starts), _ROUND * workers):
        some = starts[i : i + _ROUND * workers]
        blocks = [source.part(start, min(start + size, len(source))) for start in some]
        for result, notes in _computed(parcel, method, blocks, source.owner):
            source.take_notes(notes)
            yield result


class _Local:
    """An estimator for workers that are threads of this process."""

    def __init__(self, estimator):
        self.digest, self.arrays = None, [estimator]


def _computed(parcel, method, blocks, owner):
    """Results and notes of blocks, in order, whatever becomes of workers."""
    done = []
    for n_left in reversed(range(_N_TRIES)):
        jobs = (
            delayed(_work)(parcel.digest, parcel.arrays, method, block)
            for block in blocks[len(done) :]
        )
        try:
            for answer in Parallel(return_as="generator", batch_size=1)(jobs):
                done.append(answer)
            break
        except Exception as error:  # each backend has its own for a worker that is gone
            if not n_left:
                raise
            warn(
                f"{owner}: workers were lost ({type(error).__name__}: {str(error)[:200]}); "
                f"{len(blocks) - len(done)} blocks of pictures are computed again."
            )
    for result, notes, error in done:
        if error is not None:
            raise error
        yield result, notes


def _work(digest, arrays, method, block):
    """The result of a block, what was noted in reading it, and the error, if there was one.

    Errors are results, so that they come out as they are, whatever the backend makes of its own.
    """
    estimator = arrays[0] if digest is None else unpacked(digest, arrays)
    with AtWork():
        try:
            return getattr(estimator, method)(block), block.notes(), None
        except Exception as error:
            return None, None, error.with_traceback(None)
