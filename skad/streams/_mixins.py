"""What scores images has `iter_scores`, and what gives maps `iter_maps`."""

from collections.abc import Iterator
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._types import FilePath, Images
from ..images._chunks import ImageStream
from ._resume import resumed


class ScoreStreamMixin:
    """`iter_scores` on top of `score_samples`."""

    def iter_scores(
        self, X: Images, chunk: int = 1024, index: FilePath | None = None
    ) -> Iterator[np.ndarray]:
        """Score any number of images, chunk by chunk, in constant memory.

        Parameters
        ----------
        X : images or iterable
            In any container, see :ref:`containers`, or an iterator over items that a list may
            contain, such as paths, PIL images or arrays. It may be endless, and it may be
            ``os.scandir(folder)``. A chunk of items is taken when its scores are asked for.
        chunk : int, default=1024
            Most images that are taken together. Arrays, tensors and PIL images of an iterator are
            in memory for the time of their chunk, images of paths for the time of a batch.
        index : path, optional
            A file that keeps the scores. A later call with the same file continues after them: it
            skips the images that have scores in the file, and gives the scores of the others.

        Returns
        -------
        scores : iterator of ndarray of float64, shape (n_images,)
            Scores of the next `chunk` images, or of those that are left; high = normal. With
            ``on_error="skip"``, NaN for images that could not be read, and a warning for each chunk
            that has any.

        Raises
        ------
        ValueError, TypeError, OSError
            If an image is broken (the message gives its index in the stream); if `chunk` is not
            positive; if the file belongs to another detector or to other images.

        Notes
        -----
        Scores are those of `score_samples`, to the bit if `chunk` is a multiple of the network's
        `batch_size`. Within a chunk, images are decoded while the network computes. Nothing runs
        between two chunks, so a stream may be left at any time.

        **The file** has one line of 512 bytes of JSON, followed by 8 bytes for each score:
        ``numpy.fromfile(index, offset=512)`` reads all scores so far. Scores are written before
        they are given, so no image is scored twice. If the process is killed, or the machine loses
        power, only the chunk being computed is lost. Images are recognised by their paths, or, if
        they have none, by their number. A list may have become longer. The detector must be the
        same, except for `on_error`, `device`, `n_jobs` and other parameters without effect on
        scores.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from skad import DN2
        >>> digits = load_digits().images / 16
        >>> detector = DN2().fit(digits[:50])
        >>> [len(scores) for scores in detector.iter_scores(digits[:150], chunk=64)]
        [64, 64, 22]
        >>> camera = (image for image in digits)  # or an endless one
        >>> next(detector.iter_scores(camera, chunk=64)).shape
        (64,)
        """
        return _begun(self, X, chunk, lambda stream: _scores(self, stream, index))


class MapStreamMixin:
    """`iter_maps` on top of `score_maps`."""

    def iter_maps(self, X: Images, chunk: int = 64) -> Iterator[np.ndarray]:
        """Compute score maps of any number of images, one by one, in constant memory.

        Parameters
        ----------
        X : images or iterable
            In any container, see :ref:`containers`, or an iterator over items that a list may
            contain.
        chunk : int, default=64
            Most images that are taken together.

        Returns
        -------
        maps : iterator of ndarray of float, shape (height, width)
            The map of one image after the other, as `score_maps` gives it. With
            ``on_error="skip"``, NaN for an image that could not be read, and a warning for each
            chunk that has any.

        Raises
        ------
        ValueError, TypeError, OSError
            If an image is broken (the message gives its index in the stream); if `chunk` is not
            positive.

        Examples
        --------
        >>> from sklearn.datasets import load_sample_images
        >>> from skad import PatchCore
        >>> flower = load_sample_images().images[1]
        >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2)
        >>> tiles = tiles.reshape(40, 80, 80, 3)
        >>> detector = PatchCore(image_size=32).fit(tiles[:30])
        >>> {one.shape for one in detector.iter_maps(iter(tiles[30:]))}
        {(80, 80)}
        """
        return _begun(self, X, chunk, lambda stream: _maps(self, stream))

    def _maps_of(self, images):
        """Maps of some images, one after another."""
        return self.score_maps(images)


def _begun(estimator, X, chunk, read):
    """A generator, of what is checked at once."""
    check_is_fitted(estimator)
    owner = type(estimator).__name__
    if not isinstance(chunk, Integral) or isinstance(chunk, bool) or chunk < 1:
        raise ValueError(
            f"{owner}: chunk={chunk!r}; it is the number of images that are taken together, a "
            "whole number of at least 1."
        )
    return read(ImageStream(X, int(chunk), owner))


def _scores(estimator, stream, index):
    if index is not None:
        yield from resumed(estimator, stream, index)
        return
    for some in stream.chunks():
        yield estimator.score_samples(some)


def _maps(estimator, stream):
    for some in stream.chunks():
        yield from estimator._maps_of(some)
