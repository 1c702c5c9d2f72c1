"""A file of scores that is added to, and stays whole whenever its process is killed."""

import json
import os

import numpy as np

from .._whole import check_writable, lock, write_whole

# Bytes of the line ahead of the scores: no more than disks write at once.
HEAD = 512

_KIND = "scores of a stream, float64"


class KeptScores:
    """Scores of a stream in a file, and how far it is; a context in which nobody else adds to it.

    The line at its head says how many scores count. It is written when they are on the disk, so
    what lies behind them is of a chunk that was broken off.

    Parameters
    ----------
    path : path
    owner : str
        Named in errors.
    detector : str
        Digest of what scores.
    kind : str
        Of the images.

    Attributes
    ----------
    n_scores : int
        How many there are.
    """

    def __init__(self, path, owner, detector, kind):
        self.path, self.owner = os.fspath(path), owner
        self._head = {"skad": _KIND, "n_scores": 0, "images": None}
        self._told = {"detector": detector, "kind": kind}

    def __enter__(self):
        check_writable(self.path)
        if not os.path.exists(self.path):
            write_whole(self.path, [self._line()])
        self._file = open(self.path, "r+b", buffering=0)
        try:
            if not lock(self._file):
                raise OSError(
                    f"{self.owner}: another process adds to index={self.path!r}; wait for it, or "
                    "give another file."
                )
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_):
        self._file.close()

    @property
    def n_scores(self):
        """How many scores there are."""
        return self._head["n_scores"]

    def _line(self):
        return json.dumps(self._head | self._told).encode().ljust(HEAD - 1) + b"\n"

    def _read(self):
        line, size = self._file.read(HEAD), os.path.getsize(self.path)
        try:
            head = json.loads(line)
            known = head["skad"] == _KIND and size >= HEAD + 8 * head["n_scores"]
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise ValueError(
                f"{self.owner}: index={self.path!r} is no file of kept scores, or was cut off; it "
                "is left as it is. Give another."
            )
        for name, what in (("detector", "by another detector"), ("kind", "of other images")):
            if head[name] != self._told[name]:
                self._refuse(f"{what} ({head[name]}, and not {self._told[name]})")
        self._head = {name: head[name] for name in self._head}

    def _refuse(self, what):
        raise ValueError(
            f"{self.owner}: index={self.path!r} keeps scores {what}. Give what it was begun with, "
            "or another file to begin anew."
        )

    def check_images(self, names):
        """Refuse images that are not those of the scores.

        Parameters
        ----------
        names : Names
            Of as many images as there are scores, if there are as many.
        """
        if names.n_images < self.n_scores:
            self._refuse(f"of {self.n_scores} images, and X has {names.n_images}")
        if self.n_scores and names.hexdigest() != self._head["images"]:
            self._refuse(f"of other images: the first {self.n_scores} of X are not theirs")

    def add(self, scores, names):
        """Keep scores of further images.

        Parameters
        ----------
        scores : ndarray of shape (n,)
        names : Names
            Of all images so far.
        """
        self._file.seek(HEAD + 8 * self.n_scores)
        self._file.truncate()
        self._write(np.asarray(scores, dtype="<f8").tobytes())
        self._head |= {"n_scores": names.n_images, "images": names.hexdigest()}
        self._file.seek(0)
        self._write(self._line())

    def _write(self, content):
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        os.fsync(self._file.fileno())
