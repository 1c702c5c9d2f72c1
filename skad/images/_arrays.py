"""Images of one shape in one array: of images, or of flat rows."""

from functools import partial

import numpy as np

from ._batches import Batch, count_fitting, open_together
from ._mapped import MappedFile, backing_file
from ._pixels import CHANNELS, scale_pixels
from ._reduce import Origin, choose_box, reduce_pixels
from ._source import ImageSource

# Rows that leave the range of the training rows by more than this many times its width are as far
# out as can be; beyond, the network's arithmetic would overflow.
_FAR = 1e4


class ImageArray(ImageSource):
    """Images of one shape in one array, read batch by batch (memory-mapped ones too).

    Parameters
    ----------
    array : ndarray
        The images or rows.
    layout : {"nhwc", "nchw", "nhw", "rows"}
        What its axes are.
    image_shape : tuple of int, optional
        Shape of the image in a row.
    pixel_range : tuple of float, optional
        Values of rows that become black and white; None for those of uint8 and of [0, 1].
    **told
        See :class:`ImageSource`.
    """

    def __init__(self, array, layout, *, image_shape=None, pixel_range=None, **told):
        super().__init__(len(array), **told)
        self.array, self.layout = array, layout
        self.image_shape, self.pixel_range = image_shape, pixel_range

    @property
    def bytes_of_one(self):
        """Bytes of an image."""
        return self.array[:1].nbytes

    def _hold(self, container):
        self.array = container

    def _only(self, indices):
        if not isinstance(self.array, np.ndarray):  # of Dask, whose slices are plans
            return np.asarray(self.array[indices])
        if self.indices is None:
            return self.array[indices[0] : indices[-1] + 1]
        return self.array[indices] if backing_file(self.array) is None else None

    def __getstate__(self):
        """State with the name of the file of an array that is mapped, in the place of pixels."""
        state = vars(self).copy()
        file = backing_file(self.array)
        if file is not None:
            state["array"] = file
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        if isinstance(self.array, MappedFile):
            self.array = self.array.open()

    @property
    def n_features(self):
        """Number of values in a row, None for images."""
        return self.array.shape[1] if self.layout == "rows" else None

    @property
    def pixels(self):
        """The part of the array that counts."""
        return self.array if self.indices is None else self.array[self.indices]

    def read(self, start, stop, n_threads=1, detail=None):
        import torch

        stop = min(stop, len(self))
        if self.layout != "rows":
            size = _size_of(self.array.shape[1:], self.layout[1:])
            box = choose_box(size, detail)
            if box > 1:
                open_one = partial(self._reduced, origin=Origin(*size, box))
                batch = open_together(open_one, range(start, stop), n_threads)
                return Batch(torch.stack(batch.pixels), batch.origins)
            stop = min(stop, start + count_fitting(self.array[:1].nbytes))
        where = slice(start, stop) if self.indices is None else self.indices[start:stop]
        batch, layout = np.asarray(self.array[where]), self.layout
        if layout == "rows":
            batch = self._scale_rows(batch, start).reshape(len(batch), *self.image_shape)
            layout = _layout_of_shape(self.image_shape)
        else:
            batch = self._scaled(batch, start)
        # torch takes no read-only memory, as memory-mapped arrays and joblib's workers have it
        batch = torch.from_numpy(np.require(batch, requirements=["C", "W"]))
        return Batch(_channels_first(batch, layout))

    def _reduced(self, i, origin):
        """One image averaged over boxes, and where it comes from."""
        import torch

        pixels = self._scaled(np.asarray(self.array[self.index(i)])[None], i)
        reduced = reduce_pixels(_channels_first(pixels, self.layout)[0], origin.box)
        return torch.from_numpy(np.require(reduced, requirements=["C", "W"])), origin

    def _scaled(self, batch, start):
        """Images as uint8, or as float32 in [0, 1]; those that can't be read are black."""
        if not self.failures.skip:
            return self._scale(batch, start)
        found = []
        for i in range(len(batch)):
            with self.failures.of(self.index(start + i)):
                found.append(self._scale(batch[i : i + 1], start + i))
            if len(found) == i:
                found.append(np.zeros(batch[:1].shape, np.float32))
        return np.concatenate(found)

    def _scale(self, batch, start):
        def name(i):
            return self.name(self.index(start + i))

        return scale_pixels(batch, name, self.owner, self.reading.value_range, self.brightest)

    def _scale_rows(self, batch, start):
        """Rows as uint8, or as float32 that are about in [0, 1]."""
        fixed = self.pixel_range in (None, (0.0, 1.0))
        if fixed and batch.dtype.kind in "iu" and batch.max() > 1 and batch.min() >= 0:
            if batch.max() > 255:
                raise ValueError(
                    f"{self.owner}: the training rows were pixels of fixed range, so whole numbers "
                    f"must lie in [0, 255]; got {batch.max()}."
                )
            return batch.astype(np.uint8)
        if batch.dtype == np.uint8 and fixed:
            return batch
        if self.pixel_range is None:
            return self._scale(batch.astype(np.float64), start)
        low, high = self.pixel_range
        scaled = (batch.astype(np.float64) - low) / (high - low)
        return scaled.clip(-_FAR, _FAR).astype(np.float32)


def _size_of(shape, layout):
    """Height and width of an image of a shape."""
    return shape[layout.index("h")], shape[layout.index("w")]


def _channels_first(images, layout):
    """Images (n, channels, height, width) without alpha, of an array or a tensor."""
    if layout == "nhw":
        return images[:, None]
    if layout == "nhwc":
        images = images.swapaxes(1, 3).swapaxes(2, 3)
    return images[:, :3]


def _layout_of_shape(image_shape):
    if len(image_shape) == 2:
        return "nhw"
    return "nhwc" if image_shape[-1] in CHANNELS else "nchw"
