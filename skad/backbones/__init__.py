"""Small networks to train from random weights.

Each function makes one: give it as ``backbone``, with its own parameters by `functools.partial`.
"""

from .._lazy import lazy_names

_HOMES = {
    "CLADNetwork": "_clad",
    "SVDDNetwork": "_svdd",
    "cifar_resnet18": "_small",
    "clad_large": "_clad",
    "clad_small": "_clad",
    "small_cnn": "_small",
    "svdd_cifar": "_svdd",
    "svdd_mnist": "_svdd",
    "wide_resnet": "_small",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
