"""What a container of images is: a sequence of items, an array, or nothing that can be taken."""

from collections.abc import Iterator, Mapping, Sequence, Set

import numpy as np

from ._decode import is_pil
from ._encoded import is_bytes, is_encoded, is_path
from ._items import IMAGE_KEYS, is_gap, is_image_item

# Names of columns of paths, in a table that has others as well.
_PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path")


def is_bag(X):
    """True for a bag of Dask, whose items, paths say, are had as a list."""
    return type(X).__module__.startswith("dask.bag")


def is_chunked(X):
    """True for an array of Dask, which is read slice by slice."""
    return type(X).__module__.startswith("dask.array")


def refuse(X, owner, once=False):
    """Raise for what looks like images but is none that can be read twice, or by index.

    With `once`, what gives images one by one will do, if they come in order.
    """
    if is_path(X):
        raise TypeError(
            f"{owner}: X is one path; give a list of image files, for example paths, labels = "
            "skad.datasets.image_folder(path)."
        )
    if is_pil(X) or is_bytes(X) or (is_encoded(X) and not hasattr(X, "__len__")):
        raise TypeError(f"{owner}: X is one image or file; give a list of images: [image].")
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            f"{owner}: X is a masked array, and what lies under the mask is not known; fill it, "
            "for example by X.filled(0)."
        )
    if hasattr(X, "collect") and hasattr(X, "collect_schema"):
        raise TypeError(f"{owner}: X is a {type(X).__name__}, a plan of a table; give X.collect().")
    if isinstance(X, np.ndarray) and X.dtype.kind == "S":
        raise TypeError(
            f"{owner}: X is an array of dtype {X.dtype}, which cuts zeros off the end of bytes; "
            "give a list of bytes, or paths as str."
        )
    if hasattr(X, "batch_sampler") and hasattr(X, "dataset"):
        raise TypeError(
            f"{owner}: X is a {type(X).__name__}, which gives images once and in batches; give its "
            "data set: X.dataset. (batch_size and n_jobs are parameters of the estimator.)"
        )
    if isinstance(X, Mapping) and _column_of(X, IMAGE_KEYS) is None:
        raise TypeError(
            f"{owner}: X is a dict of {', '.join(map(repr, X)) or 'nothing'}; give the images "
            f"alone, as X['...'], or under one of {', '.join(map(repr, IMAGE_KEYS))}."
        )
    if passes_once(X) and not (once and not isinstance(X, Set)):
        raise TypeError(
            f"{owner}: X is a {type(X).__name__}, whose images have no fixed order or can be had "
            "but once; give a list: list(X), sorted(X). Detectors score streams by iter_scores."
        )


def passes_once(X):
    """True for iterators, and for what can be gone through but has no places."""
    by_index = hasattr(X, "__getitem__") and hasattr(X, "__len__")
    if isinstance(X, (Iterator, Set)):
        by_index = False
    return hasattr(X, "__iter__") and not (by_index or hasattr(X, "__array__") or hasattr(X, "nnz"))


def refuse_one_image(shape, channels_first, owner):
    """Raise for the shape of an array that looks like that of one image."""
    if len(shape) != 3:
        return
    one_tensor = channels_first and shape[0] in (1, 3) and min(shape[1:]) > 4
    if one_tensor or (shape[-1] in (3, 4) and shape[0] > 4):
        raise ValueError(
            f"{owner}: X of shape {shape} looks like one image; a batch has one more axis. "
            "Pass X[None] for one image, or X[..., None] for grey images that narrow."
        )


def items_of(X, owner):
    """A sequence of items, as a list where it is in memory; None for arrays and rows of numbers."""
    items = sequence_of(X, owner)
    return list(items) if listed(items) else items


def listed(items):
    """True for items that are in memory."""
    return isinstance(items, (list, tuple, np.ndarray))


def sequence_of(X, owner):
    """The same as it is, without a copy."""
    if isinstance(X, Mapping):  # the columns of a data set
        return sequence_of(_column_of(X, IMAGE_KEYS), owner)
    if _is_table(X):
        column = _image_column(X, owner)
        return None if column is None else sequence_of(column, owner)
    if _is_column(X):
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1 and X.dtype.kind in "OU":
        X = X[:, 0] if len(X) and is_image_item(first_of(X[:, 0])) else X  # a table's column
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim == 1):
        if len(X) == 0:
            raise ValueError(f"{owner}: X holds 0 images (0 sample(s)); give at least one.")
        return X if is_image_item(first_of(X)) else None
    if hasattr(X, "__array__") or hasattr(X, "nnz") or hasattr(X, "detach"):
        return None
    if isinstance(X, Sequence) or (hasattr(X, "__getitem__") and hasattr(X, "__len__")):
        return X
    return None


def _column_of(row, names):
    """The first of the columns with one of these names."""
    return next((row[name] for name in names if name in row), None)


def _is_table(X):
    return hasattr(X, "columns") and hasattr(X, "shape") and len(X.shape) == 2


def _is_column(X):
    return hasattr(X, "to_numpy") and hasattr(X, "shape") and len(X.shape) == 1


def first_of(column):
    """The first item of a column that is there; None where none is."""
    return next((one for one in column if not is_gap(one)), None)


def _is_numeric(dtype):
    return dtype.is_numeric() if hasattr(dtype, "is_numeric") else dtype.kind in "biufc"


def _image_column(X, owner):
    """The column of a table that holds images; None where it holds numbers, flat rows."""
    names = list(X.columns)
    if len(X) == 0:
        raise ValueError(f"{owner}: X holds 0 images (0 sample(s)); give at least one.")
    names_and_types = zip(names, X.dtypes)
    others = [name for name, dtype in names_and_types if not _is_numeric(dtype)]
    with_items = [name for name in others if is_image_item(first_of(X[name].to_numpy()))]
    if not with_items:
        return None
    if len(with_items) > 1 or len(names) > 1:
        chosen = [name for name in (*IMAGE_KEYS, *_PATH_COLUMNS) if name in with_items]
        if not chosen:
            raise TypeError(
                f"{owner}: X is a table with columns {', '.join(map(repr, names))}; give the one "
                f"that holds images or paths, for example X[{with_items[0]!r}], or call it "
                f"{', '.join(map(repr, IMAGE_KEYS))} or 'path'."
            )
        return X[chosen[0]]
    return X[with_items[0]]
