"""Work on pictures dealt out to workers, block by block."""

from ._backend import n_workers
from ._blocks import block_size
from ._parcel import packed, unpacked
from ._tasks import answers

# Blocks of a round for each worker: as many results wait to be used, at the most.
_ROUND = 16


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
    digest, arrays = packed(estimator)
    for i in range(0, len(starts), _ROUND * workers):
        some = starts[i : i + _ROUND * workers]
        blocks = [source.part(start, min(start + size, len(source))) for start in some]
        tasks = [(method, block, digest, *arrays) for block in blocks]
        for result, notes in answers(_of_block, tasks, source.owner):
            source.take_notes(notes)
            yield result


def _of_block(method, block, digest, *arrays):
    """The result of a block, and what was noted in reading it."""
    return getattr(unpacked(digest, arrays), method)(block), block.notes()
