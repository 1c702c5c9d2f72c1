"""Batches of a source, read one ahead; images of one shape together."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from joblib.parallel import ThreadingBackend, get_active_backend

# Most MiB of pixels in a batch: of larger images there are fewer.
_MOST_PIXELS = 128


def count_threads(n_jobs):
    """Threads for what scikit-learn calls `n_jobs`; they may be started in worker processes too."""
    if n_jobs is None:
        _, n_jobs = get_active_backend()
        n_jobs = 1 if n_jobs is None else n_jobs
    return ThreadingBackend().effective_n_jobs(n_jobs)


class Batch:
    """Images that were read together.

    Parameters
    ----------
    pixels : tensor (n, channels, height, width) or list of tensors (channels, height, width)
        uint8, or float32 in [0, 1] (a little beyond for scaled flat rows).
    origins : list of Origin or None, optional
        What images that were reduced come from; None stands for one that is whole.
    """

    def __init__(self, pixels, origins=None):
        self.pixels = pixels
        self.origins = [None] * len(pixels) if origins is None else origins

    def __len__(self):
        return len(self.pixels)

    def __iter__(self):
        return iter(self.pixels)

    def take(self, indices):
        """Only the images at these indices."""
        several = isinstance(self.pixels, list)
        pixels = [self.pixels[i] for i in indices] if several else self.pixels[indices]
        return Batch(pixels, [self.origins[i] for i in indices])

    @property
    def sizes(self):
        """Height and width of each image before it was reduced."""
        return [
            tuple(image.shape[-2:]) if origin is None else (origin.height, origin.width)
            for image, origin in zip(self.pixels, self.origins)
        ]

    def groups(self):
        """Images of one shape together: their indices, pixels in one tensor, and their origin."""
        import torch

        if not isinstance(self.pixels, list) and len(set(self.origins)) == 1:
            yield slice(None), self.pixels, self.origins[0]
            return
        for indices in same_shape(self.pixels, self.origins):
            pixels = torch.stack([self.pixels[i] for i in indices])
            yield indices, pixels, self.origins[indices[0]]


def same_shape(images, others=None):
    """Indices of the images of each shape."""
    groups, others = {}, [None] * len(images) if others is None else others
    for index, (image, other) in enumerate(zip(images, others)):
        groups.setdefault((image.shape, image.dtype, other), []).append(index)
    return groups.values()


def open_together(open_one, indices, n_threads):
    """Open images in threads, as many of them as fit into a batch.

    Parameters
    ----------
    open_one : callable
        Gives the pixels of the image at an index, and its origin.
    indices : sequence of int
    n_threads : int

    Returns
    -------
    batch : Batch
        The first of these images, at least one.
    """
    found, ahead, n_bytes, largest = [], deque(), 0, 0
    with _threads(min(n_threads, len(indices))) as submit:
        for index in indices:
            if found and n_bytes + largest * (len(ahead) + 1) > _MOST_PIXELS * 2**20:
                break
            ahead.append(submit(open_one, index))
            if len(ahead) > n_threads:
                found.append(ahead.popleft().result())
                largest = max(largest, found[-1][0].nbytes)
                n_bytes += found[-1][0].nbytes
        found += [one.result() for one in ahead]
    return Batch(*map(list, zip(*found)))


@contextmanager
def _threads(n_threads):
    """What submits work to so many threads; with one thread the work is done at once."""
    if n_threads <= 1:
        yield _Done
        return
    executor = ThreadPoolExecutor(n_threads)
    try:
        yield executor.submit
    finally:
        executor.shutdown(cancel_futures=True)


class _Done:
    """A future that is there already."""

    def __init__(self, function, *arguments):
        self._result = function(*arguments)

    def result(self):
        """What the function gave."""
        return self._result


def count_fitting(n_bytes):
    """How many images of so many bytes each fit into a batch, at least one."""
    return max(1, int(_MOST_PIXELS * 2**20 / max(1, n_bytes)))


def iterate_batches(source, batch_size, n_threads, detail=None, send=None):
    """Read batches one ahead, so that decoding overlaps with what is done with the last one.

    Parameters
    ----------
    source : ImageSource
        What :func:`skad.images._door.check_images` returns.
    batch_size : int
        Most images in a batch; there are fewer where they are large.
    n_threads : int
        Threads that decode within a batch.
    detail : callable, optional
        Maps height and width of an image to the least ones that do.
    send : callable, optional
        Is given each batch in the thread that reads, and gives what is yielded.

    Yields
    ------
    start : int
        Index of the first image of the batch.
    batch : Batch
    """

    def read(start):
        # Up to the next multiple, so that a part that begins at one has the same batches.
        stop = (start // batch_size + 1) * batch_size
        batch = source.read(start, stop, n_threads, detail)
        return batch if send is None else send(batch)

    start, batch = 0, read(0)
    with ThreadPoolExecutor(1) as reader:
        while True:
            following = start + len(batch)
            ahead = reader.submit(read, following) if following < len(source) else None
            yield start, batch
            if ahead is None:
                return
            start, batch = following, ahead.result()


def read_all(source, n_threads, detail=None):
    """All images of a source in one batch, however large they are.

    Parameters
    ----------
    source : ImageSource
        Images, already validated.
    n_threads : int
    detail : callable, optional

    Returns
    -------
    batch : Batch
    """
    import torch

    parts = [source.read(0, len(source), n_threads, detail)]
    while (start := sum(map(len, parts))) < len(source):
        parts.append(source.read(start, len(source), n_threads, detail))
    if len(parts) == 1:
        return parts[0]
    origins = [origin for part in parts for origin in part.origins]
    if isinstance(parts[0].pixels, list):
        return Batch([image for part in parts for image in part], origins)
    return Batch(torch.cat([part.pixels for part in parts]), origins)
