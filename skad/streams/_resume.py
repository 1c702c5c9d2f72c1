"""Streams of scores that are gone on with, by what a file keeps of them."""

import hashlib
import os
from collections.abc import Mapping

from ..images._chunks import Chunk
from ..images._encoded import TarMember, is_bytes, is_path
from ..images._items import IMAGE_KEYS
from ._digest import digest_of
from ._kept import KeptScores


def resumed(estimator, stream, path):
    """Scores of a stream behind those that a file keeps.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    stream : ImageStream
    path : path
        Of the file.

    Yields
    ------
    scores : ndarray of float64
        Chunk by chunk, each in the file before it is given.
    """
    names = Names()
    with KeptScores(path, type(estimator).__name__, digest_of(estimator), stream.kind) as kept:
        names.add(stream.skip(kept.n_scores))
        kept.check_images(names)
        for some in stream.chunks(kept.n_scores):
            scores = estimator.score_samples(some)
            known = isinstance(some, Chunk) and isinstance(some.images, list)
            names.add(some.images if known else range(len(scores)))
            kept.add(scores, names)
            yield scores


class Names:
    """How many images there were, and a digest of what they are called.

    Attributes
    ----------
    n_images : int
    """

    def __init__(self):
        self.n_images, self._digest = 0, hashlib.blake2b(digest_size=16)

    def add(self, items):
        """Take note of images, which are not opened."""
        for item in items:
            self._digest.update(_name_of(item) + b"\0")
            self.n_images += 1

    def hexdigest(self):
        """Digest of all names so far."""
        return self._digest.hexdigest()


def _name_of(item):
    """What tells an image from another without reading it; nothing where nothing does."""
    if isinstance(item, (tuple, list)) and item:
        item = item[0]
    if isinstance(item, Mapping):
        item = next((item[key] for key in IMAGE_KEYS if key in item), None)
    if is_path(item):
        return os.fsencode(item)
    if isinstance(item, TarMember):
        return os.fsencode(repr(item))
    return hashlib.blake2b(item, digest_size=16).digest() if is_bytes(item) else b""
