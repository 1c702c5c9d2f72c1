"""Batches of a source, read one ahead; images of one shape together."""

from concurrent.futures import ThreadPoolExecutor


def iterate_batches(source, batch_size, n_threads):
    """Read batches one ahead, so that decoding overlaps with what is done with the last one.

    Parameters
    ----------
    source : ImageSource
        What :func:`skad.images._door.check_images` returns.
    batch_size : int
    n_threads : int
        Threads that decode within a batch.

    Yields
    ------
    start : int
        Place of the first image of the batch.
    batch : tensor (n, channels, height, width) or list of tensors (channels, height, width)
    """
    starts = range(0, len(source), batch_size)
    if len(starts) == 1:
        yield 0, source.read(0, batch_size, n_threads)
        return
    with ThreadPoolExecutor(1) as reader:
        ahead = None
        for start in starts:
            batch = ahead.result() if ahead else source.read(0, batch_size, n_threads)
            following = start + batch_size
            if following < len(source):
                ahead = reader.submit(source.read, following, following + batch_size, n_threads)
            yield start, batch


def same_shape(batch):
    """Indices of the images of each shape."""
    groups = {}
    for index, image in enumerate(batch):
        groups.setdefault((image.shape, image.dtype), []).append(index)
    return groups.values()
