"""The container of a model file: a zip of parts that are not compressed, and a digest of it all."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

from .._whole import write_whole

# The comment at the end of a zip: what is before it has this digest.
_SIGN = b"skad model, sha256 "
_COMMENT = len(_SIGN) + 64

# Parts and bytes of JSON beyond which no model goes.
_MOST_PARTS, _MOST_JSON = 10_000, 2**28


class ModelFileError(ValueError):
    """Error: a model file cannot be read, because it is damaged, hostile or of another kind."""

    __module__ = "skad.persistence"


def write_archive(path, parts):
    """Write parts into a file, wholly or not at all.

    Parameters
    ----------
    path : path
    parts : dict of str to bytes
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            # One date for all, so that the same model gives the same file.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
        archive.comment = _SIGN + b"0" * 64
    content = buffer.getvalue()[:-_COMMENT]
    sign = _SIGN + hashlib.sha256(content).hexdigest().encode()
    write_whole(path, [content, sign])


def read_archive(path):
    """Read the parts of a file, after a look that all is as it was written.

    Parameters
    ----------
    path : path

    Returns
    -------
    parts : dict of str to memoryview

    Raises
    ------
    ModelFileError
        If anything is not as this version writes it.
    """
    content = memoryview(Path(path).read_bytes())
    end = bytes(content[-_COMMENT:])
    if not end.startswith(_SIGN):
        raise ModelFileError(f"{path}: is no model file of skad, or was cut off.")
    if hashlib.sha256(content[:-_COMMENT]).hexdigest().encode() != end[len(_SIGN) :]:
        raise ModelFileError(
            f"{path}: was changed since it was written; its digest is another. Fetch it anew."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _parts(path, content, archive.infolist())
    except zipfile.BadZipFile as error:
        raise ModelFileError(f"{path}: is no zip that can be read ({error}).") from error


def _parts(path, content, entries):
    """Parts where the zip says that they are; nothing is unpacked."""
    parts = {}
    if len(entries) > _MOST_PARTS:
        raise ModelFileError(f"{path}: holds {len(entries)} parts, more than any model.")
    for entry in entries:
        name = entry.filename
        if name in parts:
            raise ModelFileError(f"{path}: holds the part {name!r} twice.")
        plain = all(piece.isidentifier() or _is_file_name(piece) for piece in name.split("/"))
        if not plain:
            raise ModelFileError(f"{path}: holds a part of a name that skad does not give.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ModelFileError(f"{path}: part {name!r} is compressed or encrypted.")
        # Behind a header of 30 bytes, the name and an extra field.
        header = bytes(content[entry.header_offset : entry.header_offset + 30])
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise ModelFileError(f"{path}: part {name!r} is not where it should be.")
        start = (
            entry.header_offset
            + 30
            + sum(int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        )
        if entry.compress_size != entry.file_size or start + entry.file_size > len(content):
            raise ModelFileError(f"{path}: part {name!r} goes beyond the file.")
        parts[name] = content[start : start + entry.file_size]
    return parts


def _is_file_name(piece):
    stem, dot, ending = piece.partition(".")
    return bool(dot) and stem.isalnum() and ending.isalnum()


def json_of(parts, name, path):
    """A part that is JSON."""
    if name not in parts:
        raise ModelFileError(f"{path}: lacks the part {name!r}.")
    if len(parts[name]) > _MOST_JSON:
        raise ModelFileError(f"{path}: part {name!r} is larger than any of a model.")
    try:
        return json.loads(bytes(parts[name]))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: part {name!r} is no JSON that can be read.") from error
