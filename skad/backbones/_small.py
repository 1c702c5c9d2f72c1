"""Networks for images of about 32 pixels."""

from itertools import pairwise
from numbers import Real

from torch import nn

from .._types import Module
from ._made import check_numbers, check_size, with_metadata


def cifar_resnet18(n_channels: int = 3, width: int = 64, image_size: int = 32) -> Module:
    """Make a ResNet-18 with the stem for small images: a 3 x 3 convolution without pooling.

    It is timm's network, in which the last BatchNorm of each block is initialised to zero.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the images. For a network with three, grey images are turned into colour.
    width : int, default=64
        Channels of the first stage. The last has eight times as many: the features.
    image_size : int, default=32
        Side in pixels, at least 8, to which images are resized by default.

    Returns
    -------
    network : timm.models.resnet.ResNet
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. The stem is that
    of SimCLR's appendix on CIFAR-10.

    Examples
    --------
    >>> from functools import partial
    >>> from skad import FeatureExtractor
    >>> from skad.backbones import cifar_resnet18
    >>> network = partial(cifar_resnet18, width=8)  # a narrow one
    >>> extractor = FeatureExtractor(network, weights=None)
    """
    from timm.models.resnet import BasicBlock, ResNet

    check_numbers("cifar_resnet18", n_channels=n_channels, width=width)
    check_size("cifar_resnet18", image_size)
    network = ResNet(
        BasicBlock,
        layers=(2, 2, 2, 2),
        channels=(width, 2 * width, 4 * width, 8 * width),
        in_chans=n_channels,
        num_classes=0,
    )
    network.conv1 = _first_convolution(n_channels, width)
    network.bn1 = nn.BatchNorm2d(width)
    network.maxpool = nn.Identity()
    # timm's stem has 64 channels, whatever the stages.
    network.layer1[0].conv1 = _first_convolution(width, width)
    network.layer1[0].downsample = None
    network.feature_info = network.feature_info[1:]  # the stem belongs to the first stage
    for stage in network.feature_info:
        stage["reduction"] //= 4  # timm counts the stride and the pooling removed above
    return with_metadata(network, n_channels, image_size)


def _first_convolution(n_in, n_out):
    convolution = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def small_cnn(n_channels: int = 3, width: int = 32, image_size: int = 32) -> Module:
    """Make a network of four convolutions with BatchNorm and ReLU, averaged over positions.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the images.
    width : int, default=32
        Channels of the first layer. The last has eight times as many: the features.
    image_size : int, default=32
        Side in pixels, at least 8, to which images are resized by default.

    Returns
    -------
    network : torch.nn.Module
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> import torch
    >>> from skad.backbones import small_cnn
    >>> small_cnn(width=4)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 32])
    """
    check_numbers("small_cnn", n_channels=n_channels, width=width)
    check_size("small_cnn", image_size)
    return with_metadata(_SmallCNN(n_channels, width), n_channels, image_size)


class _SmallCNN(nn.Module):
    def __init__(self, n_channels, width):
        super().__init__()
        self.layer1 = _convolution(n_channels, width, stride=1)
        self.layer2 = _convolution(width, 2 * width, stride=2)
        self.layer3 = _convolution(2 * width, 4 * width, stride=2)
        self.layer4 = _convolution(4 * width, 8 * width, stride=2)

    def forward(self, images):
        return self.layer4(self.layer3(self.layer2(self.layer1(images)))).mean((2, 3))


def _convolution(n_in, n_out, stride):
    convolution = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def wide_resnet(
    n_channels: int = 3,
    depth: int = 16,
    widening: int = 4,
    dropout: float = 0.3,
    image_size: int = 32,
) -> Module:
    """Make a Wide ResNet, by default WRN-16-4: 16, 32 and 64 channels, times `widening`.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the images.
    depth : int, default=16
        Number of layers, 6 n + 4.
    widening : int, default=4
        Factor of the channels. There are 64 times as many features.
    dropout : float in [0, 1), default=0.3
        Dropout between the two convolutions of a block.
    image_size : int, default=32
        Side in pixels, at least 8, to which images are resized by default.

    Returns
    -------
    network : torch.nn.Module
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016.

    Examples
    --------
    >>> import torch
    >>> from skad.backbones import wide_resnet
    >>> wide_resnet(depth=10, widening=1)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 64])
    """
    check_numbers("wide_resnet", n_channels=n_channels, depth=depth, widening=widening)
    check_size("wide_resnet", image_size)
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"wide_resnet: depth must be 6 n + 4, as 10, 16 or 28; got {depth}.")
    if not isinstance(dropout, Real) or not 0 <= dropout < 1:
        raise ValueError(f"wide_resnet: dropout must be in [0, 1); got {dropout!r}.")
    network = _WideResNet(n_channels, (depth - 4) // 6, widening, dropout)
    return with_metadata(network, n_channels, image_size, std=0.5)  # pixels in [-1, 1] (MHRot)


class _WideResNet(nn.Module):
    def __init__(self, n_channels, n_blocks, widening, dropout):
        super().__init__()
        widths = [16, 16 * widening, 32 * widening, 64 * widening]
        self.stem = nn.Conv2d(n_channels, 16, 3, padding=1, bias=False)
        for index, (n_in, n_out) in enumerate(pairwise(widths)):
            blocks = [_WideBlock(n_in, n_out, 1 if index == 0 else 2, dropout)]
            blocks += [_WideBlock(n_out, n_out, 1, dropout) for _ in range(n_blocks - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.norm = nn.BatchNorm2d(widths[-1])
        # As timm has it, so that the stem belongs to the first stage and the end to the last.
        self.feature_info = [
            {"module": f"layer{index + 1}", "num_chs": width, "reduction": 2**index}
            for index, width in enumerate(widths[1:])
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images):
        maps = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return nn.functional.relu(self.norm(maps)).mean((2, 3))


class _WideBlock(nn.Module):
    """BatchNorm, ReLU and convolution twice, with dropout between, beside the identity."""

    def __init__(self, n_in, n_out, stride, dropout):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        same = n_in == n_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, maps):
        active = nn.functional.relu(self.norm1(maps))
        beside = maps if self.shortcut is None else self.shortcut(active)
        active = nn.functional.relu(self.norm2(self.conv1(active)))
        return self.conv2(self.dropout(active)) + beside
