"""What the embedded networks are made of, and what they have in common with timm's."""

from torch import nn


class Embedded(nn.Module):
    """A network whose feature is the mean of its last map; subclasses give `forward_features`."""

    def _close(self):
        """Add what makes a feature of the last map."""
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Identity()

    def get_classifier(self):
        """What only classifies, which is nothing."""
        return self.fc

    def forward_head(self, maps, pre_logits=False):
        """Feature of a map; there are no logits."""
        return self.global_pool(maps) if pre_logits else self.fc(self.global_pool(maps))

    def forward(self, images):
        """Feature of images."""
        return self.forward_head(self.forward_features(images))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, n_in, n_out, stride=1, padding_mode="zeros"):
        super().__init__()
        # Drawn first, as timm does, so that a seed gives the same network.
        around = None
        if stride > 1 or n_in != n_out:
            around = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        self.conv1, self.bn1 = convolution(n_in, n_out, stride, padding_mode)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = convolution(n_out, n_out, 1, padding_mode)
        self.act2 = nn.ReLU(inplace=True)
        self.downsample = around

    def forward(self, maps):
        """Maps of the block."""
        found = self.act1(self.bn1(self.conv1(maps)))
        found = self.bn2(self.conv2(found))
        found += maps if self.downsample is None else self.downsample(maps)
        return self.act2(found)


def convolution(n_in, n_out, stride=1, padding_mode="zeros"):
    """A 3x3 convolution, and what normalises its maps."""
    found = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False, padding_mode=padding_mode)
    return found, nn.BatchNorm2d(n_out)
