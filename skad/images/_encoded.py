"""Where encoded images lie: files, members of tar files, bytes, open files, addresses."""

import io
import os
import re
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# How often something far is asked for, and seconds to wait before it is asked again.
_TRIES, _WAIT = 4, 0.25

# Threads that wait for what is far; they hardly compute.
REMOTE_THREADS = 16


@dataclass(frozen=True)
class TarMember:
    """An image in a tar file that is not compressed, as :func:`skad.datasets.tar_images` lists it.

    Parameters
    ----------
    shard : str
        Path or address of the tar file.
    name : str
        In the tar file.
    offset, size : int
        Where its bytes begin, and how many there are.
    """

    shard: str
    name: str
    offset: int
    size: int

    def __str__(self):
        return f"{self.shard}/{self.name}"


def is_path(item):
    """True for a path, or for an address that :func:`is_address` knows."""
    return isinstance(item, (str, os.PathLike))


def is_address(item):
    """True for a string with a scheme, as "s3://bucket/image.png"; fsspec reads those."""
    return isinstance(item, str) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]*(://|::)", item) is not None


def is_bytes(item):
    """True for the bytes of an encoded image."""
    return isinstance(item, (bytes, bytearray, memoryview))


def is_file(item):
    """True for an open file."""
    return callable(getattr(item, "read", None)) and not is_path(item) and not hasattr(item, "ndim")


def is_encoded(item):
    """True for what holds or names an encoded image."""
    return is_path(item) or is_bytes(item) or isinstance(item, TarMember) or is_file(item)


def name_of(item):
    """What an error calls an item, in brackets; no more of an address than says where it is."""
    if is_address(item):
        return f" ({without_secrets(item)})"
    if is_path(item):
        return f" ({Path(item)})"
    if isinstance(item, TarMember):
        return f" ({without_secrets(item.shard)}/{item.name})"
    name = getattr(item, "name", None) or getattr(item, "filename", None)
    return f" ({Path(name)})" if isinstance(name, (str, os.PathLike)) and name else ""


def without_secrets(address):
    """An address without user, password and query; a path as it is."""
    return re.sub("//.*@", "//", address.split("?")[0]) if is_address(address) else address


def check_file(path, name, owner):
    """Refuse at once what is no file that can be read; `name` is what an error calls it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise _not_found(error, f"{owner}: {name}{name_of(path)}") from error
    kind = wrong = None
    if stat.S_ISDIR(found.st_mode):
        kind = IsADirectoryError
        wrong = "is a directory; list its images with skad.datasets.image_folder(path)"
    elif not stat.S_ISREG(found.st_mode):
        kind, wrong = ValueError, "is no regular file, but a pipe, a socket or a device"
    elif os.fspath(path)[-4:].lower() == ".tar":
        kind = ValueError
        wrong = "is a tar file; list its images with skad.datasets.tar_images(paths)"
    elif found.st_size == 0:
        kind, wrong = ValueError, "could not be read as an image: it holds 0 bytes"
    elif not os.access(path, os.R_OK):
        kind, wrong = PermissionError, "could not be read: reading it is not permitted"
    if kind is not None:
        raise kind(f"{owner}: {name}{name_of(path)} {wrong}.")


def _not_found(error, name):
    """The error for a path that can't be looked at."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{name} does not exist.")
    if isinstance(error, OSError):
        kind = PermissionError if isinstance(error, PermissionError) else OSError
        return kind(f"{name} can't be looked at: {error.strerror}.")
    return ValueError(f"{name} is no path.")  # it holds a null character


def readable(item):
    """An item as what Pillow opens: a path, or a file in memory."""
    if is_bytes(item):
        return io.BytesIO(item)
    if isinstance(item, TarMember):
        with open_binary(item.shard) as file:
            file.seek(item.offset)
            return io.BytesIO(file.read(item.size))
    if is_address(item):
        return io.BytesIO(_fetched(item))
    return item


@contextmanager
def open_binary(path):
    """Context in which a path or an address is open to read bytes."""
    if is_address(path):
        # Named, as a file system within a file is closed when nobody has it any more.
        system, inner = _fsspec().core.url_to_fs(path)
        with system.open(inner, "rb") as file:
            yield file
    else:
        with open(path, "rb") as file:
            yield file


def _fetched(address):
    """Bytes at an address, asked for several times before it counts as broken."""
    for wait in [_WAIT * 3**i for i in range(_TRIES - 1)] + [None]:
        try:
            with open_binary(address) as file:
                return file.read()
        except (FileNotFoundError, PermissionError, ImportError, MemoryError):
            raise
        except Exception:  # each file system has its own errors
            if wait is None:
                raise
            time.sleep(wait)


def _fsspec():
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            'addresses such as "s3://bucket/image.png" need fsspec: pip install "skad[remote]".'
        ) from error
    return fsspec


def bytes_of_file(file):
    """Bytes of an open file from where it stands, which it then does again."""
    if file.seekable():
        place = file.tell()
        try:
            return file.read()
        finally:
            file.seek(place)
    return file.read()
