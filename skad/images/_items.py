"""Images one by one: files, bytes, PIL images, arrays and tensors of differing sizes, data sets."""

import io
import threading
from collections.abc import Mapping
from functools import partial

import numpy as np

from ._batches import open_together
from ._decode import decode_file, decode_image, is_pil, pillow_at_work, what_is_wrong
from ._encoded import (
    REMOTE_THREADS,
    bytes_of_file,
    check_file,
    is_address,
    is_encoded,
    is_file,
    is_path,
    name_of,
    readable,
)
from ._pixels import CHANNELS, check_sides, scale_pixels
from ._reduce import Origin, choose_box, reduce_pixels
from ._source import ImageSource

# Around open files, which may be given twice, and to several threads.
_open_files = threading.Lock()

# Names under which rows of data sets hold their image.
IMAGE_KEYS = ("image", "pixel_values", "img")


def is_image_item(item):
    """True for what can stand alone for an image: a path, bytes, a PIL image, an array, a row."""
    if type(item) is str:  # most are
        return True
    if isinstance(item, tuple) and item:  # a data set's (image, label)
        item = item[0]
    if isinstance(item, Mapping):
        return True
    if is_encoded(item) or is_pil(item):
        return True
    return getattr(item, "ndim", 0) >= 2 and hasattr(item, "shape")


def is_gap(item):
    """True for what tables have where there is nothing: None, NaN, pandas' NA."""
    is_nan = isinstance(item, float) and item != item
    return item is None or is_nan or type(item).__name__ == "NAType"


class ImageItems(ImageSource):
    """A sequence of images that are opened when they are needed, in parallel.

    Parameters
    ----------
    items : sequence
        Paths, addresses, bytes, open files, members of tar files, PIL images, arrays, tensors, rows
        that hold one of these; or a data set of such.
    **told
        See :class:`ImageSource`.
    """

    def __init__(self, items, **told):
        super().__init__(len(items), **told)
        if len(items) == 0:
            raise ValueError(f"{self.owner}: X holds 0 images (0 sample(s)); give at least one.")
        self.items, listed = items, isinstance(items, list)
        self._least_threads = REMOTE_THREADS if listed and any(map(is_address, items)) else 1
        # PIL images and data sets may hold state that two threads would share.
        self._one_thread = not listed or not all(map(_is_independent, items))
        for index, item in enumerate(items) if listed else ():
            with self.failures.of(index):
                items[index] = self._checked(index, item)

    def read(self, start, stop, n_threads=1, detail=None):
        n_threads = 1 if self._one_thread else max(n_threads, self._least_threads)
        indices = [self.index(i) for i in range(start, min(stop, len(self)))]
        with pillow_at_work():
            return open_together(partial(self._open, detail=detail), indices, n_threads)

    def _hold(self, container):
        self.items = container

    def _only(self, indices):
        is_list = isinstance(self.items, list)  # a data set has no parts
        return [self.items[index] for index in indices] if is_list else None

    def _checked(self, index, item):
        """Refuse early what can't be read later, before hours of work are spent on the rest."""
        name = self.name(index)
        if type(item) is str and not is_address(item):  # most are
            check_file(item, name, self.owner)
            return item
        if is_gap(item):
            raise ValueError(f"{self.owner}: {name} is missing: there is {item} in its place.")
        if not is_image_item(item):
            raise TypeError(
                f"{self.owner}: {name} is a {type(item).__name__}; images are paths, bytes or open "
                "files, PIL images, arrays or tensors of 2 or 3 axes, or rows (dicts) that hold "
                "one."
            )
        if isinstance(item, Mapping):
            self._image_of_row(item, name)
        if is_file(item) and not is_pil(item):
            return self._checked_file(item, name)
        if is_path(item) and not is_address(item):
            check_file(item, name, self.owner)
        return item

    def _checked_file(self, file, name):
        """An open file, or its bytes where they can be read but once."""
        name += name_of(file)
        if isinstance(file, io.TextIOBase):
            raise TypeError(f"{self.owner}: {name} is open as text; open it with mode 'rb'.")
        if getattr(file, "closed", False):
            raise ValueError(f"{self.owner}: {name} is a closed file; give it open, or its path.")
        seekable = getattr(file, "seekable", None)
        return file if seekable is not None and seekable() else file.read()

    def _open(self, index, detail):
        """One image as a tensor (channels, height, width), and where it comes from."""
        import torch

        with self.failures.of(index):
            if not self.failures.has(index):
                pixels, origin = self._pixels(index, detail)
                return torch.from_numpy(np.require(pixels, requirements=["C", "W"])), origin
        return torch.zeros((1, 1, 1), dtype=torch.uint8), None  # its score will be NaN

    def _pixels(self, index, detail):
        name = self.name(index)
        item = self._fetch(index, name)
        channel_axes = (2, 0)
        if is_pil(item) or is_encoded(item):
            # Values are scaled before they are averaged.
            scaled = self.reading.value_range is not None
            values, origin = self._decode(item, name, None if scaled else detail)
            if values.dtype == np.uint8 and not scaled:
                return values, origin
            name += name_of(item)
            channel_axes = (0,)
        elif hasattr(item, "detach"):
            values, channel_axes = tensor_to_numpy(item), (0,)
        else:
            values = np.asarray(item)
        values = self._with_channels(values, name, channel_axes)
        pixels = scale_pixels(
            values[None], lambda _: name, self.owner, self.reading.value_range, self.brightest
        )[0]
        size = pixels.shape[1:]
        box = choose_box(size, detail)
        return reduce_pixels(pixels, box), None if box == 1 else Origin(*size, box)

    def _fetch(self, index, name):
        """An item; the image of an (image, label) or of a dict, as data sets give them."""
        try:
            item = self.items[index]
        except Exception as error:
            raise ValueError(f"{self.owner}: {name} could not be had: {error!r}") from error
        if isinstance(item, (tuple, list)) and item:
            item = item[0]
        if isinstance(item, Mapping):
            item = self._image_of_row(item, name)
        if not is_image_item(item):
            raise TypeError(f"{self.owner}: {name} is a {type(item).__name__}, not an image.")
        return item

    def _image_of_row(self, row, name):
        key = next((key for key in IMAGE_KEYS if key in row), None)
        if key is None:
            raise TypeError(
                f"{self.owner}: {name} is a dict of {', '.join(map(repr, row))}; its image must be "
                f"under one of {', '.join(map(repr, IMAGE_KEYS))}."
            )
        found = row[key]
        if isinstance(found, Mapping):  # Hugging Face's images that are not decoded
            found = next((found[k] for k in ("bytes", "path") if found.get(k) is not None), None)
        return found

    def _decode(self, item, name, detail):
        given = item
        try:
            if is_pil(item):  # may be open, but not read yet
                return decode_image(item, self.reading, detail)
            if is_file(item):
                with _open_files:
                    item = bytes_of_file(item)
            return decode_file(readable(item), self.reading, detail)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error ...
            raise _unreadable(error, f"{self.owner}: {name}{name_of(given)}") from error

    def _with_channels(self, values, name, channel_axes):
        """Values as (channels, height, width) without alpha; `channel_axes` in order of trial."""
        if values.ndim == 2:
            values = values[None]
        elif values.ndim == 3:
            axis = next((a for a in channel_axes if values.shape[a] in CHANNELS), None)
            if axis is None:
                raise ValueError(
                    f"{self.owner}: {name} has shape {values.shape}; one axis must hold 1, 3 or 4 "
                    "channels, the last of an array or the first of a tensor."
                )
            values = np.moveaxis(values, axis, 0)[:3]
        else:
            raise ValueError(f"{self.owner}: {name} has {values.ndim} axes; allowed are 2 or 3.")
        if values.size == 0:
            raise ValueError(f"{self.owner}: {name} of shape {values.shape} has no pixels.")
        check_sides(*values.shape[1:], f"{self.owner}: {name}")
        return values


def tensor_to_numpy(tensor):
    """Values of a tensor, on the CPU; half floats, which numpy may lack, as float32."""
    tensor = tensor.detach().cpu()
    is_half = tensor.dtype.itemsize == 2 and tensor.is_floating_point()
    return tensor.float().numpy() if is_half else tensor.numpy()


def _is_independent(item):
    """True for items that several threads may open at once."""
    return is_encoded(item) or hasattr(item, "detach") or isinstance(item, np.ndarray)


def _unreadable(error, name):
    """What to raise where an image could not be read."""
    reason = what_is_wrong(error)
    kind = ImportError if isinstance(error, ImportError) else ValueError
    for known in (FileNotFoundError, PermissionError):
        kind = known if isinstance(error, known) else kind
    return kind(
        f"{name} could not be read as an image: {reason}. Repair it or leave it out; nothing was "
        "skipped."
    )
