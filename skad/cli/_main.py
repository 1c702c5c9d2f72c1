"""Arguments, errors in one line, exit status."""

import argparse
import importlib
import os
import sys

from .. import __version__
from ._errors import BROKEN_PIPE, FAILED, INTERRUPTED, UsageError

# Verbs: module, and one line of help.
_VERBS = {
    "fit": ("_fit", "learn what is normal from a folder of pictures"),
    "score": ("_score", "score pictures by a model"),
    "check": ("_check", "learn from one folder and score another, keeping nothing"),
    "calibrate": ("_calibrate", "set the threshold of a model by further normal pictures"),
    "update": ("_update", "let further normal pictures join a model"),
    "info": ("_info", "tell what a model file holds"),
    "report": ("_report", "write a page on pictures: verdicts, where, why, how it was decided"),
    "bench": ("_bench", "compare detectors on labelled folders, by AUROC"),
    "export": ("_export", "write a model as one graph, for ONNX Runtime or torch"),
    "doctor": ("_doctor", "tell versions, devices and what is cached"),
}

_STATUS = """\
exit status:
  0  done
  1  an anomaly was found (with --fail-on-anomaly)
  2  an error, told in one line on stderr
  3  some pictures could not be read; the others were scored
  130, 141  interrupted; the reader of the output went away
"""


def main(argv=None):
    """Run the command.

    Parameters
    ----------
    argv : list of str, optional
        By default what the command line gives.

    Returns
    -------
    status : int
        For the shell, see ``skad --help``.
    """
    arguments = _parser().parse_args(argv)
    try:
        _use_utf8()
        return arguments.run(arguments)
    except KeyboardInterrupt:
        _tell("interrupted" + _resume_hint(arguments))
        return INTERRUPTED
    except BrokenPipeError:  # head, say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except UsageError as error:
        _tell(str(error))
        return FAILED
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError) as error:
        if arguments.debug:
            raise
        _tell(" ".join(str(error).split()))
        return FAILED


def _parser():
    parser = argparse.ArgumentParser(
        prog="skad",
        description="Find abnormal pictures, from pictures of what is normal.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"skad {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, (module, text) in _VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        home = importlib.import_module(f".{module}", __package__)
        if hasattr(home, "add_arguments"):
            home.add_arguments(verb)
        verb.add_argument("-q", "--quiet", action="store_true", help="no progress, no remarks")
        verb.add_argument("--debug", action="store_true", help="errors with where they arose")
        verb.set_defaults(run=home.run)
    return parser


def _use_utf8():
    """Names of files come out as they are on disk, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _tell(message):
    print(f"skad: {message}", file=sys.stderr)


def _resume_hint(arguments):
    if getattr(arguments, "watch", False):
        return "; the same command goes on with the pictures that have no row yet"
    folder = getattr(arguments, "checkpoint", None)
    if folder is None:
        return ""
    return f"; the same command goes on with the training in {folder}"
