"""``skad calibrate``: a threshold that keeps its promise, for a model that there is."""

from .._verdicts import detectors_within
from .._whole import check_writable
from ._detectors import in_options
from ._errors import UsageError
from ._known import is_known
from ._output import remark
from ._pictures import add_pictures, list_pictures


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a model file, .skad")
    add_pictures(parser, "normal", several=True, text="normal pictures that were not in the fit")
    parser.add_argument(
        "--false-alarm-rate", type=float, default=0.05, metavar="RATE", help="(0.05)"
    )
    parser.add_argument(
        "--pixels",
        action="store_true",
        help="calibrate score maps: the rate is of normal pictures with anything in their masks",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="by default MODEL itself is replaced"
    )
    parser.add_argument("--device", metavar="NAME", help="where to compute; by default as fitted")


def run(arguments):
    """Put the model into a conformal detector, calibrated on the pictures."""
    from sklearn.frozen import FrozenEstimator

    from ..conformal import ConformalDetector, ConformalMapDetector
    from ..persistence import load, save

    output = arguments.output or arguments.model
    check_writable(output)
    detector = load(arguments.model, device=arguments.device)
    pixels = arguments.pixels or isinstance(detector, ConformalMapDetector)
    if isinstance(detector, (ConformalDetector, ConformalMapDetector)):
        if len(detector.detectors_) > 1:
            raise UsageError(f"{arguments.model} was cross-calibrated on its own pictures already")
        (detector,) = detectors_within(detector)
    if pixels and not hasattr(detector, "score_maps"):
        raise UsageError(
            f"--pixels: {arguments.model} gives no maps; fit one that does, by --detector spade"
        )
    paths, _ = list_pictures(arguments.normal)
    known = is_known(detector, paths)
    if known is not None and known.any():
        raise UsageError(_seen(arguments.model, paths, known))
    rate = {"false_alarm_rate": arguments.false_alarm_rate, "calibration_share": 1.0}
    kind = ConformalMapDetector if pixels else ConformalDetector
    with in_options(may_share=False):
        calibrated = kind(FrozenEstimator(detector), **rate).fit(paths)
    save(calibrated, output)
    remark(
        arguments,
        f"{output}: at most {arguments.false_alarm_rate:g} of new normal pictures are called "
        f"anomalies, by {len(paths)} pictures; threshold {calibrated.offset_:.6g}",
    )
    if known is None:
        remark(
            arguments,
            f"{arguments.model} does not tell which pictures it was fitted to. The rate holds only "
            "if none of these was among them",
        )
    return 0


def _seen(model, paths, known):
    """Why such pictures can't calibrate."""
    n_known = int(known.sum())
    return (
        f"{model} was fitted to {n_known} of these {len(paths)} pictures, {paths[known.argmax()]} "
        f"{'among them' if n_known > 1 else 'that is'}. A detector scores those higher than new "
        "ones, so that more false alarms would come than promised. Give normal pictures that were "
        "not in the fit"
    )
