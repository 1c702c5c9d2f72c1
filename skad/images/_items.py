"""Images one by one: files, PIL images, arrays and tensors of differing sizes, torch data sets."""

import copy
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ._pixels import CHANNELS, check_float_pixels


def is_image_item(item):
    """True for what can stand alone for an image: a path, a PIL image, an array, a tensor."""
    if isinstance(item, tuple) and item:  # a data set's (image, label)
        item = item[0]
    if isinstance(item, (str, os.PathLike)) or is_pil(item):
        return True
    return getattr(item, "ndim", 0) >= 2 and hasattr(item, "shape")


def _is_path(item):
    return isinstance(item, (str, os.PathLike))


class ImageItems:
    """A sequence of images that are opened when they are needed, in parallel.

    Parameters
    ----------
    items : sequence
        Paths, PIL images, arrays, tensors; or a torch data set.
    owner : str
        Named in errors.
    indices : ndarray of int, optional
        Those that count; all without.
    """

    n_features = None
    pixel_range = None

    def __init__(self, items, *, owner, indices=None):
        self.items, self.owner = items, owner
        self.indices = np.arange(len(items)) if indices is None else indices
        if len(self.indices) == 0:
            raise ValueError(f"{owner}: X holds 0 images (0 sample(s)); give at least one.")
        self._all_files = isinstance(items, list) and all(map(_is_path, items))
        if isinstance(items, list):
            for index, item in enumerate(items):
                self._check_item(index, item)

    def __len__(self):
        return len(self.indices)

    def take(self, indices):
        """Only the images at these indices."""
        taken = copy.copy(self)  # whose items were checked before
        taken.indices = self.indices[indices]
        return taken

    def read(self, start, stop, n_threads=1):
        """Images `start` to `stop` as a list of tensors (channels, height, width)."""
        indices = [int(index) for index in self.indices[start:stop]]
        # Files only: PIL images and data sets may hold state that two threads would share.
        if n_threads == 1 or len(indices) == 1 or not self._all_files:
            return [self._open(index) for index in indices]
        with ThreadPoolExecutor(n_threads) as threads:
            return list(threads.map(self._open, indices))

    def _check_item(self, index, item):
        """Refuse early what can't be read later, before hours of work are spent on the rest."""
        if not is_image_item(item):
            raise TypeError(
                f"{self.owner}: image {index} is a {type(item).__name__}; images are paths, PIL "
                "images, arrays or tensors of 2 or 3 axes."
            )
        if _is_path(item) and not os.path.isfile(item):
            if os.path.isdir(item):
                raise IsADirectoryError(
                    f"{self.owner}: image {index} ({Path(item)}) is a directory; list its images "
                    "with skad.datasets.image_folder(path)."
                )
            raise FileNotFoundError(f"{self.owner}: image {index} ({Path(item)}) does not exist.")

    def _open(self, index):
        """One image as a tensor (channels, height, width), uint8 or float32 in [0, 1]."""
        import torch

        name = f"image {index}"
        item = self._fetch(index, name)
        if _is_path(item) or is_pil(item):
            path = item.filename if is_pil(item) and hasattr(item, "filename") else item
            name += f" ({Path(path)})" if isinstance(path, (str, os.PathLike)) and path else ""
            pixels = self._decode(item, name)
        elif hasattr(item, "detach"):
            return self._tensor(item, name)
        else:
            pixels = np.asarray(item)
        pixels = self._check(pixels, name, channel_axes=(2, 0))
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"]))

    def _fetch(self, index, name):
        """An item; the image of an (image, label), as data sets give it."""
        try:
            item = self.items[index]
        except Exception as error:
            raise ValueError(f"{self.owner}: {name} could not be had: {error!r}") from error
        if isinstance(item, (tuple, list)) and item:
            item = item[0]
        if not is_image_item(item):
            raise TypeError(f"{self.owner}: {name} is a {type(item).__name__}, not an image.")
        return item

    def _tensor(self, tensor, name):
        import torch

        pixels = tensor.detach().cpu()
        pixels = pixels.float().numpy() if pixels.is_floating_point() else pixels.numpy()
        return torch.from_numpy(np.array(self._check(pixels, name, channel_axes=(0,))))

    def _decode(self, item, name):
        from PIL import Image

        try:
            if is_pil(item):  # may be open, but not read yet
                return _pil_to_array(item)
            with Image.open(item) as image:
                return _pil_to_array(image)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error ...
            raise ValueError(
                f"{self.owner}: {name} could not be read as an image: {error} Repair it or leave "
                "it out; nothing was skipped."
            ) from error

    def _check(self, pixels, name, channel_axes):
        """Pixels as (channels, height, width) without alpha; `channel_axes` in order of trial."""
        if pixels.ndim == 2:
            pixels = pixels[None]
        elif pixels.ndim == 3:
            axis = next((a for a in channel_axes if pixels.shape[a] in CHANNELS), None)
            if axis is None:
                raise ValueError(
                    f"{self.owner}: {name} has shape {pixels.shape}; one axis must hold 1, 3 or 4 "
                    "channels, the last of an array or the first of a tensor."
                )
            pixels = np.moveaxis(pixels, axis, 0)[:3]
        else:
            raise ValueError(f"{self.owner}: {name} has {pixels.ndim} axes; allowed are 2 or 3.")
        if pixels.size == 0:
            raise ValueError(f"{self.owner}: {name} of shape {pixels.shape} has no pixels.")
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind not in "fb":
            raise TypeError(
                f"{self.owner}: {name} has dtype {pixels.dtype}; images are uint8 in [0, 255] or "
                "floats in [0, 1]."
            )
        return check_float_pixels(pixels[None], lambda _: name, self.owner)[0]


def is_pil(item):
    """True for a PIL image."""
    # An object can only be a PIL image if PIL was imported.
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(item, pil.Image)


def _pil_to_array(image):
    """Grey or RGB pixels of a PIL image; 16-bit ones as floats."""
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.float32) / 65535
    if image.mode == "F":
        return np.asarray(image)
    if image.mode in ("1", "L", "LA", "La"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))
