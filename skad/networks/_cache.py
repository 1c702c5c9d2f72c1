"""Features kept on disk by the content of the image, so that no image is computed twice."""

import hashlib
import importlib.metadata
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from .. import __version__

# SQLite takes at most so many parameters in one statement.
_MOST_PARAMETERS = 900


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
    """Features in a file inside a folder; several processes may use it at once.

    Parameters
    ----------
    memory : path or joblib.Memory
        The folder.
    """

    def __init__(self, memory):
        folder = Path(getattr(memory, "location", memory))
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "skad_features.sqlite"
        with self._connect() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, row BLOB)"
            )

    def _connect(self):
        # Waits for other processes instead of failing; each batch has a connection of its own.
        return closing(sqlite3.connect(self.file, timeout=600, isolation_level=None))

    @staticmethod
    def keys(batch, recipe):
        """One key for each image: its pixels, its form, and the recipe of its features."""
        keys = []
        for image in batch:
            form = repr((recipe, tuple(image.shape), image.dtype)).encode()
            digest = hashlib.blake2b(form, digest_size=16)
            digest.update(image.contiguous().numpy())
            keys.append(digest.digest())
        return keys

    def load(self, keys):
        """Features of each key, None where there are none yet."""
        found = {}
        with self._connect() as connection:
            for i in range(0, len(keys), _MOST_PARAMETERS):
                some = keys[i : i + _MOST_PARAMETERS]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, row FROM features WHERE key IN ({marks})"
                found.update(connection.execute(query, some))
        return [np.frombuffer(found[k], np.float32) if k in found else None for k in keys]

    def store(self, keys, features):
        """Keep the features of each key."""
        rows = [(key, row.astype(np.float32).tobytes()) for key, row in zip(keys, features)]
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", rows)
            connection.execute("COMMIT")
