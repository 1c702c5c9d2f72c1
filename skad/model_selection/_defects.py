"""Local changes of a normal picture: defects, with a mask of where they are.

Each takes a picture and another of the same shape, float32 (height, width, channels) in [0, 1], a
strength in [0, 1] and a ``numpy.random.Generator``, and gives the changed picture and a weight of
the change for each pixel, (height, width) in [0, 1].
"""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

# Share of the picture that the subtlest and the coarsest defects take (CutPaste: 2 to 15 %).
_LEAST_AREA, _LARGEST_AREA = 0.01, 0.15


def cut_paste(picture, other, strength, rng):
    """A rectangle of the picture pasted elsewhere (CutPaste)."""
    height, width, _ = picture.shape
    tall, wide = _sides(picture, _area(strength), rng)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    weight = np.zeros((height, width), np.float32)
    weight[top : top + tall, left : left + wide] = 1
    return _mix(picture, _moved(picture, rng), weight), weight


def scar(picture, other, strength, rng):
    """A thin turned rectangle of the picture pasted elsewhere (CutPaste's scar)."""
    height, width, _ = picture.shape
    side = min(height, width)
    length = side * (0.15 + 0.35 * strength)
    thickness = max(1.0, side * (0.01 + 0.05 * strength))
    along, across = _turned_axes(picture, rng)
    weight = ((abs(along) <= length / 2) & (abs(across) <= thickness / 2)).astype(np.float32)
    return _mix(picture, _moved(picture, rng), weight), weight


def foreign(picture, other, strength, rng):
    """A patch of another picture with soft edges."""
    weight = _soft(_blob(picture, _area(strength), rng))
    return _mix(picture, _moved(other, rng), weight), weight


def texture(picture, other, strength, rng):
    """A texture where smooth noise is high (DRAEM): another picture in other colours."""
    weight = _blob(picture, _area(strength), rng, grain=0.05) * (0.4 + 0.6 * strength)
    foreign_texture = _moved(other, rng)[:, ::-1]
    if rng.random() < 0.5:
        foreign_texture = 1 - foreign_texture
    return _mix(picture, foreign_texture[..., rng.permutation(picture.shape[2])], weight), weight


def blur(picture, other, strength, rng):
    """A part out of focus."""
    weight = _soft(_blob(picture, 2 * _area(strength), rng))
    sigma = min(picture.shape[:2]) * (0.015 + 0.06 * strength)
    return _mix(picture, gaussian_filter(picture, (sigma, sigma, 0)), weight), weight


def noise(picture, other, strength, rng):
    """A part with noise on it."""
    weight = _soft(_blob(picture, _area(strength), rng))
    # Grey noise, or one of its own in each channel.
    channels = rng.choice([1, picture.shape[2]])
    added = rng.normal(0, 0.05 + 0.35 * strength, (*picture.shape[:2], channels))
    return _mix(picture, picture + added, weight), weight


def bend(picture, other, strength, rng):
    """A part bent out of shape."""
    weight = _soft(_blob(picture, 2 * _area(strength), rng))
    shift = _displacement(picture, 0.03 + 0.12 * strength, rng)
    return _displaced(picture, shift * weight[..., None]), weight


def stain(picture, other, strength, rng):
    """A part that is darker or lighter, in a colour of its own."""
    weight = _soft(_blob(picture, _area(strength), rng))
    tint = rng.uniform(0.3, 1, picture.shape[2]) * (0.12 + 0.6 * strength)
    inside = (picture * weight[..., None]).sum() / max(weight.sum() * picture.shape[2], 1e-6)
    sign = 1 if inside < rng.uniform(0.35, 0.65) else -1  # where there is room for it
    return _mix(picture, picture + np.float32(sign * tint), weight), weight


def _area(strength):
    return _LEAST_AREA + (_LARGEST_AREA - _LEAST_AREA) * strength


def _sides(picture, area, rng):
    """Height and width of a rectangle of an area, at most three times as long as wide."""
    height, width, _ = picture.shape
    ratio = np.exp(rng.uniform(-1, 1) * np.log(3.3))
    tall, wide = np.sqrt(area * height * width) * np.array([ratio, 1 / ratio]) ** 0.5
    return int(np.clip(round(tall), 1, height)), int(np.clip(round(wide), 1, width))


def _moved(picture, rng):
    """The picture shifted, round its edges, by a tenth of its sides at the least."""
    shifts = [int(side * rng.uniform(0.1, 0.9)) for side in picture.shape[:2]]
    return np.roll(picture, shifts, (0, 1))


def _mix(picture, changed, weight):
    weight = weight[..., None]
    return np.clip((1 - weight) * picture + weight * changed, 0, 1).astype(np.float32)


def _turned_axes(picture, rng):
    """Coordinates of the pixels along and across a direction, about a point of the picture."""
    height, width, _ = picture.shape
    center = rng.uniform(0.15, 0.85, 2) * (height, width)
    angle = rng.uniform(0, np.pi)
    rows, columns = np.ogrid[:height, :width]
    down, right = rows + 0.5 - center[0], columns + 0.5 - center[1]
    along = np.cos(angle) * right + np.sin(angle) * down
    return along, np.cos(angle) * down - np.sin(angle) * right


def _blob(picture, area, rng, grain=0.15):
    """A connected part, ragged at its edge: where smooth noise less the distance is high."""
    along, across = _turned_axes(picture, rng)
    height, width, _ = picture.shape
    stretch = np.exp(rng.uniform(-0.7, 0.7))
    radius = np.sqrt(area * height * width / np.pi)
    distance = np.hypot(along / stretch, across * stretch) / radius
    level = _smooth_noise(picture, grain, rng) * 0.6 - distance
    n_pixels = max(1, round(area * height * width))
    threshold = np.partition(level, -n_pixels, axis=None)[-n_pixels]
    return (level >= threshold).astype(np.float32)


def _smooth_noise(picture, grain, rng):
    """Noise of unit variance that varies over a share of the shorter side (value noise)."""
    height, width, _ = picture.shape
    cell = max(1.0, 2 * grain * min(height, width))
    down, right = _interpolation(height, cell, rng), _interpolation(width, cell, rng)
    found = down @ rng.normal(size=(down.shape[1], right.shape[1])) @ right.T
    return (found / max(found.std(), 1e-9)).astype(np.float32)


def _interpolation(n_pixels, cell, rng):
    """Matrix (n_pixels, n_knots) that interpolates smoothly between knots a cell apart."""
    places = np.arange(n_pixels) / cell + rng.random()
    knots = places.astype(int)
    between = places - knots
    fade = between**2 * (3 - 2 * between)
    matrix, pixels = np.zeros((n_pixels, knots[-1] + 2)), np.arange(n_pixels)
    matrix[pixels, knots], matrix[pixels, knots + 1] = 1 - fade, fade
    return matrix


def _soft(weight):
    """Edges of a part that fade over a hundredth of the shorter side."""
    return gaussian_filter(weight, 0.01 * min(weight.shape))


def _displacement(picture, amplitude, rng):
    """Smooth shifts in pixels (height, width, 2), of an amplitude in shares of a side."""
    fields = [_smooth_noise(picture, 0.08, rng) for _ in range(2)]
    return np.stack(fields, axis=2) * (amplitude * min(picture.shape[:2]))


def _displaced(picture, shift):
    """The picture with each pixel taken from elsewhere."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    where = [rows + shift[..., 0], columns + shift[..., 1]]
    channels = [
        map_coordinates(picture[..., c], where, order=1, mode="reflect")
        for c in range(picture.shape[2])
    ]
    return np.stack(channels, axis=2).astype(np.float32)
