"""Which images make up the batch of a step."""

import numpy as np

from .._random import numpy_stream


def n_batches(n_images, batch_size, fewest=1):
    """Number of batches of an epoch."""
    return max(1, min(-(-n_images // batch_size), n_images // fewest))


class BatchSampler:
    """Which images make up the batch of a step: epochs of shuffled images, in even batches.

    A batch follows from the seed and the number of the step alone, so that training can go on from
    any step. Batches of an epoch differ in size by one at most, so that none is left with a few
    images.

    Parameters
    ----------
    n_images : int
    batch_size : int
        Largest number of images in a batch.
    seed : int
    fewest : int, default=1
        Least number of images in a batch, where there are as many; one batch may be larger for it.
    held_out : sequence of int, default=()
        Places of images that are in no batch.
    """

    def __init__(self, n_images, batch_size, seed, fewest=1, held_out=()):
        self.images, self.seed = np.setdiff1d(np.arange(n_images), held_out), seed
        self.n_batches = n_batches(len(self.images), batch_size, fewest)  # in an epoch
        self._epoch = None

    def __call__(self, step):
        """Places of the images of a step, ndarray of int."""
        epoch, batch = divmod(step, self.n_batches)
        if epoch != self._epoch:
            order = numpy_stream(self.seed, "order", epoch).permutation(self.images)
            self._epoch, self._batches = epoch, np.array_split(order, self.n_batches)
        return self._batches[batch]
