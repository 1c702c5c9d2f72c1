"""Score maps as heat over a picture, and the border of a mask."""

import numpy as np

# Colours from normal to anomalous, evenly spaced: ever lighter, so that grey prints tell the same.
COLORS = ("#000004", "#57106e", "#bc3754", "#f98e09", "#fcffa4")

# Of the border: light, and blue, which those see who can't tell red from green.
LINE = (0, 229, 255)

# Share of the heat in what is shown, as in AnomalyMapDisplay.
_OPACITY = 0.6


def color_table():
    """Colours of 256 values, ndarray of uint8, shape (256, 3)."""
    points = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS])
    places = np.linspace(0, len(points) - 1, 256)
    channels = [np.interp(places, np.arange(len(points)), channel) for channel in points.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def heat_over(pixels, score_map, mask, ends):
    """A picture under the heat of its map, with the border of its mask.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width) or (height, width, 3)
    score_map : ndarray of float32, shape (height, width)
        High = normal.
    mask : ndarray of bool, shape (height, width)
    ends : tuple of float
        Values of the negative map that have the first and the last colour.

    Returns
    -------
    heat : ndarray of uint8, shape (height, width, 3)
        The border in light blue within the mask, which heat never has, and black beside it.
    """
    low, high = ends
    places = (np.clip((-score_map - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
    colors = color_table()[places].astype(np.float32)
    below = pixels if pixels.ndim == 3 else pixels[..., None]
    heat = ((1 - _OPACITY) * below + _OPACITY * colors).round().astype(np.uint8)
    heat[border(~mask)] = 0
    heat[border(mask)] = LINE
    return heat


def border(mask):
    """Pixels of a mask with one beside, above or below them that is not of it.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)

    Returns
    -------
    border : ndarray of bool, shape (height, width)
        What lies beyond the picture counts as the pixel at its edge.
    """
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
