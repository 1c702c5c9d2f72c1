"""How thresholds were set and what they promise, in plain words."""

from math import ceil

from .._decision import AUTO_CONTAMINATION
from .._verdicts import detectors_within, mapper_within
from ..conformal import ConformalDetector, ConformalMapDetector
from ..displays._inputs import split_steps
from ._text import counted, number, share

_CALIBRATED = (ConformalDetector, ConformalMapDetector)


def promises(detector):
    """Paragraphs on the thresholds of a fitted detector.

    Parameters
    ----------
    detector : estimator

    Returns
    -------
    paragraphs : list of str
        Plain text.
    """
    calibrated = detector if isinstance(detector, _CALIBRATED) else split_steps(detector)[1]
    if isinstance(calibrated, ConformalMapDetector):
        return [*_calibrated(calibrated), _of_calibrated_pixels(calibrated)]
    if isinstance(calibrated, ConformalDetector):
        told = _calibrated(calibrated)
    else:
        told = _quantile(detector)
    mapper = mapper_within(detector)
    if mapper is not None and hasattr(mapper, "pixel_offset_"):
        told.append(_of_pixels(mapper, several=len(detectors_within(detector)) > 1))
    return told


def _calibrated(detector):
    alpha, n = detector.false_alarm_rate, sum(map(len, detector.calibration_scores_))
    how, bound, average = (_split if len(detector.detectors_) == 1 else _cross)(detector, alpha, n)
    told = [
        how,
        "What it promises: if the normal pictures to come and those of the calibration are "
        "exchangeable, as when both are drawn from one source, a normal picture is called an "
        f"anomaly with a probability of {bound}.",
        f"That is an average over calibration sets{average}.",
    ]
    if getattr(detector, "pollution", 0) > 0:
        told.append(
            f"But the lowest scores, {share(detector.pollution)} of the calibration, were dropped "
            "as those of anomalies (pollution). Where they were of normal pictures the rate is "
            "above what is said here."
        )
    return [
        *told,
        "What breaks it: neighbouring frames of a video or crops of one photograph are not "
        "exchangeable; nor are pictures by another camera or of another batch than those of the "
        "calibration. How many anomalies are found is not promised.",
        "The p-value is the share of normal pictures that look as odd. It is never below "
        f"1 / ({n} + 1) = {number(1 / (n + 1))}, however odd a picture is.",
    ]


def _split(detector, alpha, n):
    """How a detector was calibrated once, the bound on its false alarms, and what varies."""
    score = "lowest pixel" if isinstance(detector, ConformalMapDetector) else "score"
    how = (
        f"The threshold was calibrated with {counted(n, 'normal picture')} that the detector was "
        f"not fitted on, for a false-alarm rate of {share(alpha)}. A picture is called an anomaly "
        f"where its p-value is at most {number(alpha)}, which is where its {score} by the detector "
        f"is below {number(detector.offset_)}."
    )
    around = (alpha * (1 - alpha) / n) ** 0.5
    average = f": with one set of {n} the rate varies around it by about {share(round(around, 3))}"
    return how, f"at most {share(alpha)}, whatever the detector", average


def _cross(detector, alpha, n):
    """The same of several detectors that calibrate one another's pictures."""
    k = len(detector.detectors_)
    how = (
        f"The threshold was cross-calibrated: each of {k} detectors was fitted without one of {k} "
        f"parts of {counted(n, 'normal picture')}, and calibrated with it, for a false-alarm rate "
        f"of {share(alpha)}. A picture is called an anomaly where its p-value is at most "
        f"{number(alpha)}."
    )
    most = min(1, 2 * alpha + 2 * (k - 1) / (n + k))
    bound = (
        f"at most {share(most)}, twice {share(alpha)} and 2 ({k} - 1) / ({n} + {k}), and about "
        f"{share(alpha)} in practice"
    )
    return how, bound, ""


def _quantile(detector):
    _, scorer = split_steps(detector)
    by_maps = getattr(detector, "image_score", "features") != "features"
    contamination = getattr(detector if by_maps else scorer, "contamination", None)
    offset = getattr(detector, "offset_", getattr(scorer, "offset_", None))
    told = [f"The threshold on the detector's own score is {number(offset) or 'not known'}."]
    if contamination is None:
        told.append(f"It was set by {type(scorer).__name__} when it was fitted.")
    else:
        rate = AUTO_CONTAMINATION if contamination == "auto" else contamination
        by_habit = " (a habit, as nobody said how much)" if contamination == "auto" else ""
        of = "of normal pictures drawn from those of the fit" if by_maps else "of the fit"
        told[0] += (
            f" It was taken from the scores of the pictures {of}: {share(rate)} of them are below "
            f"it{by_habit}, and so are called anomalies."
        )
    told += [
        "What it promises: nothing that is proven. New normal pictures may be called anomalies "
        "more often than those of the fit. A threshold with a rate that is kept on new pictures is "
        "had by `skad calibrate`, from normal pictures that were not in the fit.",
        "There are no p-values without calibration.",
    ]
    return told


def _of_calibrated_pixels(detector):
    return (
        "Outlines are drawn around pixels whose score is below the same threshold, "
        f"{number(detector.pixel_offset_)}: a picture is called an anomaly exactly where it has an "
        "outline, and the promise is of all its pixels together."
    )


def _of_pixels(mapper, several):
    rate = mapper.mask_false_alarm_rate
    told = f"Outlines are drawn around pixels whose score is below {number(mapper.pixel_offset_)}"
    if several:
        told += ", by the first of the detectors"
    if rate is None:
        told += (
            f". {share(mapper.pixel_contamination)} of the pixels of normal pictures of the fit "
            "are below it, each picture counting alike. "
        )
    else:
        drawn = max(mapper.n_threshold_images, ceil(1 / rate))
        told += (
            f". At most {share(rate)} of up to {drawn} normal pictures of the fit have any such "
            "pixel; with fewer pictures, n, no smaller rate than about 1 in n can be kept. "
        )
    return told + (
        "This is no promise for new pictures, and apart from the verdict: a normal picture may "
        "have an outline, and an anomaly none."
    )
