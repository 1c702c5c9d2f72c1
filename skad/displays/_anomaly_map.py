"""Where in the images the anomalies are."""

from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from .._types import ArrayLike, Axes, Images, MapsLike
from ..metrics._map_pairs import boolean_mask, finite_scores
from ._axes import ANOMALY, NEUTRAL, AxesMixin, require_matplotlib
from ._inputs import read_scores
from ._mosaic import displayable, draw_mosaic, image_source, mosaic_size, shrink, side_axes

# Colours of the heat, its opacity over the image, and the outline of true masks: blue, for those
# who can't tell red from green.
_HEAT, _OPACITY, _TRUTH = "inferno", 0.6, "deepskyblue"

# Shares of all pixels that lie beyond the dark and the bright end of the colours, and the number of
# evenly spaced values by which each image is heard, large or small.
_DARK, _BRIGHT, _VOICES = 0.01, 0.005, 2001

# Room for the colour bar and its width, in sides of an image; that side in inches.
_BAR_ROOM, _BAR, _INCHES = 0.75, 0.08, 1.5


class AnomalyMapDisplay(AxesMixin):
    """Plot of images next to their heat maps, predicted masks and true masks.

    Each image has a row: the image; its score map as a heat map on top of it, bright = anomalous;
    the outline of the pixels below the threshold, if there is one; the outline of the true mask, if
    there is one.
    Use `from_estimator` or `from_predictions` to create one.

    Parameters
    ----------
    images : list of ndarray of float32, shape (height, width) or (height, width, 3)
        The images, in [0, 1], reduced by averaging to at most 512 pixels.
    score_maps : list of ndarray of float64, shape (height, width)
        Scores of their pixels, high = normal; reduced as the images are.
    predicted_masks : list of ndarray of bool, shape (height, width), default=None
        True where a pixel, or any of the pixels averaged to it, is below the threshold; None
        without a threshold.
    masks : list of ndarray of bool, shape (height, width), default=None
        True where a pixel, or any of the pixels averaged to it, is a defect; None if unknown.
    threshold : float, default=None
        Scores of pixels below it mean a defect.
    scores : ndarray of float64, shape (n_images,), default=None
        Scores of the images, high = normal.

    Attributes
    ----------
    images_ : list of matplotlib AxesImage
        The images, row by row. Each is drawn once more under its heat map and its outlines.
    heats_ : list of matplotlib AxesImage
        The negative score maps, one in a row.
    outlines_, true_outlines_ : list of matplotlib PathPatch
        Outlines of the predicted and of the true masks, one in a row; empty without masks.
    frames_ : list of matplotlib Rectangle
    texts_ : list of matplotlib Text
    colorbar_ : matplotlib Colorbar
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skad.SPADE : A detector with score maps.
    skad.displays.ContactSheetDisplay : Images, sorted by score.

    Notes
    -----
    All rows share one range of colours, so they can be compared. It spans the score maps shown,
    with the same weight for each image. The 1 % most normal and 0.5 % most anomalous pixels are
    outside and take the colours of its ends. The range includes the threshold, which is a line on
    the colour bar. So normal images stay dark if there is a threshold, but not necessarily without.

    Outlines run along the edges of pixels, and enclose exactly the mask.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skad.displays import AnomalyMapDisplay
    >>> images = np.random.default_rng(0).random((2, 16, 16))
    >>> images[1, 4:8, 4:8] = 1
    >>> score_maps = -images
    >>> display = AnomalyMapDisplay.from_predictions(
    ...     images, score_maps, threshold=-0.999, scores=[0.3, -0.2], ax=Figure().subplots()
    ... )
    >>> [text.get_text() for text in display.texts_]
    ['image 0: +0.3', 'heat map', 'mask', 'image 1: -0.2', '', '']
    >>> int(display.predicted_masks[1].sum())
    16
    """

    def __init__(
        self,
        images: Images,
        score_maps: MapsLike,
        *,
        predicted_masks: MapsLike | None = None,
        masks: MapsLike | None = None,
        threshold: float | None = None,
        scores: "ArrayLike | None" = None,
    ) -> None:
        self.images = images
        self.score_maps = score_maps
        self.predicted_masks = predicted_masks
        self.masks = masks
        self.threshold = threshold
        self.scores = scores

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        X: Images,
        *,
        masks: MapsLike | None = None,
        n_images: int = 5,
        ax: "Axes | None" = None,
    ) -> Self:
        """Score the pixels of images, and draw them.

        Parameters
        ----------
        estimator : estimator
            A fitted detector with `score_maps` and `pixel_offset_`, the threshold, such as SPADE.
            If it has `decision_function`, this gives the scores of the images.
        X : images
            In any container that `estimator` takes, see :ref:`containers`.
        masks : sequence of array-like of shape (height, width), default=None
            True (or 1, or 255) where there is a defect: one for each image of `X`, of the same
            size.
        n_images : int, default=5
            Largest number of images to show. The first ones are shown, and maps are computed only
            for them.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : AnomalyMapDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            If `estimator` was not fitted.
        TypeError, ValueError, OSError
            If `estimator` has no score maps; if images are missing or broken; if masks are not as
            many as images, of their sizes, and boolean.

        See Also
        --------
        from_predictions : The same from images and score maps.
        """
        owner = cls.__name__
        require_matplotlib(f"{owner}.from_estimator")
        check_scalar(n_images, f"{owner}: n_images", Integral, min_val=1)
        _check_scores_pixels(estimator, owner)
        source, _ = image_source(X, estimator=estimator)
        masks = _one_each(masks, "masks", len(source), owner)
        shown = source.take(np.arange(min(n_images, len(source))))
        # Our own detectors take the few images that are shown; those of others what they know.
        known = shown if hasattr(estimator, "pixel_range_") else X
        scores = None
        if hasattr(estimator, "decision_function"):
            scores = estimator.decision_function(known)[: len(shown)]
        return cls.from_predictions(
            shown,
            estimator.score_maps(known)[: len(shown)],
            masks=None if masks is None else masks[: len(shown)],
            threshold=estimator.pixel_offset_,
            scores=scores,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        images: Images,
        score_maps: MapsLike,
        *,
        masks: MapsLike | None = None,
        threshold: float | None = None,
        scores: "ArrayLike | None" = None,
        image_shape: tuple | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw images and score maps.

        Parameters
        ----------
        images : images
            In any container, see :ref:`containers`.
        score_maps : sequence of array-like of shape (height, width)
            One for each image, of the same size; high = normal.
        masks : sequence of array-like of shape (height, width), default=None
            True (or 1, or 255) where there is a defect: one for each image, of the same size.
        threshold : float, default=None
            Scores of pixels below it mean a defect. Without it no mask is predicted.
        scores : array-like of shape (n_images,), default=None
            Scores of the images, to write above them.
        image_shape : tuple of int, default=None
            Shape of each image, if `images` has flat rows. By default rows are square images, or
            strips one pixel high.
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : AnomalyMapDisplay
            The display, already drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError, OSError
            If images are missing or broken; if maps, masks or scores are not as many as images, or
            not of their sizes; if maps are not finite numbers, or masks not boolean.

        See Also
        --------
        from_estimator : The same from a fitted estimator.
        """
        owner = cls.__name__
        source, _ = image_source(images, owner=owner, image_shape=image_shape)
        score_maps = _one_each(score_maps, "score maps", len(source), owner)
        masks = _one_each(masks, "masks", len(source), owner)
        if scores is not None:
            scores = _one_each(read_scores(scores, owner), "scores", len(source), owner)
        if threshold is not None and not (isinstance(threshold, Real) and np.isfinite(threshold)):
            raise ValueError(f"{owner}: threshold must be a finite number; got {threshold!r}.")
        columns = {"images": [], "score_maps": [], "predicted_masks": [], "masks": []}
        for i, score_map in enumerate(score_maps):  # one image in memory at full size
            pixels = source.read(i, i + 1).pixels[0]
            score_map = _plane(score_map, "score map", i, pixels.shape[1:], owner)
            score_map = finite_scores(score_map, i, owner)
            columns["images"].append(displayable(pixels))
            columns["score_maps"].append(_shrunk(score_map))
            if threshold is not None:
                columns["predicted_masks"].append(_shrunk(score_map < threshold))
            if masks is not None:
                mask = _plane(masks[i], "mask", i, pixels.shape[1:], owner)
                columns["masks"].append(_shrunk(boolean_mask(mask, i, owner)))
        columns = {name: found or None for name, found in columns.items()}
        return cls(**columns, threshold=threshold, scores=scores).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw again.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        self : AnomalyMapDisplay
            The display itself.
        """
        columns = {"heat map": self.score_maps, "mask": self.predicted_masks, "truth": self.masks}
        names = [name for name, found in columns.items() if found is not None]
        grid = (1 + len(names) + _BAR_ROOM, len(self.images))
        self._set_axes(ax, size=np.multiply(_INCHES, mosaic_size(*grid)))
        cells = []
        for row, image in enumerate(self.images):
            score = "" if self.scores is None else f": {self.scores[row]:+.3g}"
            cells.append((0, row, image, f"image {row}{score}", NEUTRAL))
            for j, name in enumerate(names):
                cells.append((1 + j, row, image, "" if row else name, NEUTRAL))
        self.images_, self.frames_, self.texts_ = draw_mosaic(self.ax_, cells, *grid)
        for frame in self.frames_:
            frame.set_linewidth(0.5)  # more would hide what is found at the border
        below = {name: self.images_[1 + j :: 1 + len(names)] for j, name in enumerate(names)}
        self._draw_heat(below["heat map"])
        self._draw_bar(side_axes(self.ax_, 1 + len(names), _BAR, *grid))
        self.outlines_ = self._outline(self.predicted_masks, below.get("mask"), ANOMALY)
        self.true_outlines_ = self._outline(self.masks, below.get("truth"), _TRUTH)
        return self

    def _draw_heat(self, images):
        """Negative score maps over images, all in one range of colours."""
        low, high = color_range(self.score_maps, self.threshold)
        style = {"cmap": _HEAT, "vmin": low, "vmax": high, "alpha": _OPACITY}
        self.heats_ = [
            self.ax_.imshow(-score_map, extent=image.get_extent(), **style)
            for score_map, image in zip(self.score_maps, images)
        ]

    def _draw_bar(self, ax):
        """What the colours of the heat mean."""
        from matplotlib.cm import ScalarMappable

        # Not the heat itself, whose opacity would let the white of the page through.
        colors = ScalarMappable(norm=self.heats_[0].norm, cmap=_HEAT)
        self.colorbar_ = self.figure_.colorbar(colors, cax=ax)
        size = self.texts_[0].get_fontsize()
        ax.tick_params(labelsize=0.8 * size, length=0.2 * size, pad=0.2 * size)
        label, share = "negative score, bright = anomalous", 0.8
        if len(self.images) == 1:  # a longer one than its bar would push the images together
            label, share = label.replace(", ", ",\n"), 0.7
        ax.set_ylabel(label, fontsize=share * size, labelpad=2)
        if self.threshold is not None:
            ax.axhline(-self.threshold, color=ANOMALY, **self._line())

    def _outline(self, masks, images, color):
        """The edges of masks over images."""
        from matplotlib.patches import PathPatch

        line = {"fill": False, "edgecolor": color, "capstyle": "round", **self._line()}
        return [
            self.ax_.add_patch(PathPatch(_edges(mask, image.get_extent()), **line))
            for mask, image in zip(masks or [], images or [])
        ]

    def _line(self):
        """Width of lines to the measure of the text, and white about them: seen on any colour."""
        from matplotlib.patheffects import withStroke

        width = 0.1 * self.texts_[0].get_fontsize()
        halo = withStroke(linewidth=2 * width, foreground="white")
        return {"linewidth": width, "path_effects": [halo]}


def _check_scores_pixels(estimator, owner):
    """Refuse what has no score maps, or no threshold on them."""
    lacks = None if hasattr(estimator, "score_maps") else "score_maps"
    if lacks is None:
        if hasattr(estimator, "fit"):
            check_is_fitted(estimator)
        lacks = None if hasattr(estimator, "pixel_offset_") else "pixel_offset_"
    if lacks is not None:
        raise TypeError(
            f"{owner}: {type(estimator).__name__} has no {lacks}; give a fitted detector that "
            "scores pixels, as SPADE, or its score maps to from_predictions."
        )


def _one_each(found, name, n_images, owner):
    """A sequence, if it has one item for each image; None stays None."""
    if found is None:
        return None
    if not hasattr(found, "__len__"):
        raise TypeError(
            f"{owner}: {name} must be a sequence of arrays, one for each image; got "
            f"{type(found).__name__}. A generator becomes one by list()."
        )
    if len(found) != n_images:
        raise ValueError(
            f"{owner}: there are {n_images} images, but {len(found)} {name}; give one for each "
            "image, in the same order."
        )
    return found


def _plane(values, name, i, shape, owner):
    """An array of the size of its image."""
    values = np.asarray(values)
    if values.shape != tuple(shape):
        raise ValueError(
            f"{owner}: {name} {i} has shape {values.shape}, but image {i} is of height and width "
            f"{tuple(shape)}; give one value for each pixel."
        )
    return values


def _shrunk(plane):
    """A score map or a mask, made as small as its image is shown."""
    import torch

    means = shrink(torch.from_numpy(plane.astype(np.float64))[None])[0].numpy()
    return means > 0 if plane.dtype == bool else means  # of a mask: True where any pixel is


def color_range(score_maps, threshold):
    """Ends of the range of the negative score maps that all images are drawn in."""
    ranks = np.linspace(0, 1, _VOICES)
    values = [np.quantile(-score_map, ranks) for score_map in score_maps]
    low, high = np.quantile(values, (_DARK, 1 - _BRIGHT))
    if threshold is not None:
        low, high = min(low, -threshold), max(high, -threshold)
    return low, (high if high > low else low + 1)


def _edges(mask, extent):
    """The lines between the pixels inside and outside of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
    extent : tuple of float
        Left, right, bottom and top of the image.

    Returns
    -------
    lines : matplotlib Path
        Of pairs of ends. One path, since the white about a line must not cover others.
    """
    from matplotlib.path import Path

    padded = np.pad(mask, 1)
    # A line at the left of, or above, each pixel that is unlike the one before.
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([columns, rows, columns, rows + 1], axis=1)
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    level = np.stack([columns, rows, columns + 1, rows], axis=1)
    ends = np.concatenate([upright, level]).reshape(-1, 2)
    left, right, bottom, top = extent
    pixel = np.array([right - left, bottom - top]) / mask.shape[::-1]
    return Path((left, top) + ends * pixel, np.tile([Path.MOVETO, Path.LINETO], len(ends) // 2))
