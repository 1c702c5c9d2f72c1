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
        """Scores of any number of images, chunk by chunk, in constant memory.

        Parameters
        ----------
        X : images or iterable
            In any container, see :ref:`containers`, or an iterator of what may be in a list there,
            as paths, PIL images or arrays, without end if need be; ``os.scandir(folder)`` as well.
            Items of an iterator are taken a chunk at a time, when its scores are asked for.
        chunk : int, default=1024
            Most images that are taken together. Arrays, tensors and PIL images of an iterator are
            in memory as long as their chunk; of paths only a batch is.
        index : path, optional
            A file that keeps the scores. A later call with the same file goes on behind them, with
            an iterator advanced as far: it gives the scores that are not in the file yet.

        Yields
        ------
        scores : ndarray of float64, shape (n_images,)
            Of the next images, `chunk` of them or what is left; high = normal. NaN for images that
            could not be read, with ``on_error="skip"``; a warning for each chunk with any.

        Raises
        ------
        ValueError, TypeError, OSError
            If an image is broken, with its index in the stream; if `chunk` is no positive number;
            if the file is of another detector or of other images.

        Notes
        -----
        Scores are those of `score_samples`, to the bit where `chunk` is a multiple of the
        `batch_size` of the network. Images are decoded while the network computes, within a chunk;
        between two chunks nothing runs, so that a stream may be left at any time.

        **The file** is of one line, 512 bytes of JSON, and 8 bytes for each score behind it:
        ``numpy.fromfile(index, offset=512)`` are all of them so far. They are in the file before
        they are given, so that no image is given twice: what a process was killed with in its
        hands is there. A process that is killed, or a machine that loses its power, loses the
        chunk that it computes. Images are told apart by their paths; what has none, by how many
        there are. A list may have grown since. The detector must be the same, but for `on_error`,
        `device`, `n_jobs` and what else decides no score.

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
        """Score maps of any number of images, one by one, in constant memory.

        Parameters
        ----------
        X : images or iterable
            In any container, see :ref:`containers`, or an iterator of what may be in a list there.
        chunk : int, default=64
            Most images that are taken together.

        Yields
        ------
        one : ndarray of float, shape (height, width)
            As `score_maps` gives it. NaN for an image that could not be read, with
            ``on_error="skip"``; a warning for each chunk with any.

        Raises
        ------
        ValueError, TypeError, OSError
            If an image is broken, with its index in the stream; if `chunk` is no positive number.

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
