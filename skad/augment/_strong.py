"""Strong views, for clustering: SCAN's recipe, of RandAugment's operations and a hole."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import NamedTuple

from ._batch import check_batch, replace
from ._colors import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_sharpness,
    autocontrast,
    equalize,
    posterize,
    solarize,
)
from ._geometry import affine, cut_out

# Least and greatest magnitude of each operation: degrees, values, factors, bits, shares of a side.
OPERATIONS = {
    "identity": (0, 0),
    "autocontrast": (0, 0),
    "equalize": (0, 0),
    "rotate": (-30, 30),
    "solarize": (0, 256),
    "saturation": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "brightness": (0.05, 0.95),
    "sharpness": (0.05, 0.95),
    "posterize": (4, 8),
    "shear_x": (-0.1, 0.1),
    "translate_x": (-0.1, 0.1),
    "translate_y": (-0.1, 0.1),
    "shear_y": (-0.1, 0.1),
}

_POINTWISE = {
    "solarize": solarize,
    "saturation": adjust_saturation,
    "contrast": adjust_contrast,
    "brightness": adjust_brightness,
    "sharpness": adjust_sharpness,
    "posterize": posterize,
}

_GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


class StrongDraws(NamedTuple):
    """What is done to each image of a batch: tensors on the CPU, one entry per image.

    Parameters
    ----------
    flips : tensor of bool, shape (n,)
        Which images are mirrored.
    operations : tensor of int64, shape (n, n_operations)
        Places in `OPERATIONS` of what is done, in order.
    magnitudes : tensor of float64, shape (n, n_operations)
        How strongly, within the range of each.
    tops, lefts, sides : tensor of int64, shape (n,)
        The hole: upper left corner, which may lie outside, and side, in pixels of the result.
    """

    flips: object
    operations: object
    magnitudes: object
    tops: object
    lefts: object
    sides: object


@dataclass(frozen=True)
class StrongAugmentation:
    """Strong random view of each image of a batch, by the recipe of SCAN.

    In this order: resized as a whole; a mirror image; operations of RandAugment, drawn with
    replacement out of 14, each with a random magnitude; a square hole.

    Parameters
    ----------
    image_size : int
        Side of the result, in pixels.
    n_operations : int, default=4
        Operations an image goes through.
    hole : float in [0, 1], default=0.5
        Greatest side of the hole as a share of `image_size`: 16 of 32 pixels. Sides are whole
        pixels from 1 up, all equally likely; 0 leaves holes out.
    fill : float or tuple of float, default=0.5
        Value in [0, 1] of the hole, or one for each channel: the mean colour of the images.
    flip_probability : float, default=0.5

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    Operations and ranges: identity, autocontrast, equalize, rotate (30 degrees either way),
    solarize (from 0 to 256), colour, contrast, brightness and sharpness (factors of 0.05 to 0.95),
    posterize (4 to 7 whole bits, as PIL takes a number below 8), shear and translate in either
    direction (0.1 of the side). They do what those of PIL do; turned and shifted images take the
    nearest pixel, and are black where nothing was.

    All numbers are drawn before an image is touched, as many for every image, by the generator
    alone.

    References
    ----------
    Van Gansbeke et al., "SCAN: Learning to Classify Images without Labels", ECCV 2020. Cubuk, Zoph,
    Shlens, Le, "RandAugment", 2020. DeVries, Taylor, "Improved Regularization of Convolutional
    Neural Networks with Cutout", 2017.

    Examples
    --------
    >>> import torch
    >>> from skad.augment import StrongAugmentation
    >>> augmentation = StrongAugmentation(image_size=16)
    >>> images = torch.zeros((4, 3, 32, 32), dtype=torch.uint8)
    >>> augmentation(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 16, 16])
    """

    image_size: int
    n_operations: int = 4
    hole: float = 0.5
    fill: float | tuple = 0.5
    flip_probability: float = 0.5

    def __post_init__(self):
        for name, least in (("image_size", 1), ("n_operations", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} up; got {value!r}.")
        fill = self.fill if isinstance(self.fill, (tuple, list)) else [self.fill]
        for name, values in (
            ("hole", [self.hole]),
            ("fill", fill),
            ("flip_probability", [self.flip_probability]),
        ):
            if not values or not all(isinstance(v, Real) and 0 <= v <= 1 for v in values):
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)!r}.")

    def __call__(self, batch, generator):
        """One random view of each image.

        Parameters
        ----------
        batch : tensor of shape (n, channels, height, width) or list of (channels, height, width)
            uint8, or float32 in [0, 1]; one channel or three.
        generator : torch.Generator
            Of any device; the same seed of the same kind of generator gives the same views.

        Returns
        -------
        images : tensor of float32, shape (n, channels, image_size, image_size)
            In [0, 1], on the device of `batch`.
        """
        check_batch(batch)
        return self.apply(batch, self.draw(len(batch), generator))

    def draw(self, n_images, generator):
        """Draw what is done to each image.

        Parameters
        ----------
        n_images : int
        generator : torch.Generator

        Returns
        -------
        draws : StrongDraws
        """
        import torch

        n_numbers = (1, self.n_operations, self.n_operations, 3)
        shape = (n_images, sum(n_numbers))
        table = torch.rand(shape, generator=generator, device=generator.device).cpu().double()
        flips, operations, magnitudes, holes = table.split(n_numbers, dim=1)
        operations = (operations * len(OPERATIONS)).long()
        low, high = torch.tensor(list(OPERATIONS.values()), dtype=torch.float64).T
        sides = (holes[:, 0] * int(self.hole * self.image_size)).long() + 1
        centers = (holes[:, 1:] * self.image_size).long()
        tops, lefts = (centers - sides[:, None] // 2).unbind(1)
        return StrongDraws(
            flips=flips[:, 0] < self.flip_probability,
            operations=operations,
            magnitudes=torch.lerp(low[operations], high[operations], magnitudes),
            tops=tops,
            lefts=lefts,
            sides=sides,
        )

    def apply(self, batch, draws):
        """Do to each image what was drawn.

        Parameters
        ----------
        batch : tensor or list of tensors
            As for a call.
        draws : StrongDraws

        Returns
        -------
        images : tensor of float32, shape (n, channels, image_size, image_size)
        """
        import torch

        check_batch(batch)
        heights, widths = torch.tensor([tuple(image.shape[-2:]) for image in batch]).T
        corners = torch.zeros_like(heights)
        boxes = (corners, corners, heights, widths)
        images = cut_out(batch, *boxes, self.image_size, draws.flips).clamp_(0, 1)
        for operations, magnitudes in zip(draws.operations.T, draws.magnitudes.T):
            self._apply_one(images, operations, magnitudes)
        return self._fill_holes(images, draws)

    def _apply_one(self, images, operations, magnitudes):
        """One operation on each image, in place."""
        names = list(OPERATIONS)
        for name, function in (("autocontrast", autocontrast), ("equalize", equalize)):
            replace(images, operations == names.index(name), function)
        for name, function in _POINTWISE.items():
            replace(images, operations == names.index(name), function, magnitudes)
        is_moved = sum(operations == names.index(name) for name in _GEOMETRIC) > 0
        replace(images, is_moved, affine, affine_maps(operations, magnitudes, self.image_size))

    def _fill_holes(self, images, draws):
        import torch

        if int(self.hole * self.image_size) < 1:
            return images
        places = torch.arange(self.image_size)
        rows, columns = (
            (places >= first[:, None]) & (places < (first + draws.sides)[:, None])
            for first in (draws.tops, draws.lefts)
        )
        holes = (rows[:, :, None] & columns[:, None, :])[:, None].to(images.device)
        fill = torch.as_tensor(self.fill, dtype=images.dtype, device=images.device)
        if fill.numel() not in (1, images.shape[1]):
            # Grey images in the colours' place.
            fill = fill.mean() if images.shape[1] == 1 else fill
        return torch.where(holes, fill.view(1, -1, 1, 1), images)


def affine_maps(operations, magnitudes, image_size):
    """Maps (n, 2, 3) of the geometric operations for `affine`; others give the identity.

    Those of PIL: shears keep the first row or column, turns the centre.
    """
    import torch

    maps = torch.zeros((len(operations), 2, 3), dtype=torch.float64)
    maps[:, 0, 0] = maps[:, 1, 1] = 1
    of = {name: operations == place for place, name in enumerate(OPERATIONS)}
    maps[of["shear_x"], 0, 1] = magnitudes[of["shear_x"]]
    maps[of["shear_y"], 1, 0] = magnitudes[of["shear_y"]]
    maps[of["translate_x"], 0, 2] = magnitudes[of["translate_x"]] * image_size
    maps[of["translate_y"], 1, 2] = magnitudes[of["translate_y"]] * image_size
    angles, center = torch.deg2rad(magnitudes[of["rotate"]]), image_size / 2
    cos, sin = angles.cos(), angles.sin()
    maps[of["rotate"]] = torch.stack(
        [
            torch.stack([cos, -sin, center - cos * center + sin * center], dim=1),
            torch.stack([sin, cos, center - sin * center - cos * center], dim=1),
        ],
        dim=1,
    )
    return maps
