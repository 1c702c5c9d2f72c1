"""DEC and SCAN: small networks, digits, and what tests share."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from skad import (
    DEC,
    SCAN,
    AutoencoderAdapter,
    FeatureExtractor,
    SelfSupervisedAdapter,
)
from skad.backbones import clad_small, small_cnn, svdd_mnist
from skad.training import _run as _run

NET = partial(small_cnn, width=4, image_size=8)
CODER = partial(svdd_mnist, image_size=8, code_dim=16)
ENCODER = partial(clad_small, image_size=8, code_dim=5)
SEED = int(check_random_state(0).randint(2**31))  # what is made of random_state=0


def extractor(backbone=NET, **parameters):
    return FeatureExtractor(backbone, weights=None, **parameters)


def dec(**parameters):
    defaults = {"n_clusters": 3, "n_steps": 6, "batch_size": 10, "update_interval": 2}
    defaults |= {"extractor": extractor(CODER), "tolerance": 0.0}
    return DEC(**defaults | parameters)


def scan(**parameters):
    defaults = {"n_clusters": 3, "n_neighbors": 4, "augmentation": None, "n_epochs": 3}
    defaults |= {"batch_size": 10, "learning_rate": 1e-2, "threshold": 0.2}
    defaults |= {"n_self_labelling_epochs": 2, "self_labelling_batch_size": 15}
    return SCAN(**defaults | {"extractor": extractor()} | parameters)


def autoencoder(**parameters):
    settings = {"n_steps": 3, "batch_size": 10, "learning_rate": 1e-2} | parameters
    return AutoencoderAdapter(extractor(ENCODER), **settings)


def simclr(**parameters):
    settings = {"n_steps": 3, "batch_size": 10, "learning_rate": 1e-2, "collapse_limit": 0.0}
    settings |= {"projector_widths": [16, 8], "normalize": False} | parameters
    return SelfSupervisedAdapter(extractor(), objective="simclr", **settings)


KINDS = {
    "dec": dec,
    "dec of an autoencoder": partial(dec, extractor=autoencoder()),
    "scan": scan,
    "scan, head": partial(scan, trainable="head"),
    "scan, strong": partial(scan, augmentation="strong"),
}
every = pytest.mark.parametrize("kind", KINDS)


def copies(tensors):
    return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def untrained(clusterer, images):
    """With the network on the CPU, where slow trainings go on from it."""
    fitted = clone(clusterer.extractor).fit(images)
    fitted.network_.cpu()
    return fitted


def nearest(rows, n):
    """Places of the n rows nearest to each by cosine, one row at a time."""
    rows = np.asarray(rows, dtype=np.float64)
    found = []
    for i, row in enumerate(rows):
        cosines = [row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in rows]
        cosines[i] = -np.inf
        found.append(np.argsort(cosines)[::-1][:n])
    return np.array(found)


class Views:
    """An augmentation that only keeps what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch, generator):
        self.seen.append(batch.clone().cpu())
        return batch.float()
