"""Parameters that say which network sees images, and how."""

import os
from collections.abc import Callable
from numbers import Real

from .._compat import HasMethods, StrOptions
from .._parameters import POSITIVE, ParameterGroup, RandomStateParameters, parameter
from ..images._parameters import ReadingParameters, ThreadParameters


class DeviceParameters(ParameterGroup):
    """Where it is computed."""

    device: str | list = parameter(
        default="auto",
        limits="no_validation",  # torch.device says what it knows
        kind="str or list of str",
        text='"auto" (every CUDA device if there are any, else the CPU), a name that torch knows, '
        'or several, ``["cuda:0", "cuda:1"]``: batches are dealt out to them, which changes '
        "nothing; training is on the first, as is all where `memory` is given. "
        "Loaded where that device is missing, a network computes on the CPU, with a "
        ":class:`~skad.DeviceWarning`.",
    )


class ImageParameters(ThreadParameters, ReadingParameters, DeviceParameters):
    """How images are made ready, and where the network computes."""

    image_size: int | None = parameter(
        default=None,
        limits=[POSITIVE, None],
        text='Side in pixels that the network sees; by default the backbone\'s (64 for "tiny", '
        '192 for "tiny-dense", 224 in most papers). Vision transformers of a fixed size are built '
        "for it, their "
        "position embeddings resized; their patches must divide it.",
    )
    resize: str | None = parameter(
        default=None,
        limits=[StrOptions({"crop", "whole"}), None],
        text='"crop": shorter side to 8/7 of `image_size`, then the centre (papers); "whole": the '
        'whole image, its proportions not kept. By default "whole" for networks whose '
        'metadata say so (``crop_pct`` 1, as "tiny"), "crop" for others. Both by antialiased '
        "bicubic interpolation.",
    )
    mean: float | tuple | None = parameter(
        default=None,
        limits=[Real, "array-like", None],
        kind="float or tuple of float",
        text="Subtracted from each channel, for pixels in [0, 1]; by default the backbone's.",
    )
    std: float | tuple | None = parameter(
        default=None,
        limits=[Real, "array-like", None],
        kind="float or tuple of float",
        text="Divided into each channel after that; by default the backbone's.",
    )


class BackboneParameters(ParameterGroup):
    """Which network."""

    backbone: str | Callable = parameter(
        default="tiny",
        limits=[str, callable],
        kw_only=False,
        text='"tiny" or "tiny-dense", the networks inside the package, for small images as a whole '
        "and for small defects in large ones; the name of a network of timm or "
        'torchvision (with prefix "timm/" or "torchvision/" where both have it); or a '
        "factory: a picklable callable that returns a ``torch.nn.Module``.",
    )


class NetworkParameters(ImageParameters, BackboneParameters):
    """Which network, with which weights, in which arithmetic."""

    weights: str | os.PathLike | None = parameter(
        default="pretrained",
        limits=[str, os.PathLike, None],
        kind='"pretrained", None or path',
        text='Published weights ("tiny" needs no download; a factory\'s network is left as it '
        "came), random ones (None), or a file: safetensors, or a state dict of torch.",
    )
    precision: str = parameter(
        default="float32",
        limits=[StrOptions({"float32", "bfloat16"})],
        text='Arithmetic of the network; "float32" is computed in full, on CUDA without TF32 as '
        "well. Stages that are trained keep parameters of float32; with "
        '"bfloat16" they are trained in mixed precision, of a pretrained network where the device '
        "is faster by it (CUDA, processors with AMX), and compute in float32 afterwards. A "
        "processor without AVX-512, slow at bfloat16, computes in float32 throughout.",
    )


class TileParameters(ParameterGroup):
    """How a network looks at big pictures."""

    tiles: tuple | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="tuple of int",
        text="(size, overlap), in pixels of `image_size`: the network sees squares of that size, "
        "which overlap, and what it gives is blended to one map of the picture; features are "
        "averages over them. So small defects of big pictures are seen at full size, in memory "
        "that does not grow with them: ``image_size=640, tiles=(256, 64)``. The overlap should be "
        "as wide as what a layer sees, some 64 pixels. By default pictures are seen whole.",
    )


class ViewParameters(TileParameters):
    """How it gives maps of them."""

    scales: tuple = parameter(
        default=(1.0,),
        limits=["array-like"],
        kind="tuple of float",
        text="Shares of `image_size` to which pictures are reduced, at each of which the layers "
        "give maps: ``(1.0, 0.5)`` finds defects small and large. Pooled features are those of the "
        "first.",
    )


class LayerParameters(ParameterGroup):
    """Which of its layers."""

    layers: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of str",
        text="Layers whose outputs, averaged over places, are joined; by default the pooled "
        "output before the classifier (papers). Places of a vision transformer are its patch "
        'tokens, "blocks.3" or "blocks.3:patch_tokens"; its class token is '
        '"blocks.3:class_token", which has no map.',
    )


class FlattenedLayerParameters(ParameterGroup):
    """Which of its layers as they are."""

    flattened_layers: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of str",
        text="Layers whose outputs are joined to those as they are, place by place.",
    )


class ContrastParameters(ParameterGroup):
    """What DeepSVDD does to images."""

    contrast_normalization: bool = parameter(
        default=False,
        limits=["boolean"],
        text="In the place of `mean` and `std`: subtract each image's mean, divide by its mean "
        "absolute value, and scale so that the training images lie in [0, 1] (global "
        "contrast normalisation, as DeepSVDD's code does).",
    )


class MemoryParameters(ParameterGroup):
    """Where features are kept."""

    memory: object = parameter(
        default=None,
        limits=[str, os.PathLike, HasMethods("cache"), None],
        kind="path or joblib.Memory",
        text="Folder in which the features of every image are kept, by content of the image and "
        "of the network: each image goes through the network once, in however many folds, "
        "candidates or processes it appears.",
    )


class ImagesTogether(ParameterGroup):
    """How many images at once."""

    batch_size: int = parameter(
        default=64,
        limits=[POSITIVE],
        text="Images that go through the network together; in training, those of a step.",
    )


class RandomParameters(RandomStateParameters):
    """What is drawn, and what is shown."""

    verbose: bool = parameter(default=False, limits=["verbose"], text="Show progress bars.")
