"""Images as arrays that can be shown, and many of them in one axes."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from ..images._door import check_images
from ..images._reading import Reading

# Images in a mosaic are an inch or two wide: larger ones are averaged down when they are read, so
# that a sheet of photographs does not fill the memory.
_LARGEST_SIDE = 512

# In sides of a cell, which holds an image and a line of text above it.
_GAP, _TEXT = 0.1, 0.25


def image_source(X, *, estimator=None, owner="", image_shape=None):
    """Find the images of `X` as `estimator` sees them, or as they are.

    Parameters
    ----------
    X : images
        In any container.
    estimator : estimator, optional
        Fitted; tells the shape and the range of flat rows.
    owner : str
        Named in errors where no estimator is.
    image_shape : tuple of int, optional
        Shape of the image in flat rows.

    Returns
    -------
    source : ImageSource
        Images, already validated.
    door : estimator
        What the images of another container must be read by to be alike.
    """
    door = estimator[0] if isinstance(estimator, Pipeline) else estimator
    if hasattr(door, "pixel_range_"):
        return check_images(door, X), door
    # A stand-in that has the caller's name, and learns the range of flat rows from these.
    name = owner if door is None else type(door).__name__
    told = {"image_shape": image_shape} if door is None else vars(Reading.of(door))
    door = type(name, (BaseEstimator,), told)()
    return check_images(door, X, reset=True), door


def read_images(source, indices):
    """Open the images at these indices, and no others.

    Parameters
    ----------
    source : ImageSource
        Images, already validated.
    indices : ndarray of int, shape (n_images,)

    Returns
    -------
    images : list of ndarray of float32, shape (height, width) or (height, width, 3)
        In [0, 1].
    """
    source = source.take(np.asarray(indices))
    return [displayable(source.read(i, i + 1).pixels[0]) for i in range(len(source))]


def displayable(image):
    """A tensor (channels, height, width) as an array for imshow, not larger than need be."""
    pixels = image.float() if image.is_floating_point() else image.float() / 255
    pixels = shrink(pixels).clamp(0, 1).numpy()
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def shrink(planes):
    """Floats (channels, height, width), averaged to be not larger than need be."""
    import torch.nn.functional as F

    height, width = planes.shape[1:]
    step = -(-max(height, width) // _LARGEST_SIDE)
    if step == 1:
        return planes
    return F.avg_pool2d(planes, (min(step, height), min(step, width)), ceil_mode=True)


def mosaic_size(n_columns, n_rows):
    """Width and height, in sides of a cell: inches where the figure is ours."""
    return n_columns * (1 + _GAP) + _GAP, n_rows * (1 + _TEXT) + _GAP


def draw_mosaic(ax, cells, n_columns, n_rows):
    """Draw images into one axes.

    Parameters
    ----------
    ax : matplotlib Axes
    cells : list of (column, row, image, text, colour)
        `text` is written above an image, `colour` is that of its frame.
    n_columns, n_rows : float
        Extent of the grid.

    Returns
    -------
    images, frames, texts : lists of matplotlib artists
    """
    from matplotlib.patches import Rectangle

    width, height = mosaic_size(n_columns, n_rows)
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi * min(box.width / width, box.height / height)
    images, frames, texts = [], [], []
    for column, row, image, text, color in cells:
        left, top = _GAP + column * (1 + _GAP), _TEXT + row * (1 + _TEXT)
        w, h = np.array(image.shape[1::-1]) / max(image.shape[:2])
        x, y = left + (1 - w) / 2, top + (1 - h) / 2
        extent = (x, x + w, y + h, y)
        images.append(ax.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=1))
        line = {"edgecolor": color, "linewidth": max(1.0, 0.04 * points)}
        frames.append(ax.add_patch(Rectangle((x, y), w, h, fill=False, **line)))
        style = {"ha": "center", "va": "bottom", "fontsize": 0.13 * points}
        texts.append(ax.text(left + 0.5, y - 0.03, text, **style))
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.set_axis_off()
    return images, frames, texts


def side_axes(ax, column, side, n_columns, n_rows):
    """Narrow axes beside the images of a mosaic, as high as all of them: for a colour bar.

    Parameters
    ----------
    ax : matplotlib Axes
        Which the mosaic was drawn into.
    column : float
        Where it stands in the grid.
    side : float
        Its width, in sides of a cell.
    n_columns, n_rows : float
        Extent of the grid.

    Returns
    -------
    side : matplotlib Axes
    """
    width, height = mosaic_size(n_columns, n_rows)
    left = _GAP + column * (1 + _GAP)
    extent = (left / width, _GAP / height, side / width, 1 - (_GAP + _TEXT) / height)
    return ax.inset_axes(extent)
