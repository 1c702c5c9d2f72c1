"""Images that can't be read: an error, or where they are only to be scored, a note of each."""

import threading
from contextlib import contextmanager

import numpy as np

from .._warnings import warn

# So many are named in a warning.
_NAMED = 5


class Failures:
    """What becomes of images that can't be read.

    Parameters
    ----------
    skip : bool
        Whether errors are noted instead of raised.
    """

    def __init__(self, skip=False):
        self.skip, self.reasons, self._lock = skip, {}, threading.Lock()

    def has(self, index):
        """Whether the image at an index could not be read."""
        return index in self.reasons

    def mask(self, n_images):
        """Which of so many images could not be read, ndarray of bool."""
        mask = np.zeros(n_images, dtype=bool)
        mask[list(self.reasons)] = True
        return mask

    def of_part(self, indices):
        """Those of the images at some indices, counted among these; by default all as they are."""
        part = Failures(self.skip)
        if indices is None:
            part.reasons = dict(self.reasons)
        elif self.reasons:
            where = {int(index): i for i, index in enumerate(indices)}
            part.reasons = {where[i]: why for i, why in self.reasons.items() if i in where}
        return part

    def __getstate__(self):
        return {"skip": self.skip, "reasons": self.reasons}

    def __setstate__(self, state):
        vars(self).update(state, _lock=threading.Lock())

    @contextmanager
    def of(self, index):
        """Context in which the image at an index is read."""
        try:
            yield
        except (OSError, ValueError) as error:
            if not self.skip:
                raise
            with self._lock:
                self.reasons[index] = str(error)

    def warn(self, owner, n_images):
        """One warning for all images that could not be read."""
        if not self.reasons:
            return
        reasons = [self.reasons[index] for index in sorted(self.reasons)]
        named = "; ".join(reason.removeprefix(f"{owner}: ") for reason in reasons[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        warn(
            f"{owner}: {len(reasons)} of {n_images} images could not be read, and have NaN for a "
            f"score: {named}{more}"
        )
