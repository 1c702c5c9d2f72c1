"""CLAD's autoencoders."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torch.nn import functional

from .._types import Module, Tensor
from ._made import check_numbers, check_size, with_metadata

HIDDEN = 512  # outputs of the linear layer before the code

# Outputs of the convolutions as multiples of the image's channels, and those with pooling behind.
SMALL, LARGE = (4, 8, 16), (16, 16, 32, 32, 64, 64)
SMALL_POOLS, LARGE_POOLS = (0, 1), (1, 3)


class CLADNetwork(nn.Module):
    """CLAD's encoder: 3 x 3 convolutions with ELU, two poolings, and two linear layers.

    The authors' program draws the code of an image from a mean and a standard deviation, without a
    term that would keep the deviation from vanishing. Here the code is the mean.

    Parameters
    ----------
    n_channels : int
        Channels of the images.
    widths : sequence of int
        Output channels of the convolutions.
    pools : sequence of int
        Indices of the convolutions that are followed by pooling.
    norm : bool
        Whether BatchNorm follows each convolution.
    code_dim : int
        Length of the code.
    image_size : int
        Side of the images, in pixels.
    """

    def __init__(
        self,
        n_channels: int,
        widths: Sequence[int],
        pools: Sequence[int],
        norm: bool,
        code_dim: int,
        image_size: int,
    ) -> None:
        super().__init__()
        self.arguments = (n_channels, tuple(widths), tuple(pools), norm, code_dim, image_size)
        self.dropout = nn.Dropout(0.1)
        for index, (n_in, n_out) in enumerate(pairwise([n_channels, *widths])):
            layer = [*_convolution(n_in, n_out, norm), nn.ELU()]
            layer += [nn.MaxPool2d(2)] if index in pools else []
            self.add_module(f"layer{index + 1}", nn.Sequential(*layer))
        side = image_size // 2 ** len(pools)
        self.hidden = nn.Linear(widths[-1] * side * side, HIDDEN)
        self.code = nn.Linear(HIDDEN, code_dim)
        self.apply(_xavier)

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
        dropout, *layers, hidden, code = self.children()
        maps = dropout(images)
        for layer in layers:
            maps = layer(maps)
        return code(functional.elu(hidden(maps.flatten(1))))

    def make_decoder(self) -> Module:
        """Make a new decoder, from codes to images, with a linear last layer.

        The authors' program ends it with a sigmoid, although its images are standardised: an error
        that training cannot remove.

        Returns
        -------
        decoder : torch.nn.Module
            The decoder, with random weights.
        """
        return CLADDecoder(*self.arguments)


class CLADDecoder(nn.Module):
    """The encoder in reverse, with nearest upsampling in the place of pooling."""

    decoder_range = "any"  # it draws what the network sees

    def __init__(self, n_channels, widths, pools, norm, code_dim, image_size):
        super().__init__()
        self.side, self.width = image_size // 2 ** len(pools), widths[-1]
        self.hidden = nn.Linear(code_dim, HIDDEN)
        self.first = nn.Linear(HIDDEN, self.width * self.side**2)
        reverse = [*reversed(widths), n_channels]
        self.convolutions = nn.ModuleList(
            nn.Sequential(*_convolution(i, o, norm), nn.ELU()) for i, o in pairwise(reverse[:-1])
        )
        self.last = nn.Conv2d(reverse[-2], n_channels, 3, padding=1)
        # Sides of the maps that enter each convolution.
        self.sides = []
        for index in reversed(range(len(widths))):
            self.sides.append(image_size // 2 ** sum(pool < index for pool in pools))
        self.apply(_xavier)

    def forward(self, codes):
        maps = functional.elu(self.first(functional.elu(self.hidden(codes))))
        maps = maps.unflatten(1, (self.width, self.side, self.side))
        for convolution, side in zip([*self.convolutions, None], self.sides):
            if maps.shape[-1] != side:
                maps = functional.interpolate(maps, size=(side, side))
            maps = self.last(maps) if convolution is None else convolution(maps)
        return maps


def _convolution(n_in, n_out, norm):
    convolution = nn.Conv2d(n_in, n_out, 3, padding=1)
    return [convolution, nn.BatchNorm2d(n_out)] if norm else [convolution]


def _xavier(module):
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def clad_small(n_channels: int = 1, image_size: int = 28, code_dim: int = 100) -> CLADNetwork:
    """Make CLAD's smaller encoder, for grey images: three convolutions.

    Parameters
    ----------
    n_channels : int, default=1
        Channels of the images.
    image_size : int, default=28
        Side of the images in pixels, at least 8.
    code_dim : int, default=100
        Length of the code.

    Returns
    -------
    network : CLADNetwork
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    Park et al., CLAD.

    Examples
    --------
    >>> import torch
    >>> from skad.backbones import clad_small
    >>> network = clad_small(code_dim=10)
    >>> codes = network(torch.zeros(2, 1, 28, 28))
    >>> codes.shape, network.make_decoder()(codes).shape
    (torch.Size([2, 10]), torch.Size([2, 1, 28, 28]))
    """
    return _make("clad_small", n_channels, SMALL, SMALL_POOLS, False, code_dim, image_size)


def clad_large(n_channels: int = 3, image_size: int = 32, code_dim: int = 100) -> CLADNetwork:
    """Make CLAD's larger encoder, for colour images: six convolutions with BatchNorm.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the images.
    image_size : int, default=32
        Side of the images in pixels, at least 8.
    code_dim : int, default=100
        Length of the code.

    Returns
    -------
    network : CLADNetwork
        The network, with random weights.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    Park et al., CLAD.

    Examples
    --------
    >>> import torch
    >>> from skad.backbones import clad_large
    >>> clad_large()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
    """
    return _make("clad_large", n_channels, LARGE, LARGE_POOLS, True, code_dim, image_size)


def _make(owner, n_channels, multiples, pools, norm, code_dim, image_size):
    check_numbers(owner, n_channels=n_channels, code_dim=code_dim)
    check_size(owner, image_size)
    widths = [multiple * n_channels for multiple in multiples]
    network = CLADNetwork(n_channels, widths, pools, norm, code_dim, image_size)
    return with_metadata(network, n_channels, image_size)
