"""``skad check``: fit and score in one."""

from ._detectors import add_detector, fitted_detector
from ._output import wants_progress
from ._pictures import add_pictures, list_pictures
from ._score import add_scoring, score


def add_arguments(parser):
    """Arguments of the verb."""
    add_pictures(parser, "normal", several=False, text="a folder of normal pictures")
    add_pictures(parser, "new", several=True, text="pictures to be scored: folders or files")
    add_detector(parser)
    add_scoring(parser)


def run(arguments):
    """Fit to the first and score the others."""
    arguments.progress = wants_progress(arguments)
    normal, _ = list_pictures(arguments.normal)
    paths, below = list_pictures(arguments.new)
    return score(fitted_detector(arguments, normal), paths, below, arguments)
