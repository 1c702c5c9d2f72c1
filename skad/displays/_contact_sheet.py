"""Images in the order of their scores."""

from numbers import Integral
from typing import Self

import numpy as np
from sklearn.utils import check_scalar

from .._types import ArrayLike, Axes, Images, Labels
from ._axes import ANOMALY, NORMAL, AxesMixin, require_matplotlib
from ._inputs import read_labels, read_scores, scores_of
from ._mosaic import draw_mosaic, image_source, mosaic_size, read_images


class ContactSheetDisplay(AxesMixin):
    """Plot of images as a grid, the most anomalous first, each with its score.

    The colour of a frame shows the label of the image, or, without labels, its prediction by the
    threshold. Only the images shown are read. Use `from_estimator` or `from_predictions` to create
    one.

    Parameters
    ----------
    images : list of ndarray of float32, shape (height, width) or (height, width, 3)
        The images shown, in [0, 1], reduced by averaging to at most 512 pixels.
    scores : ndarray of float64, shape (n_shown,)
        Scores of these images, ascending; high = normal.
    indices : ndarray of int, shape (n_shown,)
        Indices of these images among all.
    outlier : ndarray of bool, shape (n_shown,), default=None
        True for anomalies; None without labels.
    threshold : float, default=0.0
        Scores below it mean an anomaly.

    Attributes
    ----------
    images_ : list of matplotlib AxesImage
    frames_ : list of matplotlib Rectangle
    texts_ : list of matplotlib Text
        The scores.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skad.displays.NearestImagesDisplay : The images that an image was compared with.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import ContactSheetDisplay
    >>> images = np.random.default_rng(0).random((5, 16, 16, 3))
    >>> display = ContactSheetDisplay.from_predictions(
    ...     images, [0.3, -0.2, 0.1, -0.7, 0.5], n_images=3, ax=Figure().subplots()
    ... )
    >>> display.indices
    array([3, 1, 2])
    >>> display.scores
    array([-0.7, -0.2,  0.1])
    """

    def __init__(
        self,
        images: Images,
        scores: np.ndarray,
        *,
        indices: np.ndarray,
        outlier: np.ndarray | None = None,
        threshold: float = 0.0,
    ) -> None:
        self.images = images
        self.scores = scores
        self.indices = indices
        self.outlier = outlier
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X: Images,
        y: Labels = None,
        *,
        n_images: int = 32,
        n_columns: int = 8,
        threshold: float = 0.0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Score images, and draw the most anomalous.

        Parameters
        ----------
        estimator : estimator
            A fitted outlier detector with `decision_function`.
        X : images
            In any container that `estimator` takes, see :ref:`containers`.
        y : array-like of shape (n_samples,), default=None
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        n_images : int, default=32
            Largest number of images to show.
        n_columns : int, default=8
            Number of images in a row.
        threshold : float, default=0.0
            Scores below it mean an anomaly; 0 for `decision_function`.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : ContactSheetDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError, OSError
            If `estimator` has no `decision_function`; if images are missing or broken; if labels
            are ambiguous or not as many as images.

        See Also
        --------
        from_predictions : The same from images and scores.
        """
        owner = cls.__name__
        require_matplotlib(f"{owner}.from_estimator")
        outlier = read_labels(y, owner)
        scores = scores_of(estimator, X, owner)
        source, _ = image_source(X, estimator=estimator)
        layout = {"n_images": n_images, "n_columns": n_columns}
        return cls.from_predictions(source, scores, outlier, threshold=threshold, ax=ax, **layout)

    @classmethod
    def from_predictions(
        cls,
        images: Images,
        scores: ArrayLike,
        y: Labels = None,
        *,
        n_images: int = 32,
        n_columns: int = 8,
        threshold: float = 0.0,
        image_shape: tuple | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the images of the lowest scores.

        Parameters
        ----------
        images : images
            In any container, see :ref:`containers`.
        scores : array-like of shape (n_samples,)
            High = normal, as `decision_function` and `score_samples` give them.
        y : array-like of shape (n_samples,), default=None
            +1 (normal) and -1 (anomaly), or booleans (True = anomaly).
        n_images : int, default=32
            Largest number of images to show.
        n_columns : int, default=8
            Number of images in a row.
        threshold : float, default=0.0
            Scores below it mean an anomaly: 0 for `decision_function`, `offset_` for
            `score_samples`.
        image_shape : tuple of int, default=None
            Shape of each image, if `images` has flat rows. By default rows are square images, or
            strips one pixel high.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : ContactSheetDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError, OSError
            If images are missing or broken; if labels are ambiguous; if images, scores and labels
            are not equally many.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        owner = cls.__name__
        check_scalar(n_images, f"{owner}: n_images", Integral, min_val=1)
        source, _ = image_source(images, owner=owner, image_shape=image_shape)
        scores = read_scores(scores, owner)
        if len(source) != len(scores):
            raise ValueError(
                f"{owner}: there are {len(source)} images, but {len(scores)} scores; give one "
                "score for each image, in the same order."
            )
        outlier = read_labels(y, owner, n_samples=len(scores))
        indices = np.argsort(scores, kind="stable")[:n_images]
        return cls(
            read_images(source, indices),
            scores[indices],
            indices=indices,
            outlier=None if outlier is None else outlier[indices],
            threshold=threshold,
        ).plot(ax, n_columns=n_columns)

    def plot(self, ax: "Axes | None" = None, *, n_columns: int = 8) -> Self:
        """Draw again.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.
        n_columns : int, default=8
            Number of images in a row.

        Returns
        -------
        self : ContactSheetDisplay
            The display itself.
        """
        check_scalar(n_columns, f"{type(self).__name__}: n_columns", Integral, min_val=1)
        n_columns = min(n_columns, len(self.images))
        n_rows = -(-len(self.images) // n_columns)
        width, height = mosaic_size(n_columns, n_rows)
        self._set_axes(ax, size=(max(width, 5), height + 0.8))  # room for title and legend
        said = "predicted" if self.outlier is None else "labelled"
        outlier = self.scores < self.threshold if self.outlier is None else self.outlier
        cells = [
            (i % n_columns, i // n_columns, image, f"{score:+.3g}", ANOMALY if odd else NORMAL)
            for i, (image, score, odd) in enumerate(zip(self.images, self.scores, outlier))
        ]
        self.images_, self.frames_, self.texts_ = draw_mosaic(self.ax_, cells, n_columns, n_rows)
        self.ax_.set_title("most anomalous first")
        kinds = {f"{said} normal": ~outlier, f"{said} anomaly": outlier}
        shown = {name: self.frames_[mask.argmax()] for name, mask in kinds.items() if mask.any()}
        style = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "frameon": False}
        self.ax_.legend(shown.values(), shown.keys(), ncols=2, **style)
        return self
