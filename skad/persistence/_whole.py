"""Files that are written wholly or not at all."""

import os
import tempfile
from pathlib import Path


def write_whole(path, pieces):
    """Write a file beside its place, and put it there when all is written.

    Parameters
    ----------
    path : path
    pieces : iterable of bytes
        One after another.

    Raises
    ------
    OSError
        If it can't be written; then there is none, or the earlier one.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
