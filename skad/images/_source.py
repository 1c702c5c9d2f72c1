"""ImageSource: images in whatever container, read batch by batch."""

import copy
from abc import ABC, abstractmethod

from ._failures import Failures
from ._pixels import Brightest


class ImageSource(ABC):
    """Images that are read when they are needed; what :func:`check_images` gives.

    Parameters
    ----------
    n_images : int
    owner : str
        Named in errors.
    reading : Reading
    failures : Failures, optional
        What becomes of images that can't be read; by default they are errors.
    first : int
        Index of the first image in what these are a part of; errors name images so.
    """

    #: Number of values in a flat row, None for images.
    n_features = None
    #: Values of flat rows that become black and white, None for those of fixed range.
    pixel_range = None

    def __init__(self, n_images, *, owner, reading, failures=None, first=0):
        self._n_images, self.owner, self.reading = n_images, owner, reading
        self.first = first
        self.brightest, self.failures = Brightest(), failures or Failures()
        self.indices = None  # those that were taken

    def __len__(self):
        return self._n_images if self.indices is None else len(self.indices)

    def take(self, indices):
        """Only the images at these indices.

        Parameters
        ----------
        indices : ndarray of int

        Returns
        -------
        source : ImageSource
        """
        taken = copy.copy(self)  # whose images were looked at before
        taken.indices = indices if self.indices is None else self.indices[indices]
        return taken

    def index(self, i):
        """Index in the whole of the i-th image that was taken."""
        return int(i if self.indices is None else self.indices[i])

    def name(self, index):
        """What an error calls the image at an index in the whole."""
        return f"image {self.first + index}"

    @abstractmethod
    def read(self, start, stop, n_threads=1, detail=None):
        """Images `start` to `stop`, or fewer of them where they are large.

        Parameters
        ----------
        start, stop : int
        n_threads : int
        detail : callable, optional
            Maps height and width of an image to the least ones that do; by default images are
            whole.

        Returns
        -------
        batch : Batch
            Of uint8 or float32.
        """
