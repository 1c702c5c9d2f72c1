"""Files that are written wholly or not at all."""

import os
import tempfile
from pathlib import Path


def check_writable(path):
    """Fail now, not after hours of work, where a file can't be written.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        If there is no such folder, or none that may be written to, or a folder in its place.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} is no folder, so {path} can't be written there.")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; name a file in it.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} may not be written to; give another place for {path}.")


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


def lock(file):
    """Let no other process write to an open file as long as it is open here.

    Parameters
    ----------
    file : file

    Returns
    -------
    locked : bool
        False where another process has it; True where there are no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
