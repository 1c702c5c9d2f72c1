"""Views for contrastive learning: a crop and colours of its own for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from .._types import Generator, Tensor
from ._batch import (
    PIXELS_TO_ONE,
    _are_numbers,
    _by_shape,
    _check_batch,
    _check_integer,
    _check_share,
    _replace,
    _uniform_numbers,
)
from ._blur import gaussian_blur
from ._colors import _gray, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from ._geometry import resized_crop

# How often a crop is drawn until it fits into the image.
_N_TRIES = 10

# What is done to some images only, each with a probability.
_DECISIONS = ("flip", "jitter", "gray", "blur")


class Draws(NamedTuple):
    """Random numbers for each image of a batch: tensors on the CPU, one entry for each image.

    Parameters
    ----------
    tops, lefts, heights, widths : tensor of int64, shape (n,)
        The box that is cropped, in pixels of the image.
    flips : tensor of bool, shape (n,)
        Which images are mirrored.
    jitters : tensor of bool, shape (n,)
        Which images change their colours.
    factors : tensor of float32, shape (n, 4)
        Factors of brightness, contrast and saturation, and the shift of the hue.
    orders : tensor of int64, shape (n, 4)
        Column of `factors` that is applied first, second, third and last.
    grays : tensor of bool, shape (n,)
        Which images become grey.
    blurs : tensor of bool, shape (n,)
        Which images are blurred.
    sigmas : tensor of float32, shape (n,)
        Standard deviations of the blur, in pixels.
    """

    tops: object
    lefts: object
    heights: object
    widths: object
    flips: object
    jitters: object
    factors: object
    orders: object
    grays: object
    blurs: object
    sigmas: object


@dataclass(frozen=True)
class ContrastiveAugmentation:
    """Augmentation that makes a random view of each image of a batch, by the recipe of MoCo v2.

    It applies in this order: a crop of random size, resized; a change of colours; grey; blur; a
    mirror image.

    Parameters
    ----------
    image_size : int
        Side of the result, in pixels.
    area : tuple of two floats, default=(0.2, 1.0)
        Smallest and largest share of the image that a crop covers.
    ratio : tuple of two floats, default=(3/4, 4/3)
        Smallest and largest ratio of width to height of a crop; uniform in the logarithm.
    jitter : tuple of four floats, default=(0.4, 0.4, 0.4, 0.1)
        Largest change of brightness, contrast, saturation and hue; 0 switches one off. The first
        three are multiplied by a factor between 1 minus and 1 plus this; the hue is shifted by up
        to this share of the colour circle.
    jitter_probability : float, default=0.8
        Probability that an image changes its colours.
    gray_probability : float, default=0.2
        Probability that an image becomes grey.
    blur_sigma : tuple of two floats, default=(0.1, 2.0)
        Smallest and largest standard deviation of the blur, in pixels of the result.
    blur_probability : float, default=0.5
        Probability that an image is blurred.
    flip_probability : float, default=0.5
        Probability that an image is mirrored.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    All random numbers are drawn before any image is changed, the same amount for every image. So a
    generator on the CPU gives the same numbers whatever the device and the content of the images.

    References
    ----------
    Chen, Fan, Girshick, He, "Improved Baselines with Momentum Contrastive Learning", 2020. The crop
    is drawn as torchvision's RandomResizedCrop draws it.

    Examples
    --------
    >>> import torch
    >>> from skad.augment import ContrastiveAugmentation
    >>> augmentation = ContrastiveAugmentation(image_size=16)
    >>> images = torch.zeros((4, 3, 32, 32), dtype=torch.uint8)
    >>> augmentation(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 16, 16])
    """

    image_size: int
    area: tuple = (0.2, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    jitter: tuple = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    gray_probability: float = 0.2
    blur_sigma: tuple = (0.1, 2.0)
    blur_probability: float = 0.5
    flip_probability: float = 0.5

    def __post_init__(self):
        _check_integer("image_size", self.image_size, 1)
        for name, limit in (("area", 1), ("ratio", None), ("blur_sigma", None)):
            self._check_range(name, limit)
        jitter = self.jitter
        if not (_are_numbers(jitter, 4) and min(jitter) >= 0 and jitter[3] <= 0.5):
            raise ValueError(
                "jitter must be four numbers of at least 0 (brightness, contrast, saturation, "
                f"hue), the last of at most 0.5; got {jitter!r}."
            )
        for name in _DECISIONS:
            name = f"{name}_probability"
            _check_share(name, getattr(self, name))

    def _check_range(self, name, limit):
        values = getattr(self, name)
        in_order = _are_numbers(values, 2) and 0 < values[0] <= values[1]
        if not in_order or (limit is not None and values[1] > limit):
            allowed = "0 < low <= high" + ("" if limit is None else f" <= {limit}")
            raise ValueError(
                f"{name} must be two numbers (low, high) with {allowed}; got {values!r}."
            )

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
        return self.apply(batch, self.draw([image.shape[-2:] for image in batch], generator))

    def detail(self, height: int, width: int) -> tuple[float, float]:
        """Compute the smallest height and width of an image that are enough for its smallest crop.

        Parameters
        ----------
        height, width : int
            Size of the image, in pixels.

        Returns
        -------
        height, width : float
            Larger images may be reduced to this size before they are cropped.
        """
        area = self.area[0] * height * width
        smallest = (area / self.ratio[1]) ** 0.5, (area * self.ratio[0]) ** 0.5
        side = PIXELS_TO_ONE * self.image_size
        return side * height / smallest[0], side * width / smallest[1]

    def draw(self, sizes: Sequence, generator: Generator) -> Draws:
        """Draw random numbers for each image.

        Parameters
        ----------
        sizes : sequence of (int, int)
            Height and width of each image.
        generator : torch.Generator
            Source of the random numbers.

        Returns
        -------
        draws : Draws
            What `draw` returned.
        """
        import torch

        n_numbers = (_N_TRIES, _N_TRIES, 2, 4, 4, 4, 1)
        numbers = _uniform_numbers(len(sizes), n_numbers, generator)
        areas, ratios, corners, decisions, factors, keys, sigmas = numbers
        probabilities = [getattr(self, f"{name}_probability") for name in _DECISIONS]
        decisions = decisions < torch.tensor(probabilities, dtype=torch.float64)
        flips, jitters, grays, blurs = decisions.unbind(1)
        # Factors of 1 and a turn of 0 change nothing.
        neutral = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
        strength = torch.tensor(self.jitter, dtype=torch.float64)
        low = neutral - strength
        low[:3].clamp_(min=0)
        low_sigma, high_sigma = self.blur_sigma
        return Draws(
            *self._boxes(sizes, areas, ratios, corners),
            flips=flips,
            jitters=jitters,
            factors=torch.lerp(low, neutral + strength, factors).float(),
            orders=keys.argsort(dim=1, stable=True),
            grays=grays,
            blurs=blurs,
            sigmas=(low_sigma + (high_sigma - low_sigma) * sigmas[:, 0]).float(),
        )

    def _boxes(self, sizes, areas, ratios, corners):
        """Of ten boxes the first that fits into the image, else the largest central one."""
        import torch

        sides = torch.tensor([tuple(size) for size in sizes], dtype=torch.float64)
        height, width = sides[:, :1], sides[:, 1:]
        low, high = torch.tensor(self.ratio, dtype=torch.float64)
        ratios = torch.exp(torch.lerp(low.log(), high.log(), ratios))
        areas = height * width * (self.area[0] + (self.area[1] - self.area[0]) * areas)
        heights, widths = (areas / ratios).sqrt().round(), (areas * ratios).sqrt().round()
        fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
        first = fits.int().argmax(dim=1, keepdim=True)
        central = ~fits.any(dim=1, keepdim=True)
        largest_height = torch.minimum(height, (width / low).round().clamp(min=1))
        largest_width = torch.minimum(width, (height * high).round().clamp(min=1))
        heights = torch.where(central, largest_height, heights.gather(1, first))
        widths = torch.where(central, largest_width, widths.gather(1, first))
        rest = sides - torch.cat([heights, widths], dim=1)
        corners = torch.where(central, rest / 2, corners * (rest + 1)).floor()
        return torch.cat([corners, heights, widths], dim=1).long().unbind(1)

    def apply(self, batch: "Tensor | list[Tensor]", draws: Draws) -> Tensor:
        """Change each image as was drawn.

        Parameters
        ----------
        batch : tensor or list of tensors
            Images, as for a call of the object.
        draws : Draws
            What `draw` returned.

        Returns
        -------
        images : tensor of float32, shape (n, channels, image_size, image_size)
            One view of each image.
        """
        _check_batch(batch)
        boxes = (draws.tops, draws.lefts, draws.heights, draws.widths)
        images = _by_shape(batch, self.image_size, self._crop, draws.flips, *boxes)
        is_gray = images.shape[1] == 1
        adjusts = ((adjust_brightness, 0), (adjust_contrast, 1))
        if not is_gray:
            adjusts += ((adjust_saturation, 2), (adjust_hue, 3))
        for step, (adjust, column) in product(range(4), adjusts):
            if self.jitter[column]:
                chosen = draws.jitters & (draws.orders[:, step] == column)
                _replace(images, chosen, adjust, draws.factors[:, column])
        if not is_gray:
            _replace(images, draws.grays, _gray)
        _replace(images, draws.blurs, gaussian_blur, draws.sigmas)
        return images.clamp_(0, 1)

    def _crop(self, images, flips, *boxes):
        return resized_crop(images, *boxes, self.image_size, flips)
