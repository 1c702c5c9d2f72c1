"""``skad score``: one row a picture, by a model file."""

import os

from .._verdicts import TOGETHER, mapper_within, unreadable_skipped, verdicts
from ._errors import FOUND, UNREADABLE, UsageError
from ._output import Rows, add_output, in_words, remark, wants_progress
from ._pictures import add_pictures, list_pictures
from ._regions import region_rows
from ._watch import arrivals, check_apart


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a model file, .skad")
    add_pictures(parser, "pictures", several=True, text="folders or files")
    parser.add_argument("--pattern", metavar="GLOB", help="those of folders that match")
    parser.add_argument("--device", metavar="NAME", help="where to compute; by default as fitted")
    add_scoring(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on with pictures that arrive in the folders; rows that the file of --csv or "
        "--jsonl has already stay, and their pictures are not scored again. Ctrl-C ends it, and "
        "with --fail-on-anomaly the first anomaly does",
    )
    parser.add_argument(
        "--stop-after",
        type=float,
        metavar="SECONDS",
        help="end --watch when for so long no picture has arrived",
    )


def add_scoring(parser):
    """Arguments of verbs that score."""
    add_output(parser)
    parser.add_argument("--maps", metavar="DIR", help="score maps, as TIFF files of floats")
    parser.add_argument("--masks", metavar="DIR", help="defects, as PNG files in black and white")
    parser.add_argument(
        "--regions",
        metavar="FILE",
        help="defects one by one, a table: box, area, scores, and p-values of calibrated maps",
    )


def run(arguments):
    """Load and score."""
    from ..persistence import load

    if arguments.watch:
        return _watch(load(arguments.model, device=arguments.device), arguments)
    paths, below = list_pictures(arguments.pictures, arguments.pattern)
    return score(load(arguments.model, device=arguments.device), paths, below, arguments)


def score(detector, paths, below, arguments):
    """Score pictures by a fitted detector, and write what was asked for.

    Parameters
    ----------
    detector : estimator
    paths : list of str
    below : list of str
        By what name a map of each is written.
    arguments : Namespace

    Returns
    -------
    status : int
    """
    mapper = _mapper(detector, arguments)
    if (arguments.maps, arguments.masks) != (None, None):
        _check_apart(paths, below)
    with Rows(arguments) as rows, region_rows(arguments.regions) as regions:
        counts = _write(detector, mapper, [(paths, below)], rows, arguments, len(paths), regions)
    return _status(counts, arguments)


def _watch(detector, arguments):
    """Score what is there, and what arrives, each picture once."""
    if arguments.regions is not None:
        raise UsageError("--regions is a table of what is there; leave it out, or --watch")
    check_apart(arguments.pictures, (arguments.maps, arguments.masks))
    mapper = _mapper(detector, arguments)
    with Rows(arguments, goes_on=True) as rows:
        if rows.done:
            remark(arguments, f"going on: {len(rows.done)} pictures have their rows already")
        batches = arrivals(arguments.pictures, arguments.pattern, rows.done, arguments.stop_after)
        batches = _own_names(batches, sorted(rows.done), arguments)
        counts = _write(detector, mapper, batches, rows, arguments)
    return _status(counts, arguments)


def _write(detector, mapper, batches, rows, arguments, total=None, regions=None):
    """Write maps, then rows: a picture that has its row has all that was asked for.

    Returns
    -------
    counts : dict of str to int
        Of each decision.
    """
    from tqdm import tqdm

    counts = {"normal": 0, "anomaly": 0, "unreadable": 0}
    with tqdm(total=total, unit="picture", disable=not wants_progress(arguments)) as progress:
        for paths, below in batches:
            for first in range(0, len(paths), TOGETHER):
                some = slice(first, first + TOGETHER)
                if mapper is not None:
                    _write_maps(mapper, paths[some], below[some], arguments, regions)
                for row in verdicts(detector, paths[some]):
                    counts[row["decision"]] += 1
                    rows.write(row)
                rows.flush()
                progress.update(len(paths[some]))
            if total is None and counts["anomaly"] and arguments.fail_on_anomaly:
                break  # who watches is told at once
    return counts


def _clash(path, name, drawn):
    """The other picture whose maps have this name already, if any.

    Parameters
    ----------
    path : str
    name : str
        Of its maps.
    drawn : dict of str to str
        Pictures by the names of their maps; this one joins them.
    """
    other = drawn.setdefault(name, path)
    return other if os.path.realpath(other) != os.path.realpath(path) else None


def _check_apart(paths, below):
    """Refuse two pictures whose maps would be one file."""
    drawn = {}
    for path, name in zip(paths, below):
        if (other := _clash(path, name, drawn)) is not None:
            raise UsageError(
                f"maps and masks of {other} and {path} would be the same file, {name}; score their "
                "folders one by one, or give the folder that has both"
            )


def _own_names(batches, done, arguments):
    """Batches as they arrive; a picture has no name where its maps would be those of another."""
    drawn = {}
    for path in done:
        for folder in arguments.pictures:
            name = os.path.relpath(path, folder)
            if not name.startswith(os.pardir):
                drawn.setdefault(name, path)
    for paths, below in batches:
        others = [_clash(path, name, drawn) for path, name in zip(paths, below)]
        for path, other in zip(paths, others):
            if other is not None and (arguments.maps, arguments.masks) != (None, None):
                remark(arguments, f"no map or mask of {path}: it would be the file of {other}")
        yield paths, [name if other is None else None for name, other in zip(below, others)]


def _status(counts, arguments):
    remark(arguments, in_words(counts))
    if counts["anomaly"] and arguments.fail_on_anomaly:
        return FOUND
    return UNREADABLE if counts["unreadable"] else 0


def _mapper(detector, arguments):
    """What gives maps, where they are asked for."""
    if arguments.maps is None and arguments.masks is None and arguments.regions is None:
        return None
    mapper = mapper_within(detector)
    if mapper is not None:
        return mapper
    raise UsageError(
        f"{type(detector).__name__} gives no maps; fit one that does, by --detector spade"
    )


def _write_maps(mapper, paths, below, arguments, regions):
    import numpy as np
    from PIL import Image

    with unreadable_skipped(mapper):
        maps = mapper.score_maps(paths)
    readable = [i for i, one in enumerate(maps) if not np.isnan(one).all()]
    if regions is not None and readable:
        regions(mapper, [paths[i] for i in readable], [maps[i] for i in readable])
    for name, one in ((below[i], maps[i]) for i in readable if below[i] is not None):
        if arguments.maps is not None:
            Image.fromarray(one.astype(np.float32)).save(_place(arguments.maps, name, ".tiff"))
        if arguments.masks is not None:
            mask = np.where(one < mapper.pixel_offset_, np.uint8(255), np.uint8(0))
            Image.fromarray(mask).save(_place(arguments.masks, name, ".png"))


def _place(folder, name, ending):
    """Where the map of a picture goes; its own ending stays, as a.png may lie beside a.jpg."""
    path = os.path.join(folder, name + ending)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path
