"""Augmentation of a batch of images at once, with one draw per image.

The transforms of torchvision draw once for a whole batch. Contrastive learning compares the views
of each image with those of the others: it needs a crop and colours of its own for every view.
"""

from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from typing import NamedTuple

from ._batches import _same_shape

# How often a crop is drawn until it fits into the image.
_N_TRIES = 10

# Weights of red, green and blue in grey, as torchvision has them.
_GRAY = (0.2989, 0.587, 0.114)

# Radius of the blur, in standard deviations.
_N_SIGMA = 3

# What is done to some images only, each with a probability.
_DECISIONS = ("flip", "jitter", "gray", "blur")


class Draws(NamedTuple):
    """What is done to each image of a batch: tensors on the CPU, one entry per image.

    Parameters
    ----------
    tops, lefts, heights, widths : tensor of int64, shape (n,)
        The box that is cut out, in pixels of the image.
    flips, jitters, grays, blurs : tensor of bool, shape (n,)
        Which images are mirrored, change colours, become grey, become blurred.
    factors : tensor of float32, shape (n, 4)
        Brightness, contrast, saturation, hue.
    orders : tensor of int64, shape (n, 4)
        Column of `factors` that is applied first, second, third and last.
    sigmas : tensor of float32, shape (n,)
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
    """Random view of each image of a batch, by the recipe of MoCo v2.

    In this order: a crop of random size, resized; colours; grey; blur; and a mirror image.

    Parameters
    ----------
    image_size : int
        Side of the result, in pixels.
    area : tuple of two floats, default=(0.2, 1.0)
        Least and greatest share of the image that a crop covers.
    ratio : tuple of two floats, default=(3/4, 4/3)
        Least and greatest width of a crop over its height; uniform in the logarithm.
    jitter : tuple of four floats, default=(0.4, 0.4, 0.4, 0.1)
        Greatest change of brightness, contrast, saturation and hue; 0 leaves one out. The first
        three are multiplied by up to 1 plus and minus that, hue is a share of the circle.
    jitter_probability : float, default=0.8
    gray_probability : float, default=0.2
    blur_sigma : tuple of two floats, default=(0.1, 2.0)
        Least and greatest standard deviation of the blur, in pixels of the result.
    blur_probability : float, default=0.5
    flip_probability : float, default=0.5

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    All numbers are drawn before an image is touched, as many for every image, by the generator
    alone. A generator on the CPU draws the same whatever the device and the content of the images.

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
        size = self.image_size
        if not (isinstance(size, Integral) and not isinstance(size, bool) and size > 0):
            raise ValueError(f"image_size must be a positive integer; got {size!r}.")
        for name, limit in (("area", 1), ("ratio", None), ("blur_sigma", None)):
            self._check_range(name, limit)
        jitter = self.jitter
        if not (_are_numbers(jitter, 4) and min(jitter) >= 0 and jitter[3] <= 0.5):
            raise ValueError(
                "jitter must be four numbers of at least 0 (brightness, contrast, saturation, "
                f"hue), the last of at most 0.5; got {jitter!r}."
            )
        for name in _DECISIONS:
            probability = getattr(self, f"{name}_probability")
            if not (_are_numbers([probability], 1) and 0 <= probability <= 1):
                raise ValueError(
                    f"{name}_probability must be a number in [0, 1]; got {probability!r}."
                )

    def _check_range(self, name, limit):
        values = getattr(self, name)
        in_order = _are_numbers(values, 2) and 0 < values[0] <= values[1]
        if not in_order or (limit is not None and values[1] > limit):
            allowed = "0 < low <= high" + ("" if limit is None else f" <= {limit}")
            raise ValueError(
                f"{name} must be two numbers (low, high) with {allowed}; got {values!r}."
            )

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
        _check_batch(batch)
        return self.apply(batch, self.draw([image.shape[-2:] for image in batch], generator))

    def draw(self, sizes, generator):
        """Draw what is done to each image.

        Parameters
        ----------
        sizes : sequence of (int, int)
            Height and width of each image.
        generator : torch.Generator

        Returns
        -------
        draws : Draws
        """
        import torch

        # Every image takes as many numbers, used or not, so its draws depend on its place alone.
        n_numbers = (_N_TRIES, _N_TRIES, 2, 4, 4, 4, 1)
        shape = (len(sizes), sum(n_numbers))
        table = torch.rand(shape, generator=generator, device=generator.device).cpu().double()
        areas, ratios, corners, decisions, factors, keys, sigmas = table.split(n_numbers, dim=1)
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

    def apply(self, batch, draws):
        """Do to each image what was drawn.

        Parameters
        ----------
        batch : tensor or list of tensors
            As for a call.
        draws : Draws

        Returns
        -------
        images : tensor of float32, shape (n, channels, image_size, image_size)
        """
        _check_batch(batch)
        images = self._crop(batch, draws)
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

    def _crop(self, batch, draws):
        """Boxes cut out, resized and mirrored: groups of images of one shape, in one tensor."""
        import torch

        boxes = (draws.tops, draws.lefts, draws.heights, draws.widths)
        if not isinstance(batch, list):
            return resized_crop(batch, *boxes, self.image_size, draws.flips)
        shape = (len(batch), batch[0].shape[0], self.image_size, self.image_size)
        images = torch.empty(shape, device=batch[0].device)
        for places in _same_shape(batch):
            group = torch.stack([batch[i] for i in places])
            own = (values[places] for values in boxes)
            images[places] = resized_crop(group, *own, self.image_size, draws.flips[places])
        return images


def _are_numbers(values, n):
    return (
        isinstance(values, (tuple, list))
        and len(values) == n
        and all(isinstance(v, Real) and abs(v) < float("inf") for v in values)
    )


def _check_batch(batch):
    import torch

    images = batch
    if not isinstance(batch, list):
        # One image of a tensor stands for all.
        images = list(batch[:1]) if getattr(batch, "ndim", 0) else []
    if all(isinstance(i, torch.Tensor) and i.ndim == 3 and i.numel() for i in images):
        kinds = {i.dtype == torch.uint8 or i.is_floating_point() for i in images}
        if kinds == {True} and {i.shape[0] for i in images} in ({1}, {3}):
            return
    got = [f"{tuple(i.shape)} of {i.dtype}" if hasattr(i, "shape") else type(i) for i in images]
    raise ValueError(
        "the batch must be a tensor (n, channels, height, width) or a list of tensors (channels, "
        "height, width), not empty, of uint8 or floating point, all of one channel or all of "
        f"three; got {type(batch).__name__} with images {sorted(map(str, set(got)))}."
    )


def _replace(images, chosen, function, *parameters):
    """Put the results of a function in the place of some of the images."""
    import torch

    places = torch.nonzero(chosen)[:, 0]
    if len(places):
        parameters = (values[places] for values in parameters)
        places = places.to(images.device)
        images[places] = function(images.index_select(0, places), *parameters)


def _per_sample(values, images):
    """Numbers that broadcast over the pixels of their images."""
    return values.to(images.device, images.dtype)[:, None, None, None]


def resized_crop(images, tops, lefts, heights, widths, image_size, flips=None):
    """Cut another box out of each image and resize it by antialiased bilinear interpolation.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        float32, or uint8, which is scaled to [0, 1].
    tops, lefts, heights, widths : tensor of int64, shape (n,)
        A box within each image, in pixels.
    image_size : int
        Side of the result.
    flips : tensor of bool, shape (n,), default=None
        Which results are mirrored: this costs nothing here.

    Returns
    -------
    crops : tensor of float32, shape (n, channels, image_size, image_size)

    Notes
    -----
    Interpolation is linear in rows and in columns, so a box is a matrix on either side of its
    image: two products of batches of matrices for all boxes, in place of one call for each.
    """
    import torch

    top, left = int(tops.min()), int(lefts.min())
    bottom, right = int((tops + heights).max()), int((lefts + widths).max())
    inside = min(top, left) >= 0 and bottom <= images.shape[-2] and right <= images.shape[-1]
    if not inside or min(heights.min(), widths.min()) < 1:
        raise ValueError(
            f"boxes must lie within their images of {images.shape[-2]} x {images.shape[-1]} pixels "
            f"and be at least 1 pixel high and wide; got rows {top} to {bottom}, columns {left} to "
            f"{right}, heights from {int(heights.min())}, widths from {int(widths.min())}."
        )
    # What no box reaches need not be converted nor multiplied.
    images = images[..., top:bottom, left:right]
    is_integer = images.dtype == torch.uint8
    images = images.float().div_(255) if is_integer else images.float()
    rows = _interpolation(tops - top, heights, images.shape[-2], image_size, images.device)
    columns = _interpolation(lefts - left, widths, images.shape[-1], image_size, images.device)
    columns = columns.transpose(1, 2)
    return _multiply(rows, images, columns if flips is None else flip(columns, flips))


def _interpolation(starts, lengths, length, size, device):
    """Matrices (n, size, length) that resample a stretch of `length` pixels to `size` pixels.

    The kernel is a triangle as wide as torchvision's: two pixels of the picture or of the result,
    whichever are larger. It is cut at the ends of the stretch, which a crop does not look beyond.
    """
    import torch

    lengths = lengths.to(device)[:, None, None]
    places = torch.arange(length, device=device) - starts.to(device)[:, None, None]
    scales = lengths.float() / size
    centers = scales * (torch.arange(size, device=device)[:, None] + 0.5)
    weights = (places + 0.5 - centers).abs_().div_(-scales.clamp(min=1)).add_(1).clamp_(min=0)
    weights.mul_((places >= 0) & (places < lengths))
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _multiply(rows, images, columns):
    """Product of each channel with its image's matrices from the left and from the right."""
    n, channels, height, width = images.shape
    images = images.reshape(n, channels * height, width).bmm(columns)
    return rows[:, None].matmul(images.view(n, channels, height, -1))


def flip(images, mask):
    """Mirror some of the images: left becomes right.

    Parameters
    ----------
    images : tensor of shape (n, ..., width)
    mask : tensor of bool, shape (n,)

    Returns
    -------
    images : tensor of the same shape
    """
    mask = mask.to(images.device)
    images = images.clone()
    images[mask] = images[mask].flip(-1)
    return images


def adjust_brightness(images, factors):
    """Multiply each image by its factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1].
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 1.
    """
    return images.mul(_per_sample(factors, images)).clamp_(0, 1)


def adjust_contrast(images, factors):
    """Multiply the distance of each image from its mean grey by its factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel or three.
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 0 and 1.
    """
    means = _gray(images.mean(dim=(2, 3), keepdim=True))
    factors = _per_sample(factors, images)
    return images.mul(factors).add_((1 - factors) * means).clamp_(0, 1)


def adjust_saturation(images, factors):
    """Multiply the distance of each pixel from its grey by its image's factor.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel (nothing is done) or three.
    factors : tensor of float32, shape (n,)
        Not negative; 1 changes nothing.

    Returns
    -------
    images : tensor of the same shape
        Cut off at 0 and 1.
    """
    if images.shape[1] == 1:
        return images
    return _gray(images).lerp(images, _per_sample(factors, images)).clamp_(0, 1)


def adjust_hue(images, factors):
    """Turn the hue of each image by its share of the circle.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        In [0, 1], one channel (nothing is done) or three.
    factors : tensor of float32, shape (n,)
        In [-0.5, 0.5]; 0 changes nothing.

    Returns
    -------
    images : tensor of the same shape

    Notes
    -----
    The HSV model, without computing its saturation: largest and smallest channel stay, and with hue
    on a circle of six a channel is the largest up to 1 away from its own hue, the smallest from 2.
    """
    import torch

    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    largest = red.maximum(green).maximum(blue)
    smallest = red.minimum(green).minimum(blue)
    chroma = largest - smallest
    # The distance of the hue from red is linear in the channels wherever it is: no cases.
    hue = (green + blue).sub_(red).add_(largest).sub_(smallest, alpha=2)
    # Grey pixels, of no chroma, have a hue of 0, which changes nothing.
    hue.div_(chroma.clamp(min=1e-30)).copysign_(green - blue)
    hue.add_(6 * _per_sample(factors, images)[:, 0])
    own_hues = torch.tensor([0.0, 2.0, -2.0], device=images.device)[:, None, None]
    # Distances on the circle: hue is in [-3, 3], turned by up to 3, so differences are within 8.
    distances = (hue[:, None] - own_hues).abs_().sub_(3).abs_().sub_(3).abs_()
    fall = distances.sub_(1).clamp_(0, 1)
    return torch.addcmul(largest[:, None], chroma[:, None], fall, value=-1)


def to_gray(images, mask):
    """Take the colours from some of the images.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
        One channel (nothing is done) or three.
    mask : tensor of bool, shape (n,)

    Returns
    -------
    images : tensor of the same shape
    """
    if images.shape[1] == 1:
        return images
    images = images.clone()
    _replace(images, mask, _gray)
    return images


def _gray(images):
    """Grey of each pixel, with one channel."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return red.mul(_GRAY[0]).add_(green, alpha=_GRAY[1]).add_(blue, alpha=_GRAY[2])


def gaussian_blur(images, sigmas):
    """Blur each image by a Gaussian of its own width, mirrored at the edges.

    Parameters
    ----------
    images : tensor of float32, shape (n, channels, height, width)
    sigmas : tensor of float32, shape (n,)
        Standard deviations in pixels, positive. The kernel ends at three of them, rounded up.

    Returns
    -------
    images : tensor of the same shape

    Notes
    -----
    The mirror leaves out the edge itself, as "reflect" does in torch.
    """
    rows = _blurring(sigmas, images.shape[-2], images.device)
    columns = _blurring(sigmas, images.shape[-1], images.device)
    return _multiply(rows, images, columns.transpose(1, 2))


def _blurring(sigmas, size, device):
    """Matrices (n, size, size) that blur a stretch of `size` pixels."""
    import torch

    radii = (_N_SIGMA * sigmas).ceil()
    radius = int(radii.max())
    steps = torch.arange(-radius, radius + 1, device=device)
    sigmas, radii = sigmas.to(device)[:, None], radii.to(device)[:, None]
    kernels = steps.div(sigmas).square_().div_(-2).exp_().mul_(steps.abs() <= radii)
    kernels.div_(kernels.sum(dim=1, keepdim=True))
    # Beyond an edge pixels come back in reverse, however often the kernel goes beyond.
    period = max(2 * size - 2, 1)
    places = (torch.arange(size, device=device) + steps[:, None]) % period
    places = torch.minimum(places, period - places)
    reached = torch.eye(size, device=device)[places]
    return kernels.matmul(reached.flatten(1)).view(-1, size, size)
