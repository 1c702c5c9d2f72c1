"""check_images: the only door for images. Any container becomes one source of image batches."""

import os

import numpy as np
from sklearn.utils.validation import validate_data

from .._labels import normal_rows
from ._items import ImageItems, is_image_item, is_pil
from ._pixels import CHANNELS, check_float_pixels

# Rows that leave the range of the training rows by more than this many times its width are as far
# out as can be; beyond, the network's arithmetic would overflow.
_FAR = 1e4


def check_images(estimator, X, y=None, *, reset=False):
    """Validate images in any container.

    Parameters
    ----------
    estimator : estimator
        Named in errors. Its `image_shape` parameter, where it has one, tells the shape of the
        images in flat rows; with `reset` its `n_features_in_` and `pixel_range_` are set.
    X : array, tensor, list, data set or ImageSource
        The images, see the notes.
    y : array-like of shape (n_images,), optional
        Images labelled -1 (or True) are left out.
    reset : bool
        True in `fit`: learn what later calls are held to.

    Returns
    -------
    source : ImageSource
        Its ``len``, and ``read(start, stop)`` for a batch.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        One error that names the estimator, what came, and what to do.

    Notes
    -----
    ===================================  ===========================================================
    2-D array, list of rows, DataFrame   flat images: `image_shape`, else squares of 1 or 3 channels
                                         (channels last), else strips one pixel high
    3-D array                            grey images (n, height, width)
    4-D array                            (n, height, width, channels) if the last axis is 1, 3 or 4,
                                         else (n, channels, height, width); alpha is dropped
    torch tensor                         channels first
    list or 1-D array of items           paths, PIL images, arrays or tensors, of differing sizes
    torch data set                       each item an image, or a tuple that starts with one
    ===================================  ===========================================================

    uint8 is divided by 255, floats of images lie in [0, 1]. Flat rows may hold any finite numbers:
    those outside [0, 1] are scaled by the range of the training rows.
    """
    source = X if isinstance(X, (ImageArray, ImageItems)) else _source(estimator, X, reset)
    if y is not None:
        source = source.take(normal_rows(source, y, owner=type(estimator).__name__))
    if reset:
        if source.n_features is not None and not isinstance(X, ImageArray):
            source.pixel_range = _range_of(source.pixels)
        take_source(estimator, source)
    return source


def _source(estimator, X, reset):
    """Choose how to read `X` by what it is."""
    owner = type(estimator).__name__
    if isinstance(X, (str, bytes, os.PathLike)):
        raise TypeError(
            f"{owner}: X is one path, {os.fspath(X)!r}; give a list of image files, for example "
            "paths, labels = skad.datasets.image_folder(path)."
        )
    if is_pil(X):
        raise TypeError(f"{owner}: X is one image; give a list of images: [image].")
    if _is_tensor(X):
        return _array(estimator, X, _tensor_to_numpy(X), reset, channels_first=True)
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim == 1):
        if len(X) == 0:
            raise ValueError(f"{owner}: X holds 0 images (0 sample(s)); give at least one.")
        if is_image_item(X[0]):
            return ImageItems(list(X), owner=owner)
        if isinstance(X, (list, tuple)):
            X = _array_of_list(owner, X)
    if isinstance(X, np.ndarray):
        return _array(estimator, X, X, reset)
    if hasattr(X, "__array__") or hasattr(X, "iloc"):
        values = np.asarray(X)
        if values.ndim == 1 and len(values) and is_image_item(values[0]):
            return ImageItems(list(values), owner=owner)
        return _array(estimator, X, values, reset)
    if hasattr(X, "__getitem__") and hasattr(X, "__len__") and not hasattr(X, "nnz"):
        return ImageItems(X, owner=owner)
    return _rows(estimator, X, reset)  # sparse matrices and the like: scikit-learn's own errors


def _is_tensor(X):
    return hasattr(X, "detach") and hasattr(X, "cpu")  # of torch, or of a subclass of anyone's


def _tensor_to_numpy(X):
    X = X.detach().cpu()
    return X.float().numpy() if X.dtype.itemsize == 2 and X.is_floating_point() else X.numpy()


def _array_of_list(owner, X):
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"{owner}: X is a list of rows of differing lengths. Flat images must have one length; "
            "images of differing sizes are given as a list of 2-D or 3-D arrays, PIL images or "
            "paths."
        ) from error


def _array(estimator, X, values, reset, channels_first=False):
    if values.ndim <= 2:
        # X itself where scikit-learn can use more of it than its values: column names
        return _rows(estimator, values if channels_first else X, reset)
    return _images(estimator, values, channels_first)


def _images(estimator, X, channels_first):
    """Source for an array of images, 3-D or 4-D."""
    owner = type(estimator).__name__
    if len(X) == 0:
        raise ValueError(f"{owner}: X of shape {X.shape} holds 0 images (0 sample(s)).")
    if X.dtype != np.uint8 and X.dtype.kind not in "fb":
        raise TypeError(
            f"{owner}: arrays of images are uint8 in [0, 255] or floats in [0, 1]; got dtype "
            f"{X.dtype}. Convert them, for example with X.astype(np.uint8)."
        )
    if 0 in X.shape:
        raise ValueError(f"{owner}: X of shape {X.shape} holds images without pixels.")
    one_tensor = channels_first and X.ndim == 3 and X.shape[0] in (1, 3) and min(X.shape[1:]) > 4
    if one_tensor or (X.ndim == 3 and X.shape[-1] in (3, 4) and X.shape[0] > 4):
        raise ValueError(
            f"{owner}: X of shape {X.shape} looks like one image; a batch has one more axis. "
            "Pass X[None] for one image, or X[..., None] for grey images that narrow."
        )
    if X.ndim == 3:
        return ImageArray(X, "nhw", owner=owner)
    if X.ndim == 4 and X.shape[3] in CHANNELS and not channels_first:
        return ImageArray(X, "nhwc", owner=owner)
    if X.ndim == 4 and X.shape[1] in CHANNELS:
        return ImageArray(X, "nchw", owner=owner)
    axes = "(n, 1, 3 or 4 channels, height, width)"
    if not channels_first:
        axes = "(n, height, width), (n, height, width, 1, 3 or 4 channels) or " + axes
    raise ValueError(f"{owner}: images must have axes {axes}; got shape {X.shape}.")


def _rows(estimator, X, reset):
    """Source for flat rows, scaled by what was learned from the training rows."""
    owner = type(estimator).__name__
    X = validate_data(estimator, X, reset=reset, dtype="numeric")
    given = getattr(estimator, "image_shape", None)
    image_shape = given if reset else getattr(estimator, "_image_shape", given)
    image_shape = _row_shape(owner, X.shape[1], image_shape)
    pixel_range = None if reset else getattr(estimator, "pixel_range_", None)
    return ImageArray(X, "rows", owner=owner, image_shape=image_shape, pixel_range=pixel_range)


def _row_shape(owner, n_features, image_shape):
    """Height, width and channels of flat images, or channels, height and width where given so."""
    if image_shape is not None:
        shape = tuple(image_shape)
        has_channels = len(shape) == 3 and (shape[-1] in CHANNELS or shape[0] in CHANNELS)
        if not (len(shape) == 2 or has_channels) or np.prod(shape) != n_features:
            raise ValueError(
                f"{owner}: image_shape={image_shape} has {np.prod(shape)} values, but the rows of X"
                f" have {n_features}; give (height, width), (height, width, channels) or "
                "(channels, height, width)."
            )
        return shape
    for channels in (1, 3):
        side = round((n_features / channels) ** 0.5)
        if side * side * channels == n_features:
            return (side, side, channels)
    return (1, n_features, 1)


def take_source(estimator, source):
    """Set what later calls of an estimator are held to, by a source that was validated before.

    A fit on image arrays holds them to nothing.
    """
    for name in ("n_features_in_", "feature_names_in_"):
        if source.n_features is None and hasattr(estimator, name):
            delattr(estimator, name)
    if source.n_features is not None:
        estimator.n_features_in_ = source.n_features
    estimator.pixel_range_ = source.pixel_range
    estimator._image_shape = getattr(estimator, "image_shape", None)


def _range_of(rows):
    """Values that become black and white; None where uint8 fixes them."""
    if rows.dtype == np.uint8:
        return None
    low, high = float(rows.min()), float(rows.max())
    if low >= 0.0 and high <= 1.0:
        return (0.0, 1.0)
    return (low, high if high > low else low + max(1.0, abs(low)))


class ImageArray:
    """Images of one shape in one array, read batch by batch (memory-mapped ones too).

    Parameters
    ----------
    array : ndarray
        The images or rows.
    layout : {"nhwc", "nchw", "nhw", "rows"}
        What its axes are.
    owner : str
        Named in errors.
    image_shape : tuple of int, optional
        Shape of the image in a row.
    pixel_range : tuple of float, optional
        Values of rows that become black and white; None for those of uint8 and of [0, 1].
    """

    def __init__(self, array, layout, *, owner, image_shape=None, pixel_range=None, indices=None):
        self.array, self.layout, self.owner = array, layout, owner
        self.image_shape, self.pixel_range = image_shape, pixel_range
        self.indices = indices

    def __len__(self):
        return len(self.array) if self.indices is None else len(self.indices)

    @property
    def n_features(self):
        """Number of values in a row, None for images."""
        return self.array.shape[1] if self.layout == "rows" else None

    @property
    def pixels(self):
        """The part of the array that counts."""
        return self.array if self.indices is None else self.array[self.indices]

    def take(self, indices):
        """Only the images at these indices."""
        indices = indices if self.indices is None else self.indices[indices]
        return ImageArray(
            self.array,
            self.layout,
            owner=self.owner,
            image_shape=self.image_shape,
            pixel_range=self.pixel_range,
            indices=indices,
        )

    def read(self, start, stop, n_threads=1):
        """Images `start` to `stop` as one tensor (n, channels, height, width), uint8 or float32."""
        import torch

        stop = min(stop, len(self))
        where = slice(start, stop) if self.indices is None else self.indices[start:stop]
        batch = np.asarray(self.array[where])
        layout = self.layout
        if layout == "rows":
            batch = self._scale_rows(batch, start).reshape(len(batch), *self.image_shape)
            layout = _layout_of_shape(self.image_shape)
        elif batch.dtype != np.uint8:
            batch = self._check_floats(batch, start)
        # torch takes no read-only memory, as memory-mapped arrays and joblib's workers have it
        batch = torch.from_numpy(np.require(batch, requirements=["C", "W"]))
        if layout == "nhw":
            return batch[:, None]
        if layout == "nhwc":
            batch = batch.permute(0, 3, 1, 2)
        return batch[:, :3]

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
            return self._check_floats(batch.astype(np.float64), start)
        low, high = self.pixel_range
        scaled = (batch.astype(np.float64) - low) / (high - low)
        return scaled.clip(-_FAR, _FAR).astype(np.float32)

    def _check_floats(self, batch, start):
        indices = range(start, start + len(batch)) if self.indices is None else self.indices[start:]
        return check_float_pixels(batch, lambda i: f"image {indices[i]}", self.owner)


def _layout_of_shape(image_shape):
    if len(image_shape) == 2:
        return "nhw"
    return "nhwc" if image_shape[-1] in CHANNELS else "nchw"
