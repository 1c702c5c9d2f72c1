"""Detectors by the names and settings of the command line."""

import ast
import difflib
from contextlib import contextmanager

from ._errors import UsageError

# Detectors that learn from normal pictures alone, by what they are called here; auto chooses.
NAMES = {
    "dn2": "DN2",
    "panda": "PANDA",
    "msc": "MSC",
    "spade": "SPADE",
    "patchcore": "PatchCore",
    "padim": "PaDiM",
    "nsa": "NSA",
    "deep-svdd": "DeepSVDD",
    "rotation": "RotationPrediction",
    "deep-clustering": "DeepClustering",
    "scan": "SCANFeatures",
    "clad": "CLAD",
    "auto": "AutoDetector",
}


def add_detector(parser):
    """Let a verb take a detector and its settings."""
    parser.add_argument(
        "--detector", default="dn2", choices=NAMES, metavar="NAME", help=f"{', '.join(NAMES)} (dn2)"
    )
    parser.add_argument("--backbone", metavar="NAME", help="the network, of timm or torchvision")
    parser.add_argument("--weights", metavar="FILE", help='its weights; "none" for random ones')
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ...; by default what there is")
    parser.add_argument("--seed", type=int, metavar="N", help="decides all that is drawn (0)")
    parser.add_argument(
        "--checkpoint", metavar="DIR", help="keep the state of a training here, to go on with"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of the detector, as n_neighbors=1; may be repeated",
    )
    parser.add_argument(
        "--false-alarm-rate",
        type=float,
        metavar="RATE",
        help="put pictures aside, and set the threshold so that no more than this share of normal "
        "pictures are called anomalies; gives p-values as well",
    )
    parser.add_argument(
        "--calibration-share",
        type=float,
        metavar="SHARE",
        help="of the pictures, put aside for --false-alarm-rate (0.25)",
    )
    parser.add_argument(
        "--method",
        choices=("split", "cross"),
        help="of --false-alarm-rate: split puts pictures aside; cross fits five detectors, so that "
        "each picture serves to fit and to calibrate, for few pictures (split)",
    )


def fitted_detector(arguments, paths):
    """The detector that the command line asks for, fitted to pictures."""
    detector = _make_detector(arguments)
    with in_options():
        return detector.fit(paths)


@contextmanager
def in_options(may_share=True):
    """Context in which errors of a calibration name options of the command line.

    Parameters
    ----------
    may_share : bool
        Whether there are options that say how pictures are shared out.
    """
    advice = ', a larger calibration_share or method="cross"'
    words = {
        advice: ", a larger --calibration-share or --method cross" if may_share else "",
        " or a larger calibration_share": "",  # of maps, which are calibrated by all pictures
        "a larger false_alarm_rate": "a larger --false-alarm-rate",
    }
    try:
        yield
    except ValueError as error:
        said = str(error)
        for word, option in words.items():
            said = said.replace(word, option)
        if said == str(error):
            raise
        raise ValueError(said) from error


def _make_detector(arguments):
    import skad

    detector = detector_of(arguments.detector, _settings(arguments), arguments.progress)
    sharing = {"calibration_share": arguments.calibration_share, "method": arguments.method}
    sharing = {name: value for name, value in sharing.items() if value is not None}
    if arguments.false_alarm_rate is None:
        if sharing:
            raise UsageError(
                f"--{next(iter(sharing)).replace('_', '-')} is for --false-alarm-rate; give both"
            )
        return detector
    seed = 0 if arguments.seed is None else arguments.seed
    rate = arguments.false_alarm_rate
    return skad.ConformalDetector(detector, false_alarm_rate=rate, random_state=seed, **sharing)


def detector_of(name, given, verbose):
    """A detector by its name here and its parameters; a seed is left out where nothing is drawn."""
    import skad

    detector = getattr(skad, NAMES[name])()
    known = detector.get_params(deep=False)
    given = {key: one for key, one in given.items() if key != "random_state" or key in known}
    for key in given:
        if key not in known:
            raise UsageError(_unknown(name, key, known))
    if "verbose" in known:
        given = {"verbose": verbose} | given
    return detector.set_params(**given)


def parse_settings(texts, option):
    """Parameters by name, of texts as n_neighbors=1.

    Parameters
    ----------
    texts : list of str
    option : str
        Named in errors.
    """
    given = {}
    for one in texts:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {one}: give NAME=VALUE, as n_neighbors=1")
        try:
            given[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            given[name] = text
    return given


def _settings(arguments):
    """Parameters by name, of options and of --set."""
    named = {"backbone": arguments.backbone, "device": arguments.device}
    named |= {"random_state": arguments.seed, "checkpoint": arguments.checkpoint}
    given = {name: value for name, value in named.items() if value is not None}
    if arguments.weights is not None:
        given["weights"] = None if arguments.weights == "none" else arguments.weights
    return given | parse_settings(arguments.set, "--set")


def _unknown(detector, name, known):
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
    return f"{detector} has no parameter {name!r}; {hint}"
