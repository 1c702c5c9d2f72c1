"""Networks trained from random weights: small ones, digits, and what tests share."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skad import (
    NSA,
    AutoencoderAdapter,
    DeepSVDDAdapter,
    FeatureExtractor,
    RotationAdapter,
    SelfSupervisedAdapter,
)
from skad.backbones import small_cnn, svdd_mnist
from skad.networks._preprocessing import preprocess
from skad.training import _run as _run

NET = partial(small_cnn, width=4, image_size=8)
CODER = partial(svdd_mnist, image_size=8, code_dim=16)


HEADS = {"projector_widths": [16, 16], "predictor_widths": [8]}
STEPS = {"n_steps": 4, "batch_size": 10}


def extractor(backbone=NET, **parameters):
    return FeatureExtractor(backbone, weights=None, **parameters)


def siamese(objective="simsiam", **parameters):
    defaults = {"extractor": extractor(), "learning_rate": 1e-2, **STEPS, **HEADS}
    return SelfSupervisedAdapter(**defaults | {"objective": objective} | parameters)


def autoencoder(**parameters):
    defaults = {"extractor": extractor(CODER), "learning_rate": 1e-2, **STEPS}
    return AutoencoderAdapter(**defaults | parameters)


def svdd(**parameters):
    defaults = {"extractor": extractor(CODER), "learning_rate": 1e-2, **STEPS}
    return DeepSVDDAdapter(**defaults | parameters)


def rotation(**parameters):
    defaults = {"extractor": extractor(), "learning_rate": 1e-2, **STEPS}
    return RotationAdapter(**defaults | parameters)


SOFT = {"objective": "soft_boundary", "warm_up_epochs": 0}
KINDS = {
    "simsiam": siamese,
    "simclr": partial(siamese, "simclr"),
    "byol": partial(siamese, "byol"),
    "autoencoder": autoencoder,
    "svdd": svdd,
    "soft svdd": partial(svdd, **SOFT),
    "rotation": rotation,
}
every = pytest.mark.parametrize("kind", KINDS)


def copies(tensors):
    return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def untrained(adapter, images):
    """The network before training, on the CPU."""
    return clone(adapter.extractor).fit(images).network_.cpu()


def prepared(fitted, images):
    """What the network sees of grey images."""
    batch = torch.from_numpy(np.asarray(images, dtype=np.float32))[:, None]
    return preprocess(batch, fitted.preprocessing_, torch.device("cpu"))


class Keep:
    """An augmentation that only keeps the image, and what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch, generator):
        if isinstance(batch, list):
            self.seen.append([tuple(image.shape) for image in batch])
            side = min(min(image.shape[1:]) for image in batch)
            batch = torch.stack([image[:, :side, :side] for image in batch])
        else:
            self.seen.append(batch.clone().cpu())
        batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
        return nn.functional.interpolate(batch, (8, 8))


ADAPTERS = {
    "simsiam": SelfSupervisedAdapter,
    "simclr": SelfSupervisedAdapter,
    "byol": SelfSupervisedAdapter,
    "autoencoder": AutoencoderAdapter,
    "svdd": DeepSVDDAdapter,
    "soft svdd": DeepSVDDAdapter,
    "rotation": RotationAdapter,
}


class Drawn(nn.Module):
    """A decoder that draws one picture, whatever the code: what is learned is the mean image."""

    def __init__(self, side=8, n_channels=1):
        super().__init__()
        self.image = nn.Parameter(torch.zeros(n_channels, side, side))

    def forward(self, codes):
        return self.image.expand(len(codes), -1, -1, -1) + 0 * codes.sum()


# Of a network for 8 x 8 pixels: channels, and sides of the maps.
WIDTHS, SIDES = (4, 8, 16, 32), (8, 4, 2, 1)


def nsa(**parameters):
    defaults = {"backbone": NET, "learning_rate": 0.01, **STEPS, **HEADS}
    return NSA(**defaults | parameters)
