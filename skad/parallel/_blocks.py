"""How pictures are cut into blocks, each the work of one task."""

from math import ceil

# Most MiB of pixels in a block that is sent as such, and most pictures where it is paths.
_MOST_PIXELS, _MOST_ITEMS = 64, 1024

# Blocks for each worker, at the least, if there are enough pictures: none waits for the last long.
_N_EACH = 4


def block_size(source, together, n_workers):
    """Pictures of a block: whole batches, so that batches, and bits, are those of one process.

    Parameters
    ----------
    source : ImageSource
        Images, already validated.
    together : int
        Pictures of a batch.
    n_workers : int

    Returns
    -------
    size : int
        A multiple of `together`.
    """
    n_bytes = source.bytes_of_one
    most = _MOST_ITEMS if n_bytes is None else _MOST_PIXELS * 2**20 / max(n_bytes, 1)
    most = max(1, int(most // together))
    fair = ceil(len(source) / (together * _N_EACH * n_workers))
    return together * max(1, min(most, fair))
