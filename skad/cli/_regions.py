"""Regions of defects, a row each, beside the rows of pictures."""

import csv
from contextlib import contextmanager

from ._output import opened


@contextmanager
def region_rows(name):
    """Context that gives what writes regions into a file; None where no file is asked for.

    Parameters
    ----------
    name : str or None

    Yields
    ------
    write : callable or None
        Takes a map detector, and paths and maps of pictures that could be read.
    """
    if name is None:
        yield None
        return
    with opened(name) as file:
        rows, has_header = csv.writer(file, lineterminator="\n"), False

        def write(mapper, paths, maps):
            nonlocal has_header
            table = mapper._region_table(maps)
            images = table.pop("image")
            if not has_header:
                rows.writerow(["path", *table])
                has_header = True
            for image, *values in zip(images, *(column.tolist() for column in table.values())):
                rows.writerow([paths[image], *values])
            file.flush()

        yield write
