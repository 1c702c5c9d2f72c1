"""AutoDetector: a choice among detectors on normal images alone."""

import tempfile
import time
from typing import Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from tqdm import tqdm

from .._callbacks import CallbackSupportMixin, fit_task
from .._compat import HasMethods, StrOptions, fit_context
from .._fitting import unchanged_on_error
from .._parameters import AT_LEAST_TWO, POSITIVE, changed, parameter
from .._types import Images, Labels, Maps
from .._warnings import warn
from ..images._door import check_images
from ..images._parameters import ReadingParameters, ThreadParameters
from ..model_selection import Leaderboard, SyntheticAnomalies, SyntheticKFold
from ..model_selection._synthetic import DEFECTS, SHIFTS
from ..networks._parameters import DeviceParameters, RandomParameters
from ..scorers._calibrated import normal_scores
from ..scorers._parameters import ContaminationParameters
from ..training._parameters import TimeParameters
from ._base import BaseImageScores
from ._candidates import PRESETS
from ._trial import Fold, Trial, best_of, together, tried

# Other colours are not among them: on CIFAR-10, MNIST and magnetic tiles detectors that find those
# best find real anomalies worst (Spearman correlations of -0.6, -0.3 and -0.5).
KINDS = [kind for kind in (*DEFECTS, *SHIFTS) if kind != "colors"]

# Bytes of made pictures that are kept.
MOST_IN_MEMORY = 512 * 2**20


class SearchParameters(TimeParameters):
    """What is searched, and how."""

    candidates: object = parameter(
        default="fast",
        limits=[StrOptions({"fast", "thorough"}), list, tuple, dict],
        kind='"fast", "thorough", list of detectors or dict of str to detector',
        kw_only=False,
        text='Detectors to choose from. "fast": frozen networks with several layers, sizes and '
        'scores, and maps. "thorough": more of these, and trained networks. Of a list, the '
        "first is taken unless another is surely better. A detector of a list is named as it "
        "prints.",
    )
    synthetic: object = parameter(
        default=None,
        limits=[HasMethods(["make"]), None],
        kind="SyntheticAnomalies",
        text="Makes the anomalies on which candidates are compared. By default all kinds but "
        '"colors", four of each image. If you have real anomalies, give them to it as '
        "`outliers`.",
    )
    n_splits: int = parameter(
        default=3,
        limits=[AT_LEAST_TWO],
        text="Folds of normal images. Each candidate is fitted on all folds but one, for each in "
        "turn.",
    )
    n_best: int = parameter(
        default=3,
        limits=[POSITIVE],
        text="Most candidates whose scores are combined. Another one is added only if it raises "
        "the AUROC by more than 0.5, as log-odds, beyond twice the standard error over folds and "
        "kinds of anomalies.",
    )
    max_minutes: float | None = changed(
        default=None,
        note="No further candidate is tried when the time is up, less what the last fits will "
        "take. The first candidate is always tried.",
    )


def can_map(detector):
    """Whether one of the detectors has maps; it is not known before the fit."""
    members = getattr(detector, "detectors_", ())
    return any(hasattr(member, "score_maps") for member in members)


class AutoDetector(
    RandomParameters,
    SearchParameters,
    ContaminationParameters,
    ThreadParameters,
    ReadingParameters,
    DeviceParameters,
    CallbackSupportMixin,
    BaseImageScores,
):
    r"""Choose among detectors, and combine the best, on normal images alone.

    Normal images are split into folds. Each candidate is fitted on all folds but one; it then
    scores the images of the fold left out and anomalies made of them
    (:class:`~skad.model_selection.SyntheticAnomalies`). Its mark is the AUROC, averaged as log-odds
    over folds and kinds of anomalies. The candidate with the best mark is taken if it beats the
    first one by more than 0.5 (log-odds), beyond twice the standard error; otherwise the first is
    taken. Others join it on the same condition. All those taken are fitted on all images.
    The score is the mean of their M calibrated scores,

    .. math:: s(x) = \frac1M \sum_m \Phi^{-1}\bigl(F_m(s_m(x))\bigr),

    where :math:`F_m` is the share of normal images with a lower score, each scored by a fit
    without it.

    Attributes
    ----------
    leaderboard_ : Leaderboard
        The candidates that were tried, the best first; it prints as a table.
    detectors_ : list of detector
        The detectors that were taken, fitted on all images.
    calibration_scores_ : list of ndarray of shape (n_images,)
        For each detector, the scores of the normal images, each by a fit without it, lowest first.
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.model_selection.SyntheticKFold : The same comparison, for GridSearchCV.
    skad.ConformalDetector : Wraps this detector to guarantee a rate of false alarms.

    Notes
    -----
    Synthetic anomalies differ from the real ones to come. See ``leaderboard_[i]["by_kind"]`` for
    the kinds that matter to you, and leave out the others by ``SyntheticAnomalies(kinds=[...])``.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble Selection from Libraries of Models", ICML
    2004. Li, Sohn, Yoon, Pfister, "CutPaste", CVPR 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import DN2, AutoDetector
    >>> digits, labels = load_digits(return_X_y=True)
    >>> candidates = [DN2(), DN2(layers=["layer3"])]
    >>> detector = AutoDetector(candidates, n_splits=2).fit(digits[labels == 0][:40])
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    >>> len(detector.leaderboard_)
    2
    """

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None) -> Self:
        """Compare the candidates, take the best and fit them on all images.

        Parameters
        ----------
        X : images
            Normal images, at least four, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if no candidate can be fitted to them.
        """
        with unchanged_on_error(self), fit_task(self):
            source = check_images(self, X, y, reset=True)
            makers, folds = self._makers(), self._folds(source)
            trials = self._trials(makers, source, folds)
            taken = best_of(trials, folds, self.n_best)
            self.detectors_ = [makers[trial.name]().fit(source) for trial in taken]
            self.calibration_scores_ = [trial.normal(folds) for trial in taken]
            self.leaderboard_ = Leaderboard([_row(trial, taken) for trial in trials])
            self.offset_ = self._offset(together(taken, folds).normal(folds))
        source.brightest.warn_if_dark(type(self).__name__)
        return self

    def _makers(self):
        """What gives each candidate, unfitted, by name."""
        given = self.candidates
        if isinstance(given, str):
            return PRESETS[given](self)
        named = given if isinstance(given, dict) else {_printed(one): one for one in given}
        if len(named) < len(given):
            raise ValueError(
                "AutoDetector: two candidates of the list print alike, so that leaderboard_ could "
                "not tell them apart; leave one out, or give a dict of names to detectors."
            )
        if not named:
            raise ValueError("AutoDetector: candidates holds no detector; give one at least.")
        for name, one in named.items():
            if not (hasattr(one, "fit") and hasattr(one, "score_samples")):
                raise TypeError(
                    f"AutoDetector: candidate {name} has no fit and score_samples; give detectors."
                )
        return {name: (lambda one=one: clone(one)) for name, one in named.items()}

    def _folds(self, source):
        if len(source) < 4:
            raise ValueError(
                "AutoDetector: at least 4 normal images are needed, to fit to some and to compare "
                f"on others; got n_samples = {len(source)} (with 1 sample nothing can be compared)."
            )
        synthetic = self.synthetic
        if synthetic is None:
            # No candidate of "fast" sees more than 128 pixels.
            size = 128 if self.candidates == "fast" else 256
            synthetic = SyntheticAnomalies(KINDS, per_image=4, image_size=size)
        seed = int(check_random_state(self.random_state).randint(2**31))
        cv = SyntheticKFold(n_splits=min(self.n_splits, len(source) // 2), random_state=seed)
        folds = []
        for train, held in cv.split(np.zeros(len(source))):
            made = synthetic.make(source.take(held))
            folds.append(Fold(train, _in_memory(made.images, cv.n_splits), made.kinds))
        return folds

    def _trials(self, makers, source, folds):
        """What each candidate says; those that come too late are told of as well."""
        begun, trials, longest = time.monotonic(), [], 0.0
        with tempfile.TemporaryDirectory() as folder:
            bar = {"desc": "AutoDetector", "unit": "candidate", "disable": not self.verbose}
            for name, make in tqdm(makers.items(), **bar):
                passed = (time.monotonic() - begun) / 60
                if trials and self.max_minutes and passed + longest > self.max_minutes:
                    trials.append(Trial(name, [], note="not tried: max_minutes"))
                    continue
                trials.append(tried(name, lambda make=make: _kept(make(), folder), source, folds))
                longest = max(longest, trials[-1].minutes / len(folds) * self.n_best)
        if not any(trial.folds for trial in trials):
            raise ValueError(
                f"AutoDetector: no candidate can be fitted to these images: {trials[0].note}"
            )
        failed = [trial.name for trial in trials if trial.note and not trial.folds]
        if failed:
            warn(
                f"AutoDetector: {len(failed)} of {len(trials)} candidates were not tried or could "
                f"not be fitted ({', '.join(failed[:3])}{', ...' if len(failed) > 3 else ''}); "
                "leaderboard_ tells why."
            )
        return trials

    def _scores(self, source):
        found = []
        for detector, known in zip(self.detectors_, self.calibration_scores_):
            score = getattr(detector, "_scores", detector.score_samples)
            found.append(normal_scores(score(source), known))
        return np.mean(found, axis=0)

    @available_if(can_map)
    def score_maps(self, X: Images) -> Maps:
        """Compute score maps, by the best detector that has maps.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        maps : ndarray of float32, shape (n_images, height, width), or list of ndarray
            One map for each image: one array if `X` is one array or tensor, else a list; NaN for
            images that could not be read, with ``on_error="skip"``.
        """
        member = next(member for member in self.detectors_ if hasattr(member, "score_maps"))
        return member.score_maps(self._source_to_score(X))


def _in_memory(images, n_folds):
    """Pictures as a list, so that they are made but once, where all folds have room."""
    if isinstance(images, np.ndarray):
        return images
    n_bytes = images[0].nbytes * len(images) * n_folds
    return list(images) if n_bytes <= MOST_IN_MEMORY else images


def _printed(detector):
    """What prints as a detector does, in one line."""
    return " ".join(repr(detector).split())


def _kept(detector, folder):
    """A detector that keeps features in a folder, so that each picture is computed once."""
    given = detector.get_params()
    for name in ("memory", "extractor__memory"):
        if given.get(name, folder) is None:
            detector.set_params(**{name: folder})
    return detector


def _row(trial, taken):
    return {
        "candidate": trial.name,
        "auroc": trial.auroc,
        "fold_std": float(np.std(trial.folds)) if trial.folds else float("nan"),
        "minutes": trial.minutes,
        "weight": 1 / len(taken) if trial in taken else 0.0,
        "note": trial.note,
        "by_kind": trial.by_kind,
    }
