"""Factories of networks to be trained from scratch, on small images.

Give one as ``backbone``, with ``functools.partial`` for parameters of its own.
"""

from ._clad import CLADNetwork, clad_large, clad_small
from ._small import cifar_resnet18, small_cnn, wide_resnet
from ._svdd import SVDDNetwork, svdd_cifar, svdd_mnist

__all__ = [
    "CLADNetwork",
    "SVDDNetwork",
    "cifar_resnet18",
    "clad_large",
    "clad_small",
    "small_cnn",
    "svdd_cifar",
    "svdd_mnist",
    "wide_resnet",
]
