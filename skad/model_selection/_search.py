"""Search among detectors on normal pictures alone: folds, and a scorer that makes anomalies."""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit, logit
from sklearn.model_selection import KFold

from .._compat import num_samples
from .._labels import has_anomaly_labels
from .._types import Images, Labels, RandomState
from ..metrics import auroc_score, pixel_auroc_score
from ._synthetic import DEFECTS, SyntheticAnomalies

# AUROCs are kept so far from 0 and 1.
_LEAST = 0.005


class SyntheticKFold:
    """K folds of normal pictures, for a search with synthetic anomalies.

    Detectors are trained on all folds but one. The scorer makes anomalies of the fold left out.

    Parameters
    ----------
    synthetic : SyntheticAnomalies, optional
        Makes the anomalies; by default ``SyntheticAnomalies()``.
    n_splits : int, default=3
        Number of folds, at least 2.
    shuffle : bool, default=True
        Divide the pictures in random order: in a folder, similar ones are often next to each other.
    random_state : int, RandomState instance or None, default=0
        Seeds that order.

    Attributes
    ----------
    scorer : SyntheticAUROC
        The scorer to give to a search as ``scoring``.

    See Also
    --------
    skad.model_selection.SyntheticAUROC : The scorer.
    skad.OneClassKFold : Folds for labelled anomalies.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skad import DN2
    >>> from skad.model_selection import SyntheticAnomalies, SyntheticKFold
    >>> zeros = load_digits(n_class=1).images[:30] / 16
    >>> cv = SyntheticKFold(SyntheticAnomalies(["stain", "tiles"]), n_splits=2)
    >>> search = GridSearchCV(
    ...     DN2(image_size=32), {"n_neighbors": [1, 2]}, cv=cv, scoring=cv.scorer
    ... )
    >>> bool(search.fit(zeros).best_score_ > 0.5)
    True
    """

    def __init__(
        self,
        synthetic: SyntheticAnomalies | None = None,
        n_splits: int = 3,
        *,
        shuffle: bool = True,
        random_state: RandomState = 0,
    ) -> None:
        self.synthetic = synthetic
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    @property
    def scorer(self) -> "SyntheticAUROC":
        """The scorer to give to a search as ``scoring``."""
        return SyntheticAUROC(self.synthetic)

    def split(
        self, X: Images, y: Labels = None, groups: object = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield indices of training and test pictures.

        Parameters
        ----------
        X : sequence of length n_samples
            Normal pictures; only their number counts.
        y, groups : object
            Ignored; present by scikit-learn's convention.

        Yields
        ------
        train, test : ndarray of int
            Indices of pictures.

        Raises
        ------
        ValueError
            If labels mark anomalies, or a test fold would have fewer than two pictures.
        """
        if y is not None and has_anomaly_labels(y):
            raise ValueError(
                "SyntheticKFold: y tells of anomalies; it folds normal pictures alone. Use "
                "OneClassKFold(...).split(X, y) and auroc_scorer, or leave the anomalies out."
            )
        n_samples = num_samples(X)
        if n_samples < 2 * self.n_splits:
            raise ValueError(
                f"SyntheticKFold: {n_samples} pictures are too few for n_splits={self.n_splits}; "
                "each test fold needs two, to make anomalies of."
            )
        order = self.random_state if self.shuffle else None
        folds = KFold(self.n_splits, shuffle=self.shuffle, random_state=order)
        yield from folds.split(np.zeros(n_samples))

    def get_n_splits(self, X: Images = None, y: Labels = None, groups: object = None) -> int:
        """Get the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored; present by scikit-learn's convention.

        Returns
        -------
        n_splits : int
            Number of folds.
        """
        return self.n_splits

    def __repr__(self):
        return f"SyntheticKFold({self.synthetic!r}, n_splits={self.n_splits})"


class SyntheticAUROC:
    r"""Scorer that needs no labels: how well a detector tells normal pictures from changed ones.

    .. math:: \sigma\left(\frac1K \sum_{k=1}^{K} \sigma^{-1}(A_k)\right), \qquad
        \sigma^{-1}(A) = \log \frac{A}{1 - A}

    over the K kinds of anomalies that are made of the given pictures, where :math:`A_k` is the
    AUROC of kind k, clipped to 0.005 and 0.995. It is a mean of log-odds because halving the number
    of wrongly ordered pairs is worth as much from 98 to 99 % as from 80 to 90 %.

    Parameters
    ----------
    synthetic : SyntheticAnomalies, optional
        Makes the anomalies; by default ``SyntheticAnomalies()``.
    pixels : bool, default=False
        Compare `score_maps` with the masks instead, by the pixel AUROC of each kind of defect.

    See Also
    --------
    skad.model_selection.SyntheticKFold : Folds to use it with.

    Notes
    -----
    A picture gives the same anomalies in every fold and for every candidate. With
    ``FeatureExtractor(memory=...)`` their features are therefore computed only once.
    """

    def __init__(
        self, synthetic: SyntheticAnomalies | None = None, *, pixels: bool = False
    ) -> None:
        self.synthetic = synthetic
        self.pixels = pixels

    def __call__(self, estimator: object, X: Images, y: Labels = None) -> float:
        """Compute the mean AUROC over kinds of anomalies.

        Parameters
        ----------
        estimator : estimator
            A fitted detector.
        X : images
            Normal pictures that it was not fitted on.
        y : object
            Ignored; present by scikit-learn's convention.

        Returns
        -------
        score : float
            In [0, 1], higher is better.
        """
        return mean_auroc(self.by_kind(estimator, X).values())

    def by_kind(self, estimator: object, X: Images) -> dict[str, float]:
        """Compute the AUROC of each kind of anomaly.

        Parameters
        ----------
        estimator : estimator
            A fitted detector.
        X : images
            Normal pictures that it was not fitted on.

        Returns
        -------
        auroc : dict of str to float
            Kinds and their AUROC.
        """
        made = (SyntheticAnomalies() if self.synthetic is None else self.synthetic).make(X)
        if self.pixels:
            return self._of_pixels(estimator, made)
        scores = estimator.decision_function(made.images)
        return auroc_by_kind(made.kinds, scores)

    def _of_pixels(self, estimator, made):
        maps = estimator.score_maps(made.images)
        found = {}
        for kind in (kind for kind in DEFECTS if kind in made.kinds):
            indices = np.flatnonzero((made.kinds == kind) | (made.kinds == "normal"))
            masks = [made.masks[i] for i in indices]
            found[kind] = pixel_auroc_score(masks, [maps[i] for i in indices])
        return found

    def __repr__(self):
        return f"SyntheticAUROC({self.synthetic!r}, pixels={self.pixels})"


def mean_auroc(areas):
    """One AUROC for several, their mean as log-odds.

    Parameters
    ----------
    areas : iterable of float
        In [0, 1].

    Returns
    -------
    auroc : float
    """
    return float(expit(np.mean(log_odds(areas))))


def log_odds(areas):
    """AUROCs as log-odds, ndarray of float; those near 0 and 1 rest on too few pairs to be told."""
    return logit(np.clip(np.array(list(areas)), _LEAST, 1 - _LEAST))


def auroc_by_kind(kinds, scores):
    """AUROC of the normal pictures against each kind of anomaly.

    Parameters
    ----------
    kinds : ndarray of str, shape (n_images,)
        "normal", or the kind of anomaly.
    scores : ndarray of shape (n_images,)
        High = normal.

    Returns
    -------
    auroc : dict of str to float
    """
    normal = scores[kinds == "normal"]
    found = {}
    for kind in dict.fromkeys(kinds[kinds != "normal"]):
        changed = scores[kinds == kind]
        y = np.repeat([1, -1], [len(normal), len(changed)])
        found[str(kind)] = auroc_score(y, np.concatenate([normal, changed]))
    return found


synthetic_auroc_scorer = SyntheticAUROC()
