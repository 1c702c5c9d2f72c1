"""ImageSource: images in whatever container, read batch by batch."""

import copy
from abc import ABC, abstractmethod

import numpy as np

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
        self._numbers = None  # of a part: those of its images in the whole

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
            Images, already validated.
        """
        taken = copy.copy(self)  # whose images were looked at before
        taken.indices = indices if self.indices is None else self.indices[indices]
        return taken

    def index(self, i):
        """Index in the whole of the i-th image that was taken."""
        return int(i if self.indices is None else self.indices[i])

    def number(self, index):
        """What the image at an index of the container is called: its index in the whole."""
        return int(index if self._numbers is None else self._numbers[index])

    #: Bytes of the pixels of an image as they are sent to another process; None for paths.
    bytes_of_one = None

    def part(self, start, stop):
        """Images `start` to `stop` as a source of their own, with a container of those alone.

        What is noted as they are read is noted there.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        source : ImageSource
            Images, already validated.
        """
        indices = np.arange(start, stop) if self.indices is None else self.indices[start:stop]
        part = copy.copy(self)
        part.brightest, part.failures = Brightest(), self.failures.of_part(indices)
        container = self._only(indices)
        if container is None:  # it is shared, and images keep their indices
            part.indices, part.failures = indices, self.failures.of_part(None)
        else:
            part._n_images, part.indices = len(indices), None
            part._numbers = np.array([self.number(index) for index in indices])
            part._hold(container)
        return part

    @abstractmethod
    def _hold(self, container):
        """Take another container."""

    @abstractmethod
    def _only(self, indices):
        """A container of the images at some indices; None if it is to be shared."""

    def notes(self):
        """What was noted as images were read, for `take_notes` of the whole."""
        reasons = {self.number(index): why for index, why in self.failures.reasons.items()}
        return self.brightest.value, reasons

    def take_notes(self, notes):
        """Note what was noted of a part."""
        value, reasons = notes
        if value is not None:
            self.brightest.update(value)
        self.failures.reasons.update(reasons)

    def name(self, index):
        """What an error calls the image at an index of the container."""
        return f"image {self.first + self.number(index)}"

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
