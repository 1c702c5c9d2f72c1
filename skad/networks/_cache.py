"""Features kept on disk by the content of the image, so that no image is computed twice."""

import hashlib
import importlib.metadata
import pickle
import sqlite3
from pathlib import Path

import numpy as np

from .. import __version__

# SQLite takes at most so many parameters in one statement.
_MOST_PARAMETERS = 900

# Bytes behind a row that show that it is whole.
_CHECK = 8


def network_fingerprint(network, backbone):
    """Digest of all that decides what a network computes.

    Its recipe (a factory may set what no parameter shows), its structure, its parameters and
    buffers, and the versions of what computes.
    """
    digest = hashlib.blake2b(pickle.dumps(backbone), digest_size=16)
    versions = [importlib.metadata.version(name) for name in ("torch", "torchvision", "timm")]
    digest.update(repr((network, __version__, versions)).encode())
    for name, value in [*network.state_dict().items(), *network.named_buffers()]:
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()


def weights_digest(network):
    """Digest of a network's parameters and buffers, the same for float32 and bfloat16."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().bfloat16().float().cpu().contiguous().numpy())
    return digest.hexdigest()


class FeatureCache:
    """Features of a network in a file inside a folder; several processes may use it at once.

    A row that is damaged, or not of this kind, is computed again.

    Parameters
    ----------
    memory : path, joblib.Memory or None
        The folder; None keeps nothing.
    fitted : FittedNetwork
        Computes what there is not yet.
    width : int
        Number of its features.
    """

    def __init__(self, memory, fitted, width):
        self.fitted, self.width, self._connection = fitted, width, None
        self.folder = getattr(memory, "location", memory)

    def __enter__(self):
        if self.folder is not None:
            folder = Path(self.folder)
            folder.mkdir(parents=True, exist_ok=True)
            # Waits for other processes instead of failing.
            file = folder / "skad_features.sqlite"
            self._connection = sqlite3.connect(file, timeout=600, isolation_level=None)
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, row BLOB)"
            )
            self._recipe = self.fitted.fingerprint
        return self

    def __exit__(self, *_):
        if self._connection is not None:
            self._connection.close()

    def features(self, batch):
        """Features of a batch of images as they come, ndarray of float32, shape (n, width)."""
        if self._connection is None:
            return self._compute(batch)
        keys = self._keys(batch)
        rows = self._load(keys)
        missing = [i for i, row in enumerate(rows) if row is None]
        if missing:
            computed = self._compute(batch.take(missing))
            self._store([keys[i] for i in missing], computed)
            for i, row in zip(missing, computed):
                rows[i] = row
        return np.stack(rows)

    def _compute(self, images):
        return self.fitted.features(self.fitted.prepare(images)).cpu().numpy()

    def _keys(self, batch):
        """One key for each image: its pixels, its form, and the recipe of its features."""
        keys = []
        for image, origin in zip(batch.pixels, batch.origins):
            form = repr((self._recipe, tuple(image.shape), image.dtype, origin)).encode()
            digest = hashlib.blake2b(form, digest_size=16)
            digest.update(image.contiguous().numpy())
            keys.append(digest.digest())
        return keys

    def _load(self, keys):
        """Features of each key, None where there are none, or none that can be trusted."""
        found = {}
        for i in range(0, len(keys), _MOST_PARAMETERS):
            some = keys[i : i + _MOST_PARAMETERS]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, row FROM features WHERE key IN ({marks})"
            found.update(self._connection.execute(query, some))
        return [self._checked(key, found.get(key)) for key in keys]

    def _checked(self, key, kept):
        n_bytes = 4 * self.width
        if not isinstance(kept, bytes) or len(kept) != n_bytes + _CHECK:
            return None
        row, check = kept[:n_bytes], kept[n_bytes:]
        return np.frombuffer(row, np.float32) if check == _check_of(key, row) else None

    def _store(self, keys, features):
        rows = [row.astype(np.float32).tobytes() for row in features]
        kept = [(key, row + _check_of(key, row)) for key, row in zip(keys, rows)]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", kept)
        self._connection.execute("COMMIT")


def _check_of(key, row):
    """What shows that a row is whole and belongs to its key."""
    return hashlib.blake2b(row, key=key, digest_size=_CHECK).digest()
