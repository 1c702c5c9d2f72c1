"""The architecture of the embedded network for inspection."""

from torch import nn

from ._embedded import Block, Embedded, convolution

# Channels and blocks of each stage, each at half the resolution of the one before.
_STAGES = ((48, 1), (96, 2), (192, 3), (256, 1))

_STEM = 32

# Channels of the maps that two of them are read through, and of the feature.
_WIDTHS = {"map2": 80, "map3": 192}
_FEATURE = 256


def tiny_dense():
    """Build the bundled network for inspection, with random parameters, in evaluation mode.

    Returns
    -------
    network : TinyDense
    """
    return TinyDense().eval()


class TinyDense(Embedded):
    """A residual network of 3.4 million parameters with maps of local features.

    Its maps of an eighth and of a sixteenth of the picture's side are read through 1x1 convolutions
    that are linear, ``map2`` and ``map3``, trained to be those of larger networks at every place.
    At the edge of a picture convolutions go on with what is there, instead of with zeros, so that
    edges and corners are no places of their own. It takes pictures of any size from 32 pixels up,
    best of 128 to 320, and has the methods and metadata of timm's networks.
    """

    map_layers = tuple(_WIDTHS)  # see skad.detectors._map

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*convolution(3, _STEM, 2, "replicate"), nn.ReLU(inplace=True))
        self.feature_info = [{"num_chs": _STEM, "reduction": 2, "module": "stem"}]
        n_in = _STEM
        for number, (n_out, n_blocks) in enumerate(_STAGES, 1):
            blocks = [Block(n_in, n_out, 2, "replicate")]
            blocks += [Block(n_out, n_out, 1, "replicate") for _ in range(n_blocks - 1)]
            name, n_in = f"layer{number}", n_out
            self.add_module(name, nn.Sequential(*blocks))
            stage = {"num_chs": n_out, "reduction": 2 ** (number + 1), "module": name}
            self.feature_info.append(stage)
        for name, width in _WIDTHS.items():
            n_channels = _STAGES[int(name[-1]) - 1][0]
            self.add_module(name, nn.Conv2d(n_channels, width, kernel_size=1))
        self.num_features = _FEATURE
        self.layer4.append(nn.Conv2d(n_in, _FEATURE, kernel_size=1))
        self._close()
        self.pretrained_cfg = {
            "architecture": "tiny-dense",
            "input_size": (3, 192, 192),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "num_classes": 0,
            "first_conv": "stem.0",
            "classifier": "fc",
        }

    def maps(self, images):
        """Maps of local features, and that of the last stage."""
        found = self.layer2(self.layer1(self.stem(images)))
        deep = self.layer3(found)
        return self.map2(found), self.map3(deep), self.layer4(deep)

    def forward_features(self, images):
        """Map of the last stage."""
        return self.maps(images)[-1]
