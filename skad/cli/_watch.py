"""Pictures that arrive in folders, each once, when it is there as a whole."""

import os
import time

from ._errors import UsageError
from ._pictures import list_pictures

# Seconds between two looks.
INTERVAL = 1.0


def arrivals(names, pattern, done, stop_after=None, interval=INTERVAL):
    """Wait for pictures.

    A picture has arrived when two looks, one after the other, find it of the same size and of the
    same time.

    Parameters
    ----------
    names : list of str
        Folders, looked through again and again, and files.
    pattern : str or None
    done : set of str
        Paths not to be given; those that were given join it.
    stop_after : float or None
        Seconds without an arrival after which to end; None waits for ever.
    interval : float
        Seconds between looks.

    Yields
    ------
    paths : list of str
    below : list of str
        See :func:`list_pictures`.
    """
    folders = [name for name in names if os.path.isdir(name)]
    if not folders:
        raise UsageError(f"--watch waits for pictures in a folder; got {', '.join(names)}")
    seen, last = {}, time.monotonic()
    while True:
        looked = time.monotonic()
        found = zip(*list_pictures(names, pattern, may_be_empty=True))
        new = [(path, below, _state(path)) for path, below in found if path not in done]
        arrived = [one[:2] for one in new if one[2] is not None and seen.get(one[0]) == one[2]]
        seen = {path: state for path, _, state in new if state is not None}
        if arrived:
            done.update(path for path, _ in arrived)
            yield tuple(map(list, zip(*arrived)))
            last = time.monotonic()
        elif seen:  # on its way
            last = time.monotonic()
        elif stop_after is not None and time.monotonic() - last > stop_after:
            return
        time.sleep(max(0.0, looked + interval - time.monotonic()))


def check_apart(folders, written):
    """Refuse to write pictures into a folder that is watched: they would be scored in turn."""
    for folder in folders:
        inside = os.path.join(os.path.realpath(folder), "")
        for name in written:
            if name is not None and os.path.join(os.path.realpath(name), "").startswith(inside):
                raise UsageError(
                    f"{name} lies in {folder}, which is watched, so that what is written would be "
                    "scored in turn; give a folder beside it"
                )


def _state(path):
    """What changes as long as a file is written; None where it has gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
