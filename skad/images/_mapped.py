"""Arrays that are mapped from files: where their values lie, so that those need not be sent."""

import mmap
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MappedFile:
    """Where an array lies in a file.

    Parameters
    ----------
    name : str
        Path of the file.
    dtype : numpy.dtype
    shape : tuple of int
    offset : int
        Of its first value, in bytes.
    """

    name: str
    dtype: object
    shape: tuple
    offset: int

    def open(self):
        """The array, mapped to be read."""
        return np.memmap(self.name, self.dtype, "r", self.offset, self.shape)


def backing_file(array):
    """Where an array lies in a file that it is mapped from, as a whole; else None."""
    root = array
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    name = getattr(root, "filename", None)
    if name is None or not array.flags.c_contiguous or not array.size:
        return None
    first, of_root = (one.__array_interface__["data"][0] for one in (array, root))
    return MappedFile(str(name), array.dtype, array.shape, root.offset + first - of_root)
