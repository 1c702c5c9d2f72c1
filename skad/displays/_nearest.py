"""Images beside the training images that are nearest to them."""

from numbers import Integral
from typing import Self

import numpy as np
from sklearn.utils import check_array, check_scalar

from .._types import ArrayLike, Axes, Images
from ._axes import NEUTRAL, AxesMixin, require_matplotlib
from ._inputs import features_of, split_steps
from ._mosaic import draw_mosaic, image_source, mosaic_size, read_images

# Between a test image and its neighbours, in sides of an image.
_GUTTER = 0.25


class NearestImagesDisplay(AxesMixin):
    """Plot of test images next to their nearest training images, with distances.

    It shows what the score of a neighbour method is based on. Made by `from_estimator` or
    `from_predictions`.

    Parameters
    ----------
    images : list of ndarray of float32, shape (height, width) or (height, width, 3)
        The test images shown, in [0, 1], reduced by averaging to at most 512 pixels.
    neighbor_images : list of list of ndarray
        For each test image, its neighbours in the same form, the nearest first.
    distances : ndarray of shape (n_images, n_neighbors)
        Distances of the neighbours.
    neighbor_indices : ndarray of int, shape (n_images, n_neighbors), default=None
        Indices of the neighbours among the training images, if known.

    Attributes
    ----------
    images_ : list of matplotlib AxesImage
        Row by row: a test image, then its neighbours.
    frames_ : list of matplotlib Rectangle
    texts_ : list of matplotlib Text
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skad.KNNScorer : Finds the neighbours, by `kneighbors`.
    skad.displays.ContactSheetDisplay : Images, sorted by score.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import NearestImagesDisplay
    >>> images = np.random.default_rng(0).random((2, 16, 16, 3))
    >>> neighbor_images = np.random.default_rng(1).random((2, 3, 16, 16, 3))
    >>> display = NearestImagesDisplay.from_predictions(
    ...     images, neighbor_images, [[0.1, 0.2, 0.4], [0.5, 0.6, 0.6]], ax=Figure().subplots()
    ... )
    >>> [text.get_text() for text in display.texts_]
    ['test 0', '0.1', '0.2', '0.4', 'test 1', '0.5', '0.6', '0.6']
    """

    def __init__(
        self,
        images: Images,
        neighbor_images: Images,
        distances: np.ndarray,
        *,
        neighbor_indices: np.ndarray | None = None,
    ) -> None:
        self.images = images
        self.neighbor_images = neighbor_images
        self.distances = distances
        self.neighbor_indices = neighbor_indices

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X_test: Images,
        X_train: Images,
        *,
        n_images: int = 5,
        n_neighbors: int = 5,
        ax: "Axes | None" = None,
    ) -> Self:
        """Find and draw the nearest training images.

        Parameters
        ----------
        estimator : estimator
            A fitted detector of skad, or a Pipeline, whose last step has `kneighbors`.
        X_test : images
            In any container that `estimator` takes, see :ref:`containers`.
        X_train : images
            The images that `estimator` was fitted on, in the same order, without the labelled
            anomalies that `fit` left out.
        n_images : int, default=5
            Largest number of test images to show; the first ones are shown.
        n_neighbors : int, default=5
            Number of neighbours of each.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : NearestImagesDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If `estimator` was not fitted.
        TypeError
            If its last step has no `kneighbors`.
        ValueError
            If `X_train` has more or fewer images than the last step was fitted on.

        See Also
        --------
        from_predictions : The same from images and distances.
        """
        owner = cls.__name__
        require_matplotlib(f"{owner}.from_estimator")
        check_scalar(n_images, f"{owner}: n_images", Integral, min_val=1)
        _, scorer = split_steps(estimator)
        if not hasattr(scorer, "kneighbors"):
            raise TypeError(
                f"{owner}: {type(scorer).__name__}, which scores, has no kneighbors; give a fitted "
                "detector or Pipeline whose last step has it, as KNNScorer."
            )
        train, door = image_source(X_train, estimator=estimator)
        test, _ = image_source(X_test, estimator=door)
        shown = np.arange(min(n_images, len(test)))
        # Our own steps take the few images that are shown; those of others take what they know.
        ours = hasattr(door, "network_") or hasattr(estimator, "pipeline_")
        features = features_of(estimator, test.take(shown) if ours else X_test)[: len(shown)]
        distances, indices = scorer.kneighbors(features, n_neighbors)
        _check_gallery(scorer, len(train), owner)
        neighbor_images = [read_images(train, row) for row in indices]
        images = read_images(test, shown)
        return cls(images, neighbor_images, distances, neighbor_indices=indices).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        images: Images,
        neighbor_images: Images,
        distances: ArrayLike,
        *,
        image_shape: tuple | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw images next to their neighbours.

        Parameters
        ----------
        images : images
            In any container, see :ref:`containers`.
        neighbor_images : sequence of images
            For each image, a container of its neighbours, the nearest first.
        distances : array-like of shape (n_images, n_neighbors)
            Distances of the neighbours.
        image_shape : tuple of int, default=None
            Shape of each image, if `images` has flat rows. By default rows are square images, or
            strips one pixel high.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : NearestImagesDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError, OSError
            If images are missing or broken; if images, neighbours and distances are not equally
            many.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        owner = cls.__name__
        distances = check_array(distances, dtype=np.float64, input_name=f"{owner}: distances")
        source, door = image_source(images, owner=owner, image_shape=image_shape)
        neighbors = [image_source(found, estimator=door)[0] for found in neighbor_images]
        numbers = [len(found) for found in neighbors]
        if distances.shape[0] != len(source) or numbers != [distances.shape[1]] * len(source):
            raise ValueError(
                f"{owner}: distances of shape {distances.shape} ask for {distances.shape[0]} images"
                f" with {distances.shape[1]} neighbours each; got {len(source)} images, and "
                f"neighbours numbering {numbers}."
            )
        return cls(
            read_images(source, np.arange(len(source))),
            [read_images(found, np.arange(len(found))) for found in neighbors],
            distances,
        ).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw again.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        self : NearestImagesDisplay
            The display itself.
        """
        n_rows, n_neighbors = self.distances.shape
        n_columns = 1 + _GUTTER + n_neighbors
        width, height = mosaic_size(n_columns, n_rows)
        self._set_axes(ax, size=(max(width, 4), height + 0.4))  # room for the title
        cells = []
        for row, image in enumerate(self.images):
            cells.append((0, row, image, f"test {row}", "black"))
            for j, (neighbor, distance) in enumerate(
                zip(self.neighbor_images[row], self.distances[row])
            ):
                cells.append((1 + _GUTTER + j, row, neighbor, f"{distance:.3g}", NEUTRAL))
        self.images_, self.frames_, self.texts_ = draw_mosaic(self.ax_, cells, n_columns, n_rows)
        self.ax_.set_title("nearest training images, with distances")
        return self


def _check_gallery(scorer, n_images, owner):
    """Places of neighbours mean something only among the images that were fitted."""
    if hasattr(scorer, "gallery_"):
        n_fitted = len(scorer.gallery_)
    else:
        n_fitted = getattr(scorer, "n_samples_fit_", n_images)
    if n_fitted != n_images:
        raise ValueError(
            f"{owner}: X_train has {n_images} images, but {type(scorer).__name__} was fitted to "
            f"{n_fitted}; give the images of the fit in the same order, without those labelled "
            "anomalies, which fit left out: X_train[y_train == 1]."
        )
