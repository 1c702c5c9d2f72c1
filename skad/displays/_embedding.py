"""Features of training and test images in the plane that shows most of the training features."""

from typing import Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_array

from .._types import ArrayLike, Axes, Images, Labels
from ._axes import NEUTRAL, AxesMixin, require_matplotlib, two_kinds
from ._inputs import features_of, read_labels


class EmbeddingDisplay(AxesMixin):
    """Plot of training and test features in the plane of two principal components.

    These are the first two components of the training features; test features are projected onto
    them. Use `from_estimator` or `from_features` to create one.

    Parameters
    ----------
    train_points : ndarray of shape (n_train, 2)
        Training features in the plane.
    test_points : ndarray of shape (n_test, 2)
        Test features in the plane.
    explained_variance_ratio : ndarray of shape (2,)
        Share of the variance of the training features along each axis.
    outlier : ndarray of bool, shape (n_test,), default=None
        True for anomalies among the test features; None without labels.

    Attributes
    ----------
    train_scatter_ : matplotlib PathCollection
    test_scatters_ : list of matplotlib PathCollection
        Normal points and anomalies, or one of all without labels.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    sklearn.decomposition.PCA : Computes the plane.
    skad.displays.NearestImagesDisplay : Neighbours in the whole space.

    Notes
    -----
    Points that are far apart in the plane are far apart in the whole space. Points that are close
    together need not be close in the whole space, above all if the shares on the axes are small.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import EmbeddingDisplay
    >>> train = np.array([[3, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0]])
    >>> display = EmbeddingDisplay.from_features(
    ...     train, np.eye(3), y_test=[1, 1, -1], ax=Figure().subplots()
    ... )
    >>> display.explained_variance_ratio.round(2)
    array([0.69, 0.31])
    """

    def __init__(
        self,
        train_points: np.ndarray,
        test_points: np.ndarray,
        *,
        explained_variance_ratio: np.ndarray,
        outlier: np.ndarray | None = None,
    ) -> None:
        self.train_points = train_points
        self.test_points = test_points
        self.explained_variance_ratio = explained_variance_ratio
        self.outlier = outlier

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X_train: Images,
        X_test: Images,
        y_test: Labels = None,
        *,
        ax: "Axes | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw the features that the last step of an estimator sees.

        Parameters
        ----------
        estimator : estimator
            A fitted detector of skad, or a Pipeline: the steps before the last compute the
            features. For any other estimator, `X_train` and `X_test` are the features.
        X_train, X_test : array-like or images
            Training and test samples, as `estimator` takes them.
        y_test : array-like of shape (n_test,), default=None
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : EmbeddingDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If `estimator` was not fitted.
        ValueError
            If labels are ambiguous or not as many as test samples; if features do not span a plane.

        See Also
        --------
        from_features : The same from features.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        outlier = read_labels(y_test, cls.__name__)
        train, test = (features_of(estimator, X) for X in (X_train, X_test))
        return cls.from_features(train, test, outlier, ax=ax, **kwargs)

    @classmethod
    def from_features(
        cls,
        train_features: ArrayLike,
        test_features: ArrayLike,
        y_test: Labels = None,
        *,
        ax: "Axes | None" = None,
        **kwargs: object,
    ) -> Self:
        """Draw features.

        Parameters
        ----------
        train_features : array-like of shape (n_train, n_features)
            Training features: at least two rows and two columns.
        test_features : array-like of shape (n_test, n_features)
            Test features.
        y_test : array-like of shape (n_test,), default=None
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : EmbeddingDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If labels are ambiguous or not as many as test rows; if features do not span a plane.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        owner = cls.__name__
        train = _check_features(train_features, owner, "training features", least=2)
        test = _check_features(test_features, owner, "test features", least=1)
        if train.shape[1] != test.shape[1]:
            raise ValueError(
                f"{owner}: training rows have {train.shape[1]} features, but test rows "
                f"{test.shape[1]}; make both by the same steps."
            )
        if not np.ptp(train, axis=0).any():
            raise ValueError(f"{owner}: all {len(train)} training rows are the same: no plane.")
        outlier = read_labels(y_test, owner, n_samples=len(test))
        # The seed is for the solver that large arrays get.
        pca = PCA(2, random_state=0).fit(train)
        return cls(
            pca.transform(train),
            pca.transform(test),
            explained_variance_ratio=pca.explained_variance_ratio_,
            outlier=outlier,
        ).plot(ax, **kwargs)

    def plot(self, ax: "Axes | None" = None, **kwargs: object) -> Self:
        """Draw again.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        **kwargs : dict
            Passed on to :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        self : EmbeddingDisplay
            The display itself.
        """
        self._set_axes(ax)
        self.train_scatter_ = self._scatter(self.train_points, "training", NEUTRAL, kwargs)
        self.test_scatters_ = [
            self._scatter(self.test_points[rows], name, color, kwargs)
            for name, color, rows in two_kinds(self.outlier, "test")
        ]
        shares = [f"{share:.1%} of variance" for share in self.explained_variance_ratio]
        self.ax_.set(
            xlabel=f"first component ({shares[0]})", ylabel=f"second component ({shares[1]})"
        )
        self.ax_.legend()
        return self

    def _scatter(self, points, name, color, style):
        style = {"color": color, "s": 14, "alpha": 0.7, "linewidths": 0, **style}
        return self.ax_.scatter(*points.T, label=f"{name} ({len(points)})", **style)


def _check_features(features, owner, name, least):
    """Rows of finite numbers, at least two in a row."""
    try:
        features = check_array(features, dtype=("float64", "float32"), ensure_min_features=2)
    except ValueError as error:
        raise ValueError(f"{owner}: the {name} are no table of numbers: {error}") from error
    if len(features) < least:
        raise ValueError(f"{owner}: {name} need {least} rows at least; got {len(features)}.")
    return features
