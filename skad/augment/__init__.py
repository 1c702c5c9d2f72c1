"""Augmentation of a batch of images at once, with one draw per image.

The transforms of torchvision draw once for a whole batch. Contrastive learning compares the views
of each image with those of the others: it needs a crop and colours of its own for every view.
"""

from ._blur import adjust_sharpness, gaussian_blur
from ._colors import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, to_gray
from ._contrastive import ContrastiveAugmentation, Draws
from ._geometry import affine, cut_out, flip, resized_crop, rotate
from ._strong import OPERATIONS, StrongAugmentation, StrongDraws
from ._tones import autocontrast, equalize, posterize, solarize

__all__ = [
    "OPERATIONS",
    "ContrastiveAugmentation",
    "Draws",
    "StrongAugmentation",
    "StrongDraws",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "cut_out",
    "equalize",
    "flip",
    "gaussian_blur",
    "posterize",
    "resized_crop",
    "rotate",
    "solarize",
    "to_gray",
]
