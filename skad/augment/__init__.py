"""Augmentation of a batch of images at once, with one draw per image.

The transforms of torchvision draw once for a whole batch. Contrastive learning compares the views
of each image with those of the others: it needs a crop and colours of its own for every view.
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

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
