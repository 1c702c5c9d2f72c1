"""The architecture of the embedded backbone.

It is timm's ``ResNet`` with basic blocks and a deep stem, module by module, and written out here
since timm takes longer to import than all else that a model file needs.
"""

from torch import nn

from ._budget import TINY
from ._embedded import Block, Embedded, convolution

# Channels and blocks of each stage.
_STAGES = ((32, 1), (64, 2), (160, 2), (288, 2))

_STEM = 16


def tiny():
    """Build the bundled image network, with random parameters, in evaluation mode.

    Returns
    -------
    network : Tiny
    """
    return Tiny().eval()


class Tiny(Embedded):
    """A ResNet of 3.8 million parameters for images of 64 pixels.

    There is no pooling after the stem, so that an image of 32 x 32 pixels enlarged to 64 reaches
    the first stage with all its detail. A 1x1 convolution closes the last stage; it is linear, so
    the globally pooled features have either sign. It takes images of any size from 32 pixels up,
    and has the methods and metadata of timm's networks.
    """

    summary_pixel = True  # see skad.networks._taps.without_summary

    def __init__(self):
        super().__init__()
        width = self.num_features = _STAGES[-1][0]
        self.conv1 = nn.Sequential(
            *(*convolution(3, _STEM, 2), nn.ReLU(inplace=True)),
            *(*convolution(_STEM, _STEM), nn.ReLU(inplace=True)),
            nn.Conv2d(_STEM, 2 * _STEM, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(2 * _STEM)
        self.act1 = nn.ReLU(inplace=True)
        self.feature_info = [{"num_chs": 2 * _STEM, "reduction": 2, "module": "act1"}]
        n_in, reduction = 2 * _STEM, 2
        for number, (n_out, n_blocks) in enumerate(_STAGES, 1):
            stride = 1 if number == 1 else 2
            blocks = [Block(n_in, n_out, stride)]
            blocks += [Block(n_out, n_out) for _ in range(n_blocks - 1)]
            name, reduction, n_in = f"layer{number}", reduction * stride, n_out
            self.add_module(name, nn.Sequential(*blocks))
            stage = {"num_chs": n_out, "reduction": reduction, "module": name}
            self.feature_info.append(stage)
        self._close()
        self._draw()
        self.layer4.append(nn.Conv2d(width, width, kernel_size=1))
        self.pretrained_cfg = {
            "architecture": "tiny",
            "input_size": (3, 64, 64),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "num_classes": 0,
            "first_conv": "conv1.0",
            "classifier": "fc",
            "budgets": TINY,
        }

    def _draw(self):
        """Random parameters: blocks begin as identities (He et al.; timm)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.zeros_(module.bn2.weight)

    def forward_features(self, images):
        """Map of the last stage."""
        found = self.act1(self.bn1(self.conv1(images)))
        return self.layer4(self.layer3(self.layer2(self.layer1(found))))
