"""``skad update``: further normal pictures, false alarms say, join a model that there is."""

from .._verdicts import detectors_within
from .._whole import check_writable
from ._errors import UsageError
from ._known import content, remember
from ._output import remark
from ._pictures import add_pictures, list_pictures

# Metrics by which a row that joins changes no other distance.
_PLAIN_METRICS = ("cosine", "euclidean", "angle")


def add_arguments(parser):
    """Arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a model file, .skad")
    add_pictures(parser, "normal", several=True, text="normal pictures: folders or files")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="by default MODEL itself is replaced"
    )
    parser.add_argument("--device", metavar="NAME", help="where to compute; by default as fitted")


def run(arguments):
    """Extend the detector of the model, and write it in its place."""
    from ..persistence import describe, load, save

    output = arguments.output or arguments.model
    check_writable(output)
    model = load(arguments.model, device=arguments.device)
    detector = _detector_of(model, arguments.model)
    paths, _ = list_pictures(arguments.normal)
    new, features = _new_pictures(detector, paths)
    before = _thresholds(detector)
    if new:
        detector.partial_fit(new)
        if hasattr(detector, "_fitted_to"):
            remember(detector, new)
    if new or arguments.output:
        names = [one["weights"] for one in describe(arguments.model)["networks"]]
        save(model, output, weights="reference" if "reference" in names else "stored")
    _tell(arguments, f"{output}: {_pictures(len(new))} joined", model, detector, before)
    if len(new) < len(paths):
        remark(
            arguments,
            f"{_pictures(len(paths) - len(new))} left out, being in the model already: a copy "
            "would pass for a neighbour",
        )
    _tell_still_odd(arguments, model, detector, features)
    return 0


def _pictures(number):
    return f"{number} picture{'' if number == 1 else 's'}"


def _detector_of(model, path):
    """What pictures join, or an error that says why they can't."""
    from ..detectors._base import BaseImageDetector

    calibrated, found = hasattr(model, "calibration_scores_"), detectors_within(model)
    if len(found) > 1:
        raise UsageError(
            f"{path} was cross-calibrated: each of its {len(found)} detectors has pictures of its "
            "own. Fit anew, to all pictures"
        )
    (detector,) = found
    if not isinstance(detector, BaseImageDetector):
        raise UsageError(f"{path} holds {type(detector).__name__}, which pictures can't join")
    try:
        detector.partial_fit  # noqa: B018
    except AttributeError as error:
        raise UsageError(f"{path}: {error.__cause__ or error}") from error
    if calibrated and (hasattr(model, "pixel_offset_") or not _scores_only_rise(detector)):
        raise UsageError(
            f"{path} was calibrated, and its {type(detector).__name__} may score further pictures "
            "lower than before, which would break the promise. Update the model as it was before, "
            "then calibrate it anew (skad calibrate)"
        )
    return detector


def _scores_only_rise(detector):
    """Whether pictures that join make no other look odder than it did.

    The distance to the nearest of more pictures is no larger. So p-values by earlier calibration
    scores are no smaller, and false alarms no more, than with the pictures left out. A whitening
    that changes, more neighbours to take the mean of, and maps that are compared with other
    pictures than before give no such order.
    """
    from ..scorers import KNNScorer

    scorer = detector.pipeline_["scorer"]
    return (
        isinstance(scorer, KNNScorer)
        and scorer._fitted.metric in _PLAIN_METRICS
        and scorer.index_ == "exact"
        and getattr(detector, "image_score", "features") == "features"
        and getattr(detector, "_n_neighbors", 0) <= scorer._fitted.n_neighbors
    )


def _new_pictures(detector, paths):
    """Pictures that are neither given twice nor in the model, and where neighbours count, features.

    No picture is its own neighbour, but a copy of it counts as one: of two that joined each would
    find the other at no distance, so that neither told where the threshold lies.
    """
    from ..scorers import KNNScorer

    by_content = {}
    for path in paths:
        by_content.setdefault(content(path), path)
    found = list(by_content.values())
    first, scorer = (step for _, step in detector.pipeline_.steps)
    if not isinstance(scorer, KNNScorer):  # others keep no rows to look through
        return found, None
    features = first.transform(found)
    held = scorer.holds(features)
    return [path for path, is_held in zip(found, held) if not is_held], features[~held]


def _thresholds(detector):
    """By their names in a remark."""
    found = {"threshold": detector.offset_}
    if hasattr(detector, "pixel_offset_"):
        found["threshold of pixels"] = detector.pixel_offset_
    return found


def _tell(arguments, text, model, detector, before):
    after = _thresholds(detector)
    if hasattr(model, "calibration_scores_"):
        text += (
            f"; threshold kept at {model.offset_:.6g}, by the calibration pictures: false alarms "
            "become no more, maybe fewer. skad calibrate sets it anew"
        )
        del before["threshold"]
    for name, value in before.items():
        text += f"; {name} {value:.6g} before, now {after[name]:.6g}"
    remark(arguments, text)


def _tell_still_odd(arguments, model, detector, features):
    """Say so where pictures that joined stay alone, as none is a neighbour of itself."""
    by_features = getattr(detector, "image_score", "features") == "features"
    if features is None or not len(features) or not by_features:
        return
    scorer = detector.pipeline_["scorer"]
    odd = int((scorer.score_samples(features) < model.offset_).sum())
    if odd:
        remark(
            arguments,
            f"{odd} of {len(features)} still {'scores' if odd == 1 else 'score'} as odd: no "
            "picture is a neighbour of itself, and too few of the others are alike "
            f"(n_neighbors={scorer._fitted.n_neighbors})",
        )
