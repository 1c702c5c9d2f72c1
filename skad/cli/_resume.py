"""A table of results that was begun before, to be gone on with."""

import csv
import io
import json
import os

from .._whole import lock
from ._errors import UsageError


def open_to_append(path, header):
    """Open a table to write more rows, without the rest of a row that was broken off.

    Parameters
    ----------
    path : str
        Begun before, or not.
    header : str or None
        First line of a table; None for objects of JSON.

    Returns
    -------
    file : text file
        At its end.
    done : set of str
        Paths of the pictures that have a row.

    Raises
    ------
    UsageError
        If it is no file, or no table of ``skad score``; if another process writes to it.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path} is no file, whose rows could be gone on with; leave --watch out")
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    file = open(handle, "r+b")  # noqa: SIM115 - closed by who writes the rows
    try:
        if not lock(file):
            raise UsageError(f"another skad score --watch writes to {path}; stop it first")
        content = file.read()
        end = _end_of_rows(content, quoted=header is not None)
        done = _paths_in(content[:end].decode("utf-8", "surrogateescape"), header, path)
        file.truncate(end)
        file.seek(end)
    except BaseException:
        file.close()
        raise
    text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
    if header is not None and not end:
        text.write(header)
    return text, done


def _end_of_rows(content, quoted):
    """Where the last whole row ends; names of files may hold line breaks, within quotes."""
    if not quoted:
        return content.rfind(b"\n") + 1
    end = start = quotes = 0
    while (stop := content.find(b"\n", start) + 1) > 0:
        quotes += content.count(b'"', start, stop)
        end, start = (stop if quotes % 2 == 0 else end), stop
    return end


def _paths_in(text, header, path):
    try:
        if header is None:
            return {json.loads(line)["path"] for line in text.splitlines()}
        if not text:
            return set()
        if text.startswith(header):
            return {row[0] for row in csv.reader(io.StringIO(text[len(header) :], newline=""))}
    except (ValueError, KeyError, TypeError, IndexError, csv.Error):
        pass
    raise UsageError(f"{path} is no table of skad score, so that it is left as it is; give another")
