"""``skad export``: a model as one graph that runs without skad."""

import os

from .._whole import check_writable
from ._errors import UsageError
from ._output import remark
from ._pictures import list_pictures

# What writes a file, by its ending.
_WRITERS = {".onnx": "to_onnx", ".pt2": "to_torch"}


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a model file, .skad")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the graph, .onnx or .pt2"
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        metavar="PICTURE",
        help="folders or files that model and graph both score before the graph is written; by "
        "default 64 pictures that come with scikit-learn",
    )


def run(arguments):
    """Load and export."""
    ending = os.path.splitext(arguments.output)[1].lower()
    if ending not in _WRITERS:
        raise UsageError(
            f"{arguments.output}: the ending says what is written, and there are "
            f"{', '.join(_WRITERS)}; got {ending or 'none'}"
        )
    check_writable(arguments.output)
    pictures = None if arguments.pictures is None else list_pictures(arguments.pictures)[0]

    from .. import export
    from ..persistence import load

    detector = load(arguments.model, device="cpu")
    largest = getattr(export, _WRITERS[ending])(detector, arguments.output, pictures=pictures)
    size = os.path.getsize(arguments.output) / 1e6
    n_pictures = 64 if pictures is None else len(pictures)
    remark(
        arguments,
        f"{arguments.output}: {size:.1f} MB; the scores of {n_pictures} pictures differ from the "
        f"model's by {largest:.1e} at most, decisions nowhere",
    )
    return 0
