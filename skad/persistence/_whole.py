"""Files that are written wholly or not at all."""

import os
import tempfile
from contextlib import contextmanager
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
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(pieces)


@contextmanager
def replacing(path, ending=""):
    """Context in which a file is written that takes the place of another if all goes well.

    Parameters
    ----------
    path : path
    ending : str
        What the name of the file that is written ends with.

    Yields
    ------
    temporary : str
        Path of the file that is to be written.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(ending, f".{path.name}.", path.parent)
    os.close(handle)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
