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
        text='Where the network computes. "auto" takes every CUDA device, or the CPU if there is '
        'none. Else the name of a device of torch, or a list of names such as ``["cuda:0", '
        '"cuda:1"]``. Several devices share the batches, with the same results; training, and '
        "anything with `memory`, uses the first alone. A model that is loaded where its "
        "device is missing computes on the CPU, with a :class:`~skad.DeviceWarning`.",
    )


class ImageParameters(ThreadParameters, ReadingParameters, DeviceParameters):
    """How images are made ready, and where the network computes."""

    image_size: int | None = parameter(
        default=None,
        limits=[POSITIVE, None],
        text="Side, in pixels, of the image that the network sees. By default the backbone's own: "
        '64 for "tiny", 192 for "tiny-dense", 224 in most papers. A vision transformer of '
        "fixed size is built for this size, with its position embeddings resized; the side of "
        "its patches must divide it.",
    )
    resize: str | None = parameter(
        default=None,
        limits=[StrOptions({"crop", "whole"}), None],
        text='"crop": resize the shorter side to 8/7 of `image_size`, then cut out the centre '
        '(papers). "whole": resize the whole image to a square, whatever its proportions. By '
        'default "whole" for networks whose metadata ask for it (``crop_pct`` 1, as "tiny"), '
        'and "crop" for others. Both interpolate bicubically, with antialiasing.',
    )
    mean: float | tuple | None = parameter(
        default=None,
        limits=[Real, "array-like", None],
        kind="float or tuple of float",
        text="Subtracted from each channel of pixels in [0, 1]; by default the backbone's mean.",
    )
    std: float | tuple | None = parameter(
        default=None,
        limits=[Real, "array-like", None],
        kind="float or tuple of float",
        text="Each channel is divided by it after the mean is subtracted; by default the "
        "backbone's.",
    )


class BackboneParameters(ParameterGroup):
    """Which network."""

    backbone: str | Callable = parameter(
        default="tiny",
        limits=[str, callable],
        kw_only=False,
        text='The network. "tiny" and "tiny-dense" come with the package: the first is for small '
        "images as a whole, the second for small defects in large images. Else the name of a "
        'network of timm or torchvision, with prefix "timm/" or "torchvision/" where both '
        "have it; or a factory: a picklable callable that returns a ``torch.nn.Module``.",
    )


class NetworkParameters(ImageParameters, BackboneParameters):
    """Which network, with which weights, in which arithmetic."""

    weights: str | os.PathLike | None = parameter(
        default="pretrained",
        limits=[str, os.PathLike, None],
        kind='"pretrained", None or path',
        text='"pretrained": the published weights, without a download for "tiny" and "tiny-dense"; '
        "the network of a factory is left as it is. None: random weights. A path: a file of "
        "safetensors, or a state dict of torch.",
    )
    precision: str = parameter(
        default="float32",
        limits=[StrOptions({"float32", "bfloat16"})],
        text='Arithmetic of the network. "float32" is full precision, without TF32 on CUDA. With '
        '"bfloat16" the parameters that are trained stay float32. A pretrained network is '
        "then trained in mixed precision on devices that are faster with it (CUDA, processors "
        "with AMX), and computes in float32 afterwards. A processor without AVX-512 is slow "
        "with bfloat16, so it computes in float32 throughout.",
    )


class TileParameters(ParameterGroup):
    """How a network looks at big pictures."""

    tiles: tuple | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="tuple of int",
        text="(size, overlap), in pixels of `image_size`: the network looks at overlapping squares "
        "of that size, as in ``image_size=640, tiles=(256, 64)``. Their maps are blended into "
        "one map of the picture, and their features are averaged. Small defects of large "
        "pictures are then seen at full size, and memory does not grow with the picture. The "
        "overlap should be as wide as the area that one output of a layer sees, about 64 "
        "pixels. By default pictures are seen whole.",
    )


class ViewParameters(TileParameters):
    """How it gives maps of them."""

    scales: tuple = parameter(
        default=(1.0,),
        limits=["array-like"],
        kind="tuple of float",
        text="Shares of `image_size`. The picture is reduced to each of them, and the layers give "
        "maps at each: ``(1.0, 0.5)`` finds small and large defects. Pooled features are "
        "those of the first scale.",
    )


class LayerParameters(ParameterGroup):
    """Which of its layers."""

    layers: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of str",
        text="Layers whose outputs, averaged over positions, are joined to one row of features. By "
        "default the pooled output before the classifier (papers). For a vision transformer, "
        '"blocks.3" or "blocks.3:patch_tokens" averages the patch tokens, and '
        '"blocks.3:class_token" takes the class token, which has no map.',
    )


class FlattenedLayerParameters(ParameterGroup):
    """Which of its layers as they are."""

    flattened_layers: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of str",
        text="Layers whose outputs are not averaged: every position adds its values to the row of "
        "features.",
    )


class ContrastParameters(ParameterGroup):
    """What DeepSVDD does to images."""

    contrast_normalization: bool = parameter(
        default=False,
        limits=["boolean"],
        text="Use global contrast normalisation instead of `mean` and `std`, as DeepSVDD's code "
        "does: subtract each image's mean, divide by its mean absolute value, and scale so "
        "that the training images lie in [0, 1].",
    )


class MemoryParameters(ParameterGroup):
    """Where features are kept."""

    memory: object = parameter(
        default=None,
        limits=[str, os.PathLike, HasMethods("cache"), None],
        kind="path or joblib.Memory",
        text="Folder that caches the features of every image, by the content of the image and of "
        "the network. Each image then goes through the network once, however many folds, "
        "candidates or processes use it.",
    )


class ImagesTogether(ParameterGroup):
    """How many images at once."""

    batch_size: int = parameter(
        default=64,
        limits=[POSITIVE],
        text="Images that go through the network together; in training, the images of one step.",
    )


class RandomParameters(RandomStateParameters):
    """What is drawn, and what is shown."""

    verbose: bool = parameter(default=False, limits=["verbose"], text="Show progress bars.")
