"""Folds that train on normal samples only."""

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import StratifiedKFold

from .._compat import num_samples
from .._labels import outlier_mask
from .._types import Images, Labels, RandomState


class OneClassKFold:
    """K folds that train on normal samples only and test on normal samples and anomalies.

    Normal samples and anomalies are each divided evenly among the test folds. A training fold has
    all normal samples that are not in the test fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Divide the samples in random order instead of the given order.
    random_state : int, RandomState instance or None, default=None
        Seeds that order.
    outlier_label : object, optional
        The label of the anomalies, if labels are neither +1 and -1 nor booleans.

    See Also
    --------
    skad.auroc_scorer : The scorer that goes with it.

    Examples
    --------
    >>> import numpy as np
    >>> from skad import OneClassKFold
    >>> y = np.array([1, 1, 1, 1, -1, -1])
    >>> for train, test in OneClassKFold(n_splits=2).split(y, y):
    ...     print(train, test)
    [2 3] [0 1 4]
    [0 1] [2 3 5]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: RandomState = None,
        outlier_label: object = None,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.outlier_label = outlier_label

    def split(
        self, X: Images, y: Labels = None, groups: object = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield indices of training and test samples.

        Parameters
        ----------
        X : sequence of length n_samples
            The samples; only their number counts.
        y : array-like of shape (n_samples,)
            Labels: +1 and -1, booleans (True = anomaly), or any with `outlier_label`.
        groups : object
            Ignored; present by scikit-learn's convention.

        Yields
        ------
        train, test : ndarray of int
            Indices of normal samples, and of samples of both kinds.

        Raises
        ------
        ValueError
            If labels are missing, ambiguous, or fewer of a kind than folds.
        """
        if y is None:
            raise ValueError("OneClassKFold needs the labels y, to tell normal from anomaly.")
        outlier = outlier_mask(y, outlier_label=self.outlier_label, owner="OneClassKFold")
        if num_samples(X) != len(outlier):
            raise ValueError(
                f"OneClassKFold: X has {num_samples(X)} samples, but y has {len(outlier)} labels."
            )
        for kind, count in (("normal", (~outlier).sum()), ("anomalous", outlier.sum())):
            if count < self.n_splits:
                raise ValueError(
                    f"OneClassKFold: n_splits={self.n_splits}, but only {count} samples are {kind};"
                    " every test fold needs both kinds."
                )
        folds = StratifiedKFold(
            self.n_splits,
            shuffle=self.shuffle,
            random_state=self.random_state if self.shuffle else None,
        )
        for train, test in folds.split(np.zeros(len(outlier)), outlier):
            yield train[~outlier[train]], test

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
        return (
            f"OneClassKFold(n_splits={self.n_splits}, shuffle={self.shuffle}, "
            f"random_state={self.random_state})"
        )
