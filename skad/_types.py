"""Types that signatures name. Those of large libraries are strings, which import nothing."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes
    import numpy.typing
    import torch

ArrayLike: TypeAlias = "numpy.typing.ArrayLike"
Axes: TypeAlias = "matplotlib.axes.Axes"
Device: TypeAlias = "torch.device"
Generator: TypeAlias = "torch.Generator"
Labels: TypeAlias = "numpy.typing.ArrayLike | None"
Module: TypeAlias = "torch.nn.Module"
Tensor: TypeAlias = "torch.Tensor"

FilePath: TypeAlias = str | PathLike[str]
Images: TypeAlias = Any  # pictures in any container: arrays, tensors, paths, datasets
Maps: TypeAlias = np.ndarray | list[np.ndarray]  # a list where pictures differ in size
MapsLike: TypeAlias = np.ndarray | Sequence  # one map for each picture
RandomState: TypeAlias = int | np.random.RandomState | None
Source: TypeAlias = Any  # pictures behind the door: skad.images._source.ImageSource
