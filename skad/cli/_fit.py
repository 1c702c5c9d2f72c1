"""``skad fit``: from a folder of normal pictures to a model file."""

import os

from .._whole import check_writable
from ._detectors import add_detector, fitted_detector
from ._known import remember
from ._output import remark, wants_progress
from ._pictures import add_pictures, list_pictures


def add_arguments(parser):
    """Arguments of the verb."""
    add_pictures(parser, "folder", several=True, text="normal pictures: folders or files")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the model, .skad")
    parser.add_argument("--pattern", metavar="GLOB", help="those that match, as */good/*")
    parser.add_argument(
        "--by-name",
        action="store_true",
        help="name published weights in the file instead of storing them",
    )
    add_detector(parser)


def run(arguments):
    """Fit and save."""
    from ..persistence import save

    check_writable(arguments.output)
    arguments.progress = wants_progress(arguments)
    paths, _ = list_pictures(arguments.folder, arguments.pattern)
    detector = fitted_detector(arguments, paths)
    remember(detector, paths)
    save(detector, arguments.output, weights="reference" if arguments.by_name else "stored")
    size = os.path.getsize(arguments.output) / 1e6
    remark(
        arguments,
        f"{arguments.output}: {type(detector).__name__} of {len(paths)} pictures, threshold "
        f"{detector.offset_:.6g}, {size:.1f} MB",
    )
    return 0
