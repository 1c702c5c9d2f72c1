"""DeepSVDD's networks: encoders without biases, and the decoders that they are trained with."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from .._types import Module, Tensor
from ._made import check_numbers, check_size, with_metadata

SLOPE = 0.01  # of the leaky ReLU

# Side of the map that a code is laid out as, to be decoded.
CODE_SIDE = 4


class SVDDNetwork(nn.Module):
    """DeepSVDD's encoder: 5 x 5 convolutions with BatchNorm, leaky ReLU and pooling; a linear map.

    Layers have no bias, and BatchNorm has no scale and shift. With them the network could map every
    image to the centre of DeepSVDD.

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    widths : sequence of int
        Output channels of the convolutions.
    code_dim : int
        Length of the code, a multiple of 16.
    image_size : int
        Side of the images, in pixels.
    bottleneck_norm : bool
        Whether the decoder begins with BatchNorm.
    """

    def __init__(
        self,
        n_channels: int,
        widths: Sequence[int],
        code_dim: int,
        image_size: int,
        bottleneck_norm: bool,
    ) -> None:
        super().__init__()
        self.arguments = (n_channels, tuple(widths), code_dim, image_size, bottleneck_norm)
        for index, (n_in, n_out) in enumerate(pairwise([n_channels, *widths])):
            layer = nn.Sequential(
                nn.Conv2d(n_in, n_out, 5, padding=2, bias=False),
                _norm(n_out),
                nn.LeakyReLU(SLOPE),
                nn.MaxPool2d(2),
            )
            self.add_module(f"layer{index + 1}", layer)
        side = image_size // 2 ** len(widths)
        self.code = nn.Linear(widths[-1] * side * side, code_dim, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the codes of images.

        Parameters
        ----------
        images : torch.Tensor of shape (N, n_channels, image_size, image_size)
            Images as the preprocessing gives them.

        Returns
        -------
        codes : torch.Tensor of shape (N, code_dim)
            One row for each image.
        """
        *layers, code = self.children()
        maps = images
        for layer in layers:
            maps = layer(maps)
        return code(maps.flatten(1))

    def make_decoder(self) -> Module:
        """Make a new decoder, from codes to images.

        Returns
        -------
        decoder : torch.nn.Module
            The decoder, with random weights.
        """
        decoder = SVDDDecoder(*self.arguments)
        if self.arguments[-1]:
            decoder.apply(_xavier)
        return decoder


class SVDDDecoder(nn.Module):
    """The encoder in reverse, with transposed convolutions and nearest upsampling."""

    decoder_range = "unit"  # it draws images in [0, 1]

    def __init__(self, n_channels, widths, code_dim, image_size, bottleneck_norm):
        super().__init__()
        self.first = nn.BatchNorm1d(code_dim, eps=1e-4, affine=False) if bottleneck_norm else None
        n_in = [code_dim // CODE_SIDE**2, *reversed(widths)]
        n_out = [*reversed(widths), n_channels]
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 5, padding=2, bias=False) for i, o in zip(n_in, n_out)
        )
        self.norms = nn.ModuleList(_norm(width) for width in n_out[:-1])
        # Never below the code's own map, or parts of the code would not reach the image.
        depth = len(widths)
        self.sides = [max(CODE_SIDE, image_size // 2**k) for k in range(depth, -1, -1)]

    def forward(self, codes):
        codes = codes if self.first is None else self.first(codes)
        maps = functional.leaky_relu(codes.unflatten(1, (-1, CODE_SIDE, CODE_SIDE)), SLOPE)
        *inner, last = self.convolutions
        for convolution, norm, side in zip(inner, self.norms, self.sides):
            maps = functional.interpolate(maps, size=(side, side))
            maps = functional.leaky_relu(norm(convolution(maps)), SLOPE)
        side = self.sides[-1]
        return torch.sigmoid(last(functional.interpolate(maps, size=(side, side))))


def _norm(width):
    return nn.BatchNorm2d(width, eps=1e-4, affine=False)


def _xavier(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("leaky_relu", SLOPE))


def svdd_mnist(n_channels: int = 1, image_size: int = 28, code_dim: int = 32) -> SVDDNetwork:
    """Make DeepSVDD's network for MNIST: convolutions of 8 and 4 channels, codes of 32 values.

    Parameters
    ----------
    n_channels : int, default=1
        Channels of the images.
    image_size : int, default=28
        Side of the images in pixels, at least 8.
    code_dim : int, default=32
        Length of the code, a multiple of 16.

    Returns
    -------
    network : SVDDNetwork
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The decoder's maps have the sizes of the encoder's: 7, 14 and 28 pixels. In the authors' program
    they have 8, 16, 14 and 28.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skad.backbones import svdd_mnist
    >>> network = svdd_mnist()
    >>> codes = network(torch.zeros(2, 1, 28, 28))
    >>> codes.shape, network.make_decoder()(codes).shape
    (torch.Size([2, 32]), torch.Size([2, 1, 28, 28]))
    """
    _check("svdd_mnist", n_channels, image_size, code_dim)
    network = SVDDNetwork(n_channels, (8, 4), code_dim, image_size, bottleneck_norm=False)
    return with_metadata(network, n_channels, image_size)


def svdd_cifar(n_channels: int = 3, image_size: int = 32, code_dim: int = 128) -> SVDDNetwork:
    """Make DeepSVDD's network for CIFAR-10: convolutions of 32, 64 and 128 channels.

    Codes have 128 values. Weights are initialised by Xavier's uniform rule with the gain of the
    leaky ReLU (code). The decoder begins with BatchNorm.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the images.
    image_size : int, default=32
        Side of the images in pixels, at least 8.
    code_dim : int, default=128
        Length of the code, a multiple of 16.

    Returns
    -------
    network : SVDDNetwork
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skad.backbones import svdd_cifar
    >>> svdd_cifar()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 128])
    """
    _check("svdd_cifar", n_channels, image_size, code_dim)
    network = SVDDNetwork(n_channels, (32, 64, 128), code_dim, image_size, bottleneck_norm=True)
    return with_metadata(network.apply(_xavier), n_channels, image_size)


def _check(owner, n_channels, image_size, code_dim):
    check_numbers(owner, n_channels=n_channels, code_dim=code_dim)
    check_size(owner, image_size)
    if code_dim % CODE_SIDE**2:
        raise ValueError(f"{owner}: code_dim must be a multiple of 16; got {code_dim}.")
