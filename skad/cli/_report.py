"""``skad report``: a page on pictures, by a model file."""

import os

from ._errors import FOUND, UNREADABLE
from ._output import in_words, remark, wants_progress
from ._pictures import add_pictures, list_pictures


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a model file, .skad")
    add_pictures(parser, "pictures", several=True, text="folders or files")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page, .html")
    parser.add_argument("--pattern", metavar="GLOB", help="those of folders that match")
    parser.add_argument(
        "--normal",
        nargs="+",
        metavar="FOLDER",
        help="what the model was fitted on: the nearest are shown beside each anomaly",
    )
    parser.add_argument(
        "--most", type=int, default=100, metavar="N", help="pictures shown, the worst first (100)"
    )
    parser.add_argument("--title", metavar="TEXT", help="of the page")
    parser.add_argument("--device", metavar="NAME", help="where to compute; by default as fitted")
    parser.add_argument(
        "--fail-on-anomaly", action="store_true", help="exit status 1 if there is an anomaly"
    )


def run(arguments):
    """Load, score and write."""
    from ..persistence import load
    from ..report import write_report

    paths, _ = list_pictures(arguments.pictures, arguments.pattern)
    normal = None if arguments.normal is None else list_pictures(arguments.normal)[0]
    counts = write_report(
        load(arguments.model, device=arguments.device),
        paths,
        arguments.output,
        normal=normal,
        model=arguments.model,
        most=arguments.most,
        title=arguments.title,
        progress=wants_progress(arguments),
    )
    size = os.path.getsize(arguments.output) / 1e6
    remark(arguments, f"{arguments.output}: {in_words(counts)}; {size:.1f} MB")
    if counts["anomaly"] and arguments.fail_on_anomaly:
        return FOUND
    return UNREADABLE if counts["unreadable"] else 0
