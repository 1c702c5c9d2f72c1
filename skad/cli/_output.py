"""Rows on stdout, remarks on stderr."""

import csv
import json
import math
import sys

COLUMNS = ("path", "score", "p_value", "decision", "reason")


def wants_progress(arguments):
    """Whether somebody looks."""
    return not arguments.quiet and sys.stderr.isatty()


def remark(arguments, text):
    """A line for people, on stderr."""
    if not arguments.quiet:
        print(text, file=sys.stderr)


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
    """

    def __init__(self, arguments):
        self._json = arguments.jsonl is not None
        name = (arguments.jsonl if self._json else arguments.csv) or "-"
        self._own = name != "-"
        self._file = (
            open(name, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
            if self._own
            else sys.stdout
        )
        self._csv = csv.writer(self._file, lineterminator="\n")
        if not self._json:
            self._csv.writerow(COLUMNS)

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
        """Have what was written arrive."""
        self._file.flush()


def _plain(value):
    if isinstance(value, str) or value is None:
        return value
    return None if math.isnan(value) else float(value)
