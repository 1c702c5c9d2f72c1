"""Augmentation of a batch of images at once, on their device, with random numbers for each image.

The transforms of torchvision draw once for a whole batch. Contrastive learning compares the views
of each image with those of the others, so every view needs its own crop and colours.
"""

from .._lazy import lazy_names

_HOMES = {
    "OPERATIONS": "_strong",
    "ContrastiveAugmentation": "_contrastive",
    "Draws": "_contrastive",
    "StrongAugmentation": "_strong",
    "StrongDraws": "_strong",
    "adjust_brightness": "_colors",
    "adjust_contrast": "_colors",
    "adjust_hue": "_colors",
    "adjust_saturation": "_colors",
    "adjust_sharpness": "_blur",
    "affine": "_geometry",
    "autocontrast": "_tones",
    "cut_out": "_geometry",
    "equalize": "_tones",
    "flip": "_geometry",
    "gaussian_blur": "_blur",
    "posterize": "_tones",
    "resized_crop": "_geometry",
    "rotate": "_geometry",
    "solarize": "_tones",
    "to_gray": "_colors",
}

#: Operations of :class:`StrongAugmentation`, each with its least and its greatest magnitude:
#: degrees counterclockwise, thresholds, factors, bits or shares of the side. (0, 0) stands for an
#: operation without a magnitude. Bits lose their fraction, as in the recipe, so 8 is never drawn.
OPERATIONS: dict[str, tuple[float, float]]

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
