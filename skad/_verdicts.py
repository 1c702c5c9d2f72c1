"""What a fitted detector says of pictures, one row each, of which some may not be readable."""

from contextlib import contextmanager

# Pictures that are scored together.
TOGETHER = 256


def detectors_within(detector):
    """Fitted detectors that decide: those that were calibrated, else the detector itself.

    Parameters
    ----------
    detector : estimator

    Returns
    -------
    detectors : list of estimator
        Without the FrozenEstimator around them.
    """
    from sklearn.frozen import FrozenEstimator

    found = []
    calibrated = hasattr(detector, "detectors_") and not _chose(detector)
    for one in detector.detectors_ if calibrated else [detector]:
        while isinstance(one, FrozenEstimator):
            one = one.estimator
        found.append(one)
    return found


@contextmanager
def unreadable_skipped(detector):
    """Context in which a fitted detector goes on beyond pictures that can't be read, silently."""
    import warnings

    held = [one for one in (detector, *detectors_within(detector)) if hasattr(one, "on_error")]
    given = [one.on_error for one in held]
    try:
        for one in held:
            one.on_error = "skip"
        with warnings.catch_warnings(record=True):  # each picture has its row
            warnings.simplefilter("always")
            yield
    finally:
        for one, before in zip(held, given):
            one.on_error = before


def verdicts(detector, paths):
    """Rows of pictures.

    Parameters
    ----------
    detector : estimator
        Fitted.
    paths : list of str

    Yields
    ------
    row : dict
        `path` and `decision`, "normal", "anomaly" or "unreadable"; `score` and `p_value` (NaN
        without calibration), or the `reason` why it could not be read.
    """
    import numpy as np

    with unreadable_skipped(detector):
        if hasattr(detector, "decide"):
            scores, p_values = detector.decide(paths)
        else:
            scores, p_values = detector.decision_function(paths), np.full(len(paths), np.nan)
    for path, value, p_value in zip(paths, scores, p_values):
        if np.isnan(value):
            yield {"path": path, "decision": "unreadable", "reason": reason(path)}
        else:
            decision = "anomaly" if value < 0 else "normal"
            yield {"path": path, "score": value, "p_value": p_value, "decision": decision}


def reason(path):
    """Why a picture can't be read."""
    from sklearn.base import BaseEstimator

    from .images._door import check_images

    try:
        check_images(BaseEstimator(), [path]).read(0, 1)
    except (OSError, ValueError) as error:
        return str(error).removeprefix("BaseEstimator: image 0 ").partition(") ")[2]
    return "it could not be read before"


def mapper_within(detector):
    """What gives score maps among a detector and those within it; None where nothing does.

    Of AutoDetector it is the first that gives them of those that it took, as in its own maps: that
    one has their threshold.
    """
    known = [detector, *detectors_within(detector)]
    known += known[-1].detectors_ if _chose(known[-1]) else []
    found = (one for one in known if hasattr(one, "score_maps") and not _chose(one))
    return next(found, None)


def _chose(detector):
    """Whether it is an AutoDetector: what it holds is its own choice, and decides by its mean."""
    return hasattr(detector, "leaderboard_")
