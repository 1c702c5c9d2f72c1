"""Work on pictures dealt out to workers, block by block."""

from ._backend import n_workers
from ._blocks import block_size
from ._parcel import packed, unpacked
from ._tasks import answers

# Blocks of a round for each worker, at the end of which some wait for others; there are more
# where their results, which wait to be used, are small.
_ROUND, _MOST_WAITING = 16, 128 * 2**20


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
        Images, already validated.
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
    first, n_blocks = 0, _ROUND * workers
    while first < len(starts):
        some = starts[first : first + n_blocks]
        blocks = [source.part(start, min(start + size, len(source))) for start in some]
        tasks = [(method, block, digest, *arrays) for block in blocks]
        for result, notes in answers(_of_block, tasks, source.owner):
            source.take_notes(notes)
            yield result
        first += len(some)
        if hasattr(result, "nbytes"):
            n_blocks = max(n_blocks, _MOST_WAITING // max(result.nbytes, 1))


def _of_block(method, block, digest, *arrays):
    """The result of a block, and what was noted in reading it."""
    return getattr(unpacked(digest, arrays), method)(block), block.notes()
