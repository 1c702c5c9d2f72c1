"""Rows on stdout, remarks on stderr."""

import csv
import errno
import json
import math
import os
import sys

from ._resume import open_to_append

COLUMNS = ("path", "score", "p_value", "decision", "reason")


def wants_progress(arguments):
    """Whether somebody looks."""
    return not arguments.quiet and sys.stderr.isatty()


def remark(arguments, text):
    """A line for people, on stderr."""
    if not arguments.quiet:
        print(text, file=sys.stderr)


def in_words(counts):
    """Numbers of each decision: 57 normal, 3 anomalies."""
    words = {"anomaly": "anomalies"}
    found = [(n, words.get(name, name) if n > 1 else name) for name, n in counts.items() if n]
    return ", ".join(f"{number} {name}" for number, name in found)


def add_output(parser):
    """Let a verb write rows."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", metavar="FILE", help='a table; "-" for stdout (default)')
    form.add_argument("--jsonl", metavar="FILE", help='one object a line; "-" for stdout')
    parser.add_argument(
        "--fail-on-anomaly", action="store_true", help="exit status 1 if there is an anomaly"
    )


class Rows:
    """Rows of results, written as they come.

    Parameters
    ----------
    arguments : Namespace
        Of :func:`add_output`.
    goes_on : bool
        Whether rows that a file has already stay.

    Attributes
    ----------
    done : set of str
        Paths of the pictures that have a row.
    """

    def __init__(self, arguments, goes_on=False):
        self._json, self.done = arguments.jsonl is not None, set()
        name = (arguments.jsonl if self._json else arguments.csv) or "-"
        self._own = name != "-"
        header = None if self._json else ",".join(COLUMNS) + "\n"
        if self._own and goes_on:
            self._file, self.done = open_to_append(name, header)
        else:
            self._file = opened(name) if self._own else sys.stdout
            self._file.write(header or "")
        self._csv = csv.writer(self._file, lineterminator="\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._own:
            self._file.close()
        else:
            self._file.flush()

    def write(self, row):
        """Write the row of one picture, a dict of some of the columns."""
        row = {key: _plain(value) for key, value in row.items()}
        if self._json:
            self._file.write(json.dumps(row) + "\n")
        else:
            self._csv.writerow(["" if row.get(key) is None else row[key] for key in COLUMNS])

    def flush(self):
        """Have what was written arrive, on the disk where it is a file."""
        self._file.flush()
        if self._own:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of pipes and devices
                    raise


def opened(name):
    """A file to be written, whatever bytes are in the names of pictures."""
    return open(name, "w", encoding="utf-8", errors="surrogateescape", newline="")


def _plain(value):
    if isinstance(value, str) or value is None:
        return value
    return None if math.isnan(value) else float(value)
