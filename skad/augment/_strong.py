"""Strong augmentation: random operations on each image, one after the other, and a hole."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from .._types import Generator, Tensor
from ._batch import (
    PIXELS_TO_ONE,
    _are_numbers,
    _as_floats,
    _by_shape,
    _check_batch,
    _check_integer,
    _check_share,
    _replace,
    _uniform_numbers,
)
from ._blur import adjust_sharpness
from ._colors import _gray, adjust_brightness, adjust_contrast, adjust_saturation
from ._geometry import affine, cut_out, flip, resized_crop
from ._tones import autocontrast, equalize, posterize, solarize

# Described in skad/augment/__init__.py.
OPERATIONS = {
    "identity": (0, 0),
    "autocontrast": (0, 0),
    "equalize": (0, 0),
    "rotate": (-30, 30),
    "solarize": (0, 256 / 255),
    "color": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "brightness": (0.05, 0.95),
    "sharpness": (0.05, 0.95),
    "shear_x": (-0.1, 0.1),
    "translate_x": (-0.1, 0.1),
    "translate_y": (-0.1, 0.1),
    "posterize": (4, 8),
    "shear_y": (-0.1, 0.1),
}
_NAMES = tuple(OPERATIONS)

# Those that change the values of pixels; the identity and affine maps are the others.
_FUNCTIONS = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "color": adjust_saturation,
    "contrast": adjust_contrast,
    "brightness": adjust_brightness,
    "sharpness": adjust_sharpness,
    "posterize": posterize,
}


class StrongDraws(NamedTuple):
    """Random numbers for each image of a batch: tensors on the CPU, one entry for each image.

    Parameters
    ----------
    flips : tensor of bool, shape (n,)
        Which images are mirrored.
    operations : tensor of int64, shape (n, n_operations)
        Indices into `OPERATIONS`, in the order in which they are applied.
    magnitudes : tensor of float32, shape (n, n_operations)
        Magnitude of each operation, in its range in `OPERATIONS`.
    sides, rows, columns : tensor of int64, shape (n,)
        Side and centre of the hole, in pixels of the result.
    """

    flips: object
    operations: object
    magnitudes: object
    sides: object
    rows: object
    columns: object


@dataclass(frozen=True)
class StrongAugmentation:
    """Augmentation by random operations on each image of a batch: SCAN's recipe for self-labelling.

    It applies in this order: a resize, if images have another size; a mirror image; some of 14
    operations (`OPERATIONS`), drawn with replacement, each with a random magnitude; a square hole.

    Parameters
    ----------
    image_size : int
        Side of the result, in pixels. Images are resized as a whole.
    n_operations : int, default=4
        Number of operations on each image.
    flip_probability : float, default=0.5
        Probability that an image is mirrored.
    hole : float, default=0.5
        Largest side of the hole, as a share of `image_size`, rounded to whole pixels. The side is
        at least 1 pixel. The centre is any pixel, so part of the hole may be cut off at an edge. 0
        makes no hole.
    fill : float or tuple of one float per channel, default=0.5
        Colour, in [0, 1], of the hole and of the areas that rotation, shear and translation leave
        empty. The mean that the network subtracts becomes zero in its input. In images of one
        channel a colour becomes its grey.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    skad.augment.ContrastiveAugmentation : Crops and moderate changes of colours.

    Notes
    -----
    All random numbers are drawn before any image is changed, the same amount for every image. So a
    generator on the CPU gives the same numbers whatever the device and the content of the images.

    Operations are those of PIL, but on floats: images are rounded to bytes only within operations
    that need levels (equalize, posterize). Pixels are not interpolated, as by default in PIL. Shear
    keeps the upper left corner in place. In the recipe, empty areas are black and holes have even
    sides only.

    References
    ----------
    Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to Classify Images
    without Labels", ECCV 2020. Cubuk, Zoph, Shlens, Le, "RandAugment", 2020. DeVries, Taylor,
    "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.

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
    flip_probability: float = 0.5
    hole: float = 0.5
    fill: float | tuple = 0.5

    def __post_init__(self):
        _check_integer("image_size", self.image_size, 1)
        _check_integer("n_operations", self.n_operations, 0)
        _check_share("flip_probability", self.flip_probability)
        _check_share("hole", self.hole)
        values = self._fill_values()
        if not (_are_numbers(values, 1) or _are_numbers(values, 3)) or not (
            0 <= min(values) <= max(values) <= 1
        ):
            raise ValueError(
                f"fill must be a number in [0, 1], or one for each channel; got {self.fill!r}."
            )

    def _fill_values(self):
        return self.fill if isinstance(self.fill, (tuple, list)) else (self.fill,)

    def __call__(self, batch: "Tensor | list[Tensor]", generator: Generator) -> Tensor:
        """Make one random view of each image.

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
        _check_batch(batch)
        return self.apply(batch, self.draw(len(batch), generator))

    def detail(self, height: int, width: int) -> tuple[int, int]:
        """Compute the smallest height and width of an image that are enough for its views.

        Parameters
        ----------
        height, width : int
            Size of the image, in pixels.

        Returns
        -------
        height, width : int
            Larger images may be reduced to this size.
        """
        return (PIXELS_TO_ONE * self.image_size,) * 2

    def draw(self, n_images: int, generator: Generator) -> StrongDraws:
        """Draw random numbers for each image.

        Parameters
        ----------
        n_images : int
            Number of images.
        generator : torch.Generator
            Source of the random numbers.

        Returns
        -------
        draws : StrongDraws
            What `draw` returned.
        """
        import torch

        n_numbers = (1, self.n_operations, self.n_operations, 3)
        numbers = _uniform_numbers(n_images, n_numbers, generator)
        flips, operations, magnitudes, hole = numbers
        operations = (operations * len(OPERATIONS)).long()
        ranges = torch.tensor(list(OPERATIONS.values()), dtype=torch.float64)[operations]
        magnitudes = torch.lerp(ranges[..., 0], ranges[..., 1], magnitudes)
        sides, rows, columns = hole.unbind(1)
        in_bits = operations == _NAMES.index("posterize")
        greatest = round(self.hole * self.image_size)
        return StrongDraws(
            flips=flips[:, 0] < self.flip_probability,
            operations=operations,
            magnitudes=torch.where(in_bits, magnitudes.floor(), magnitudes).float(),
            sides=(sides * greatest + 1).long().clamp(max=greatest),
            rows=(rows * self.image_size).long(),
            columns=(columns * self.image_size).long(),
        )

    def apply(self, batch: "Tensor | list[Tensor]", draws: StrongDraws) -> Tensor:
        """Change each image as was drawn.

        Parameters
        ----------
        batch : tensor or list of tensors
            Images, as for a call of the object.
        draws : StrongDraws
            What `draw` returned.

        Returns
        -------
        images : tensor of float32, shape (n, channels, image_size, image_size)
            One view of each image.
        """
        _check_batch(batch)
        images = _by_shape(batch, self.image_size, self._resize, draws.flips).clamp_(0, 1)
        fill = self._fill_like(images)
        for operations, magnitudes in zip(draws.operations.unbind(1), draws.magnitudes.unbind(1)):
            for name, function in _FUNCTIONS.items():
                strengths = [magnitudes] if any(OPERATIONS[name]) else []
                _replace(images, operations == _NAMES.index(name), function, *strengths)
            matrices, moved = _affine_maps(operations, magnitudes, self.image_size)
            _replace(images, moved, partial(affine, fill=fill), matrices)
        return cut_out(images, draws.sides, draws.rows, draws.columns, fill)

    def _resize(self, images, flips):
        import torch

        n, _, height, width = images.shape
        if (height, width) == (self.image_size, self.image_size):
            return flip(_as_floats(images), flips)
        none, heights, widths = (torch.full((n,), value) for value in (0, height, width))
        return resized_crop(images, none, none, heights, widths, self.image_size, flips)

    def _fill_like(self, images):
        import torch

        fill = torch.tensor(self._fill_values(), device=images.device).float()[None, :, None, None]
        return _gray(fill) if images.shape[1] == 1 else fill


def _affine_maps(operations, magnitudes, size):
    """Where the pixels of each image come from, (n, 2, 3), and which images move at all."""
    import torch

    names = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
    drawn = torch.stack([operations == _NAMES.index(name) for name in names])
    angles, shear_x, shear_y, translate_x, translate_y = magnitudes.double() * drawn
    cos, sin = angles.deg2rad().cos(), angles.deg2rad().sin()
    # Rotation is about the centre. What is not drawn is zero, so sums hold one operation each.
    to_x = (cos, shear_x - sin, size * (translate_x + (1 - cos + sin) / 2))
    to_y = (shear_y + sin, cos, size * (translate_y + (1 - cos - sin) / 2))
    return torch.stack([*to_x, *to_y], dim=1).view(-1, 2, 3), drawn.any(0)
