"""Dask's collections of pictures: what is computed of them waits until it is asked for."""

from ._parcel import Parcel, unpacked


def is_lazy(X):
    """Whether X is a Dask array or bag."""
    return type(X).__module__.startswith(("dask.array", "dask.bag"))


def lazily(estimator, method, X, dtype, width=None):
    """What a method gives for each chunk of a Dask array, or partition of a bag, when computed.

    Parameters
    ----------
    estimator : estimator
        Fitted; each worker is sent it once.
    method : str
        Gives one value, or one row, for each picture.
    X : dask.array.Array or dask.bag.Bag
        Pictures along the first axis, or items such as paths.
    dtype : dtype
        Of what it gives.
    width : int, optional
        Length of a row; by default there are single values.

    Returns
    -------
    result : dask.array.Array of shape (n_images,) or (n_images, width)
        In chunks as X is. Of a bag, chunks whose lengths are not known before they are computed.
    """
    import dask
    import dask.array

    parcel = Parcel(estimator)
    arrays = dask.delayed(parcel.arrays, name=f"skad-{parcel.digest}", traverse=False)
    compute = dask.delayed(_of_chunk, pure=True)
    is_array = hasattr(X, "chunks")
    if is_array:
        X = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
        sizes = X.chunks[0]
    else:
        sizes = [float("nan")] * X.npartitions
    parts = X.to_delayed().ravel() if is_array else X.to_delayed()
    rest = () if width is None else (width,)
    chunks = [
        dask.array.from_delayed(
            compute(parcel.digest, arrays, method, part), (size, *rest), dtype=dtype
        )
        for part, size in zip(parts, sizes)
    ]
    return dask.array.concatenate(chunks, allow_unknown_chunksizes=True)


def _of_chunk(digest, arrays, method, chunk):
    return getattr(unpacked(digest, arrays), method)(chunk)
