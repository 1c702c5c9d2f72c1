"""Maps of many images, kept in half precision; on disk beyond a limit."""

import shutil
import tempfile
import weakref

import numpy as np


class MapStore:
    """The maps of each of `n_images`, written once and read image by image.

    Values are kept as float16, relative to the largest of each map. What is larger than the limit
    goes to a file that has no name and is gone with the store. It is memory-mapped for each reading
    anew, so that what was read before does not stay in memory.

    Parameters
    ----------
    shapes : list of tuple of int
        (channels, height, width) of each map of an image.
    n_images : int
    limit : float
        Bytes that may be held in memory.
    owner : str
        Named in errors.
    """

    def __init__(self, shapes, n_images, limit, owner):
        self.shapes, self.n_images, self.limit, self.owner = shapes, n_images, limit, owner
        self._ends = np.cumsum([np.prod(shape) for shape in shapes])
        self._scales = np.ones((n_images, len(shapes)), dtype=np.float32)
        self._open()

    @property
    def n_bytes(self):
        """Size of all maps."""
        return self.n_images * self._row_bytes

    @property
    def on_disk(self):
        """Whether they are in a file."""
        return self._file is not None

    @property
    def _row_bytes(self):
        return int(self._ends[-1]) * np.dtype(np.float16).itemsize

    def _open(self):
        self._file = self._rows = None
        if self.n_bytes <= self.limit:
            self._rows = np.empty((self.n_images, self._ends[-1]), dtype=np.float16)
            return
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < self.n_bytes:
            raise self._too_large(f"has {free >> 20} MiB left")
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as the store lives
        weakref.finalize(self, self._file.close)

    def _too_large(self, reason):
        limit = self.limit / 2**20
        return OSError(
            f"{self.owner}: the maps of {self.n_images} images take {self.n_bytes >> 20} MiB, "
            f"beyond memory_limit ({limit:g} MiB), and the folder for temporary files, "
            f"{tempfile.gettempdir()}, {reason}. Set TMPDIR to another folder, lower image_size, "
            "raise memory_limit, or give n_centroids or coreset_share, which keep less."
        )

    def write(self, start, maps):
        """Keep the maps of images from index `start` on, one tensor for each of `shapes`."""
        for index, image in enumerate(zip(*maps), start):
            flat = [one.flatten().float().cpu().numpy() for one in image]
            scales = np.array([np.abs(values).max() for values in flat])
            self._scales[index] = np.where(scales == 0, 1, scales)
            row = np.concatenate([v / scale for v, scale in zip(flat, self._scales[index])])
            self._put(index, row.astype(np.float16)[None])

    def _put(self, start, rows):
        if self._file is None:
            self._rows[start : start + len(rows)] = rows
            return
        try:
            self._file.seek(start * self._row_bytes)
            if self._file.write(rows) < rows.nbytes:
                raise OSError("there is no room for more")
        except OSError as error:
            raise self._too_large(f"cannot be written to: {error}") from error

    def _get(self, index):
        if self._file is None:
            return self._rows[index]
        offset, length = int(index) * self._row_bytes, int(self._ends[-1])
        return np.memmap(self._file, np.float16, "c", offset, (length,))

    def extended(self, n_images):
        """A store of these maps with room for those of so many more images; this one stays."""
        other = MapStore(self.shapes, self.n_images + n_images, self.limit, self.owner)
        other._scales[: self.n_images] = self._scales
        for index in range(self.n_images):
            other._put(index, self._get(index)[None])
        return other

    def read(self, index):
        """Maps of one image.

        Parameters
        ----------
        index : int

        Returns
        -------
        maps : list of tensors of float32, shape (1, channels, height, width)
        """
        import torch

        parts = np.split(self._get(index), self._ends[:-1])
        return [
            torch.from_numpy(part.astype(np.float32)).mul_(float(scale)).view(1, *shape)
            for part, scale, shape in zip(parts, self._scales[index], self.shapes)
        ]

    def __getstate__(self):
        """State with the maps themselves, as a file without a name cannot be passed on."""
        state = vars(self).copy()
        if self.on_disk:
            # Filled one by one: a mapping holds a file descriptor as long as it lives.
            state["_rows"] = np.empty((self.n_images, self._ends[-1]), dtype=np.float16)
            for i in range(self.n_images):
                state["_rows"][i] = self._get(i)
        del state["_file"]
        return state

    def __setstate__(self, state):
        rows = state.pop("_rows")
        vars(self).update(state)
        self._open()
        self._put(0, rows)
