"""Changes of a whole normal picture: what is shown is another thing, or shown in another way.

Their arguments are those of the defects; they give the changed picture alone.
"""

import numpy as np

from ._defects import _displaced, _displacement


def rotation(picture, other, strength, rng):
    """A quarter turn, or several; of pictures that are not square, upside down (RotNet)."""
    height, width, _ = picture.shape
    turns = rng.integers(1, 4) if height == width else 2
    return np.rot90(picture, turns)


def tiles(picture, other, strength, rng):
    """Tiles in another order: 2 x 2 where subtle, up to 4 x 4."""
    n_tiles = min(2 + round(2 * strength), *picture.shape[:2])
    height, width = (side // n_tiles for side in picture.shape[:2])
    if n_tiles < 2:
        return picture
    changed = picture.copy()
    # Subtle: some of them stay where they are.
    moving = rng.permutation(n_tiles**2)[: _n_moving(n_tiles, strength)]
    order = np.arange(n_tiles**2)
    order[moving] = np.roll(moving, 1)
    for to, origin in enumerate(order):
        changed[_tile(to, n_tiles, height, width)] = picture[_tile(origin, n_tiles, height, width)]
    return changed


def _n_moving(n_tiles, strength):
    return max(2, round(n_tiles**2 * (0.5 + strength / 2)))


def _tile(number, n_tiles, height, width):
    row, column = divmod(number, n_tiles)
    rows = slice(row * height, (row + 1) * height)
    return rows, slice(column * width, (column + 1) * width)


def colors(picture, other, strength, rng):
    """Other colours and another light: channels mixed, gamma, brightness."""
    n_channels = picture.shape[2]
    gamma = np.exp(rng.choice([-1, 1]) * (0.15 + 0.8 * strength))
    changed = picture**gamma
    if n_channels > 1:
        mixing = np.eye(n_channels) + rng.normal(0, 0.1 + 0.4 * strength, (n_channels,) * 2)
        changed = changed @ (mixing / mixing.sum(axis=1, keepdims=True).clip(0.5)).T
    return changed + rng.uniform(-0.15, 0.15) * strength


def mixture(picture, other, strength, rng):
    """Two pictures in one: laid over each other (mixup), or one half of each."""
    share = 0.15 + 0.35 * strength
    if rng.random() < 0.5:
        return (1 - share) * picture + share * other
    changed, axis = picture.copy(), rng.integers(2)
    n_lines = max(1, round(picture.shape[axis] * share))
    where = slice(None, n_lines) if rng.random() < 0.5 else slice(-n_lines, None)
    where = (where, slice(None)) if axis == 0 else (slice(None), where)
    changed[where] = other[where]
    return changed


def elastic(picture, other, strength, rng):
    """The whole picture bent out of shape."""
    return _displaced(picture, _displacement(picture, 0.02 + 0.08 * strength, rng))
