"""Trial: what one candidate says of pictures that it was not fitted to."""

import time
from dataclasses import dataclass, field

import numpy as np

from ..model_selection._search import auroc_by_kind, log_odds, mean_auroc
from ..scorers._calibrated import normal_scores

# Log-odds by which one must be better, beyond twice the standard error. Settled on CIFAR-10, MNIST
# and magnetic tiles: on photographs larger images tell made anomalies better, by 0.3, and real ones
# worse; on tiles the best is better by 0.9, and is the best for real ones.
MARGIN = 0.5


@dataclass(eq=False)
class Fold:
    """Normal pictures that are put aside, and anomalies made of them.

    Parameters
    ----------
    train : ndarray of int
        Places of the normal pictures that are fitted to.
    images : sequence
        Normal pictures that are put aside, then anomalies made of them.
    kinds : ndarray of str
        Of each of them.
    """

    train: np.ndarray
    images: object
    kinds: np.ndarray


@dataclass(eq=False)
class Trial:
    """Scores by one candidate, or by several together.

    Parameters
    ----------
    name : str
    scores : list of ndarray
        Of the images of each fold; empty where it could not be tried.
    minutes : float
    note : str
    """

    name: str
    scores: list
    minutes: float = 0.0
    note: str = ""
    by_kind: dict = field(default_factory=dict)
    folds: list = field(default_factory=list)
    cells: object = ()

    def judge(self, folds):
        """Measure it; gives itself."""
        found = [auroc_by_kind(fold.kinds, s) for fold, s in zip(folds, self.scores)]
        kinds = dict.fromkeys(kind for one in found for kind in one)
        self.by_kind = {k: mean_auroc(one[k] for one in found if k in one) for k in kinds}
        self.cells = log_odds(area for one in found for area in one.values())
        self.folds = [mean_auroc(one.values()) for one in found]
        return self

    @property
    def auroc(self):
        """Mean over folds and kinds of anomalies, as log-odds."""
        return mean_auroc(self.folds) if self.folds else float("nan")

    def normal(self, folds):
        """Scores of the normal pictures, each by a fit without it."""
        parts = [s[fold.kinds == "normal"] for fold, s in zip(folds, self.scores)]
        return np.sort(np.concatenate(parts))

    def calibrated(self, folds):
        """Scores as quantiles of the normal distribution, by those of the normal pictures."""
        known = self.normal(folds)
        return [normal_scores(scores, known) for scores in self.scores]


def tried(name, candidate, source, folds):
    """Fit a candidate on each fold and score what was put aside.

    Parameters
    ----------
    name : str
    candidate : callable
        Gives an unfitted detector.
    source : ImageSource
        Images, already validated.
    folds : list of Fold

    Returns
    -------
    trial : Trial
        With a note, and no scores, where it can't be fitted to these pictures.
    """
    begun = time.monotonic()
    try:
        scores = [
            candidate().fit(source.take(fold.train)).score_samples(fold.images) for fold in folds
        ]
    except (ValueError, TypeError, ArithmeticError) as error:
        return Trial(name, [], (time.monotonic() - begun) / 60, f"{type(error).__name__}: {error}")
    return Trial(name, scores, (time.monotonic() - begun) / 60).judge(folds)


def together(trials, folds):
    """What several candidates say together: the mean of their calibrated scores.

    Parameters
    ----------
    trials : list of Trial
    folds : list of Fold

    Returns
    -------
    trial : Trial
    """
    calibrated = [trial.calibrated(folds) for trial in trials]
    scores = [np.mean(of_fold, axis=0) for of_fold in zip(*calibrated)]
    return Trial(" + ".join(trial.name for trial in trials), scores).judge(folds)


def best_of(trials, folds, n_best):
    """The best trial, and others that make it better (Caruana et al.), where that is sure.

    It is sure where the AUROC, as log-odds over folds and kinds of anomalies, is higher by more
    than `MARGIN` and twice its standard error, so that neither chance counts nor what made
    anomalies have for themselves. Where none is surely better than the first, the first is taken.

    Parameters
    ----------
    trials : list of Trial
    folds : list of Fold
    n_best : int
        Most of them.

    Returns
    -------
    chosen : list of Trial
    """
    known = [trial for trial in trials if trial.folds]
    best = max(known, key=lambda trial: trial.auroc)
    best = best if _surely_better(best, known[0]) else known[0]
    chosen, left = [best], [trial for trial in known if trial is not best]
    while left and len(chosen) < n_best:
        joined = [together([*chosen, trial], folds) for trial in left]
        i = max(range(len(left)), key=lambda j: joined[j].auroc)
        if not _surely_better(joined[i], best):
            break
        best = joined[i]
        chosen.append(left.pop(i))
    return chosen


def _surely_better(trial, other):
    gains = np.subtract(trial.cells, other.cells)
    return gains.mean() - 2 * gains.std() / np.sqrt(gains.size) > MARGIN
