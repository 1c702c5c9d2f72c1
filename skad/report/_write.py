"""write_report: score pictures, look at the worst, write the page."""

import os
from datetime import UTC, datetime
from numbers import Integral

from sklearn.utils.validation import check_is_fitted

from .._types import FilePath, Images
from .._verdicts import TOGETHER, detectors_within, mapper_within, verdicts
from .._whole import check_writable, write_whole
from ._model import facts, parameters, versions
from ._nearest import HOW_TO_GET_THEM, NearestNormal
from ._page import Told, page
from ._promise import promises
from ._views import make_cards, progress_bar

# More pictures than this make a page that no browser likes.
_MOST = 1000

# What comes first, whatever the scores.
_ORDER = ("anomaly", "unreadable", "normal")


def write_report(
    detector: object,
    pictures: Images,
    path: FilePath,
    *,
    normal: Images = None,
    model: FilePath | None = None,
    most: int = 100,
    title: str | None = None,
    date: datetime | None = None,
    progress: bool = False,
) -> dict[str, int]:
    """Write a report on pictures: one HTML file that needs nothing else.

    It contains the verdicts, worst first; the worst pictures, with heat maps and outlines if the
    detector has score maps; a histogram of the scores with the threshold; how thresholds were set
    and what they guarantee; the model, what it was fitted on, and versions.

    Parameters
    ----------
    detector : estimator
        A fitted outlier detector of images.
    pictures : list of path
        Pictures to score. A picture that cannot be read has a row with the reason.
    path : path
        The file to write.
    normal : list of path, optional
        The pictures that the detector was fitted on, or other normal ones. The nearest of them are
        shown next to each anomaly.
    model : path, optional
        The file that the detector was loaded from; the report names it.
    most : int in [0, 1000], default=100
        Number of pictures to show, those with the lowest scores. The others only have a row.
    title : str, optional
        Heading of the report.
    date : datetime, optional
        Date of the report; by default now, or the time in the environment variable
        ``SOURCE_DATE_EPOCH``.
    progress : bool, default=False
        Show progress on stderr.

    Returns
    -------
    counts : dict of str to int
        Number of pictures that are "anomaly", "normal" and "unreadable".

    Raises
    ------
    TypeError, ValueError
        If the detector has no decisions; if there are no pictures; if a parameter does not fit.
    OSError
        If the file cannot be written. An earlier file of that name is then left as it was.

    See Also
    --------
    skad.displays : Single plots, for notebooks.

    Notes
    -----
    The same pictures, model and date give the same file. Only the thumbnails that are shown are
    held in memory, at most 20 kB each in the file, so there is no limit on the number and size of
    pictures.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn.datasets import load_digits
    >>> import skad
    >>> from skad.report import write_report
    >>> digits, labels = load_digits(return_X_y=True)
    >>> folder = Path(tempfile.mkdtemp())
    >>> paths = [folder / f"{i}.png" for i in range(60)]
    >>> for digit, path in zip(digits.reshape(-1, 8, 8), paths):
    ...     Image.fromarray((15 * digit).astype("uint8")).save(path)
    >>> zeros = [path for path, label in zip(paths, labels) if label == 0]
    >>> detector = skad.DN2(image_size=32).fit(zeros)
    >>> counts = write_report(detector, paths, folder / "report.html", normal=zeros)
    >>> sum(counts.values())
    60
    """
    detector_of_features = detectors_within(detector)[0]
    _check(detector, pictures, path, normal, most)
    paths = [os.fspath(one) for one in pictures]
    nearest = None
    if normal is not None:
        nearest = NearestNormal(detector_of_features, [os.fspath(one) for one in normal])
    rows = _ranked(_scored(detector, paths, progress))
    shown = [row for row in rows if row["rank"] is not None][:most]
    cards = make_cards(detector, shown, nearest, progress)
    n_anomalies = sum(row["decision"] == "anomaly" for row in shown)
    told = Told(
        title="Report on pictures" if title is None else title,
        model="" if model is None else os.path.basename(model),
        date=_in_utc(date),
        rows=rows,
        promises=promises(detector),
        facts=facts(detector, model),
        parameters=parameters(detector),
        versions=versions(model),
        anomaly_cards=cards[:n_anomalies],
        other_cards=cards[n_anomalies:],
        has_heat=mapper_within(detector) is not None,
        neighbors=HOW_TO_GET_THEM if nearest is None else nearest.told,
    )
    write_whole(path, (piece.encode() for piece in page(told)))
    return told.counts


def _check(detector, pictures, path, normal, most):
    """Refuse now what can't work, not after hours of scoring."""
    check_is_fitted(detector)
    if not hasattr(detector, "decision_function"):
        raise TypeError(
            f"write_report: {type(detector).__name__} decides nothing, as it has no "
            "decision_function; give a fitted outlier detector of images."
        )
    for name, paths in (("pictures", pictures), ("normal", normal)):
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise TypeError(
                f"write_report: {name} must be a list of paths; got {paths!r}. The paths of a "
                "folder are had by skad.datasets.image_folder(folder)[0]."
            )
    if len(pictures) == 0:
        raise ValueError("write_report: there are no pictures; give at least one.")
    if not isinstance(most, Integral) or not 0 <= most <= _MOST:
        raise ValueError(
            f"write_report: most must be a whole number in 0..{_MOST}, as browsers choke on more "
            f"pictures; got {most!r}."
        )
    check_writable(path)


def _scored(detector, paths, progress):
    """Verdicts of all pictures, some at a time."""
    with progress_bar(len(paths), "scored", progress) as bar:
        for first in range(0, len(paths), TOGETHER):
            some = paths[first : first + TOGETHER]
            yield from verdicts(detector, some)
            bar.update(len(some))


def _ranked(rows):
    """Rows in the order of the report, with their rank by score; None without."""
    rows = sorted(rows, key=lambda row: (_ORDER.index(row["decision"]), row.get("score", 0.0)))
    rank = 0
    for row in rows:
        rank += "score" in row
        row["rank"] = rank if "score" in row else None
    return rows


def _in_utc(date):
    """A date in UTC, which one without a zone is taken for; by default now."""
    if date is None:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        return datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
