"""check_images: the only door for images. Any container becomes one source of image batches."""

import numpy as np
from sklearn.utils.validation import validate_data

from .._labels import normal_rows
from ._arrays import ImageArray
from ._chunks import Chunk
from ._containers import is_bag, is_chunked, items_of, refuse, refuse_one_image
from ._failures import Failures
from ._items import ImageItems, tensor_to_numpy
from ._pixels import CHANNELS, check_sides, check_type
from ._reading import Reading


def check_images(estimator, X, y=None, *, reset=False, on_error="raise"):
    """Validate images in any container.

    Parameters
    ----------
    estimator : estimator
        Named in errors. Its parameters, or those of the extractor within it, tell how images are
        read, see `Reading`; with `reset` its `n_features_in_` and `pixel_range_` are set.
    X : array, tensor, list, data set or ImageSource
        The images, see the notes.
    y : array-like of shape (n_images,), optional
        Images labelled -1 (or True) are left out.
    reset : bool
        True in `fit`: learn what later calls are held to.
    on_error : {"raise", "skip"}
        What becomes of images that can't be read: an error, or black ones and a note in the
        source's `failures`.

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
    2-D array, list of rows, table       flat images: `image_shape`, else squares of 1 or 3 channels
                                         (channels last), else strips one pixel high
    3-D array                            grey images (n, height, width)
    4-D array                            (n, height, width, channels) if the last axis is 1, 3 or 4,
                                         else (n, channels, height, width); alpha is dropped
    torch tensor                         channels first
    list or 1-D array of items           paths, addresses, bytes, open files, PIL images, arrays or
                                         tensors of differing sizes, or dicts that hold one
    table or column of items             of pandas or polars
    Dask array, bag                      read slice by slice; a list of its items
    data set                             each item an image, a tuple that starts with one, or a dict
    ===================================  ===========================================================

    uint8 is divided by 255, uint16 by 65535, floats of images lie in [0, 1], unless `value_range`
    says otherwise. Flat rows may hold any finite numbers: those outside [0, 1] are scaled by the
    range of the training rows.
    """
    if isinstance(X, (ImageArray, ImageItems)):
        source = X
    else:
        reading = None if reset else getattr(estimator, "_reading", None)
        reading = Reading.of(estimator) if reading is None else reading
        source = _source(estimator, X, reset, reading, Failures(on_error == "skip"))
    if y is not None:
        source = source.take(normal_rows(source, y, owner=type(estimator).__name__))
    if reset:
        if source.n_features is not None and not isinstance(X, ImageArray):
            source.pixel_range = source.reading.value_range or _range_of(source.pixels)
        take_source(estimator, source)
    return source


def _source(estimator, X, reset, reading, failures):
    """Choose how to read `X` by what it is."""
    owner = type(estimator).__name__
    told = {"owner": owner, "reading": reading, "failures": failures}
    if isinstance(X, Chunk):  # which was looked at as a whole
        return _of_stream(X, told | {"first": X.first})
    X = X.compute() if is_bag(X) else X
    refuse(X, owner)
    items = items_of(X, owner)
    if items is not None:
        return ImageItems(items, **told)
    if _is_tensor(X):
        values, channels_first = tensor_to_numpy(X), True
    elif is_chunked(X) and X.ndim > 2:
        values, channels_first = X, False
    else:
        values, channels_first = _as_array(X, owner), False
    if values is None or values.ndim <= 2:
        # X itself where scikit-learn can use more of it than its values: column names, or errors
        return _rows(estimator, values if channels_first else X, reset, told)
    return _images(values, channels_first, told)


def _of_stream(chunk, told):
    """Source for some images of a stream."""
    if chunk.are_items:
        return ImageItems(chunk.images, **told)
    if _is_tensor(chunk.images):
        return _images(tensor_to_numpy(chunk.images), True, told)
    return _images(np.asarray(chunk.images), False, told)


def _is_tensor(X):
    return hasattr(X, "detach") and hasattr(X, "cpu")  # of torch, or of a subclass of anyone's


def _as_array(X, owner):
    """The values of `X`; None for sparse matrices and what else scikit-learn is to judge."""
    if isinstance(X, np.ndarray):
        return X
    if isinstance(X, (list, tuple)) or hasattr(X, "__array__") or hasattr(X, "iloc"):
        try:
            return np.asarray(X)
        except ValueError as error:
            raise ValueError(
                f"{owner}: X is a list of rows of differing lengths. Flat images must have one "
                "length; images of differing sizes are given as a list of 2-D or 3-D arrays, PIL "
                "images or paths."
            ) from error
    return None


def _images(X, channels_first, told):
    """Source for an array of images, 3-D or 4-D."""
    owner = told["owner"]
    if len(X) == 0:
        raise ValueError(f"{owner}: X of shape {X.shape} holds 0 images (0 sample(s)).")
    check_type(X.dtype, "an array", owner, told["reading"].value_range, X)
    if 0 in X.shape:
        raise ValueError(f"{owner}: X of shape {X.shape} holds images without pixels.")
    if "first" not in told:
        refuse_one_image(X.shape, channels_first, owner)
    layout = _layout(X, channels_first)
    if layout is None:
        axes = "(n, 1, 3 or 4 channels, height, width)"
        if not channels_first:
            axes = "(n, height, width), (n, height, width, 1, 3 or 4 channels) or " + axes
        raise ValueError(f"{owner}: images must have axes {axes}; got shape {X.shape}.")
    check_sides(X.shape[layout.index("h")], X.shape[layout.index("w")], f"{owner}: each image")
    return ImageArray(X, layout, **told)


def _layout(X, channels_first):
    """What the axes of an array of images are."""
    if X.ndim == 3:
        return "nhw"
    if X.ndim == 4 and X.shape[3] in CHANNELS and not channels_first:
        return "nhwc"
    return "nchw" if X.ndim == 4 and X.shape[1] in CHANNELS else None


def _rows(estimator, X, reset, told):
    """Source for flat rows, scaled by what was learned from the training rows."""
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        raise TypeError(
            f"{told['owner']}: X of shape {X.shape} holds text; paths are given in one dimension, "
            "as a list or X[:, 0]."
        )
    with np.errstate(invalid="ignore"):  # scikit-learn adds inf to -inf on its way to its error
        X = validate_data(estimator, X, reset=reset, dtype="numeric")
    image_shape = _row_shape(told["owner"], X.shape[1], told["reading"].image_shape)
    pixel_range = None if reset else getattr(estimator, "pixel_range_", None)
    return ImageArray(X, "rows", image_shape=image_shape, pixel_range=pixel_range, **told)


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
    estimator._reading = source.reading


def _range_of(rows):
    """Values that become black and white; None where uint8 fixes them."""
    if rows.dtype == np.uint8:
        return None
    low, high = float(rows.min()), float(rows.max())
    if low >= 0.0 and high <= 1.0:
        return (0.0, 1.0)
    return (low, high if high > low else low + max(1.0, abs(low)))
