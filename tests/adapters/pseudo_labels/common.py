"""PseudoLabelAdapter: labels, small networks, and what tests share."""

from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from skad import (
    DEC,
    AutoencoderAdapter,
    FeatureExtractor,
    PseudoLabelAdapter,
)
from skad.backbones import small_cnn, svdd_mnist
from skad.training import _run as _run

NET = partial(small_cnn, width=4, image_size=8)
CODER = partial(svdd_mnist, image_size=8, code_dim=16)


SEED = int(check_random_state(0).randint(2**31))  # what is made of random_state=0


class Given(ClusterMixin, BaseEstimator):
    """A clusterer that has its labels beforehand, and keeps what it was given."""

    def __init__(self, labels=None):
        self.labels = labels

    def fit(self, X, y=None):
        self.seen_ = X
        self.labels_ = np.asarray(self.labels)
        return self


def extractor(backbone=NET, **parameters):
    return FeatureExtractor(backbone, weights=None, **parameters)


def pseudo(clusterer=None, **parameters):
    defaults = {"extractor": extractor(), "augmentation": None, "n_epochs": 3, "batch_size": 10}
    defaults |= {"learning_rate": 1e-2, "final_learning_rate": 1e-3, "collapse_limit": 0.0}
    return PseudoLabelAdapter(clusterer=clusterer or kmeans(), **defaults | parameters)


def kmeans(n_clusters=3):
    return KMeans(n_clusters, n_init=1, random_state=0)


def dec(**parameters):
    coder = AutoencoderAdapter(extractor(CODER), n_steps=3, batch_size=10, learning_rate=1e-2)
    settings = {"n_clusters": 3, "n_steps": 4, "batch_size": 10} | parameters
    return DEC(coder, **settings)


def copies(tensors):
    return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def prepared(fitted, images):
    """Images as the network takes them."""
    made = fitted.preprocessing_
    images = np.asarray(images)
    if images.dtype == np.uint8:
        images = images / 255
    batch = torch.from_numpy(images.astype(np.float32))
    batch = batch.permute(0, 3, 1, 2) if batch.ndim == 4 else batch[:, None]
    mean, std = (torch.tensor(v)[:, None, None] for v in (made.mean, made.std))
    return (batch.expand(-1, made.n_channels, -1, -1) - mean) / std


def weights_of(adapter):
    network = copies(adapter.network_.state_dict())
    state = {f"network.{name}": value for name, value in network.items()}
    return state | {
        "head.weight": torch.from_numpy(adapter.coef_),
        "head.bias": torch.from_numpy(adapter.intercept_),
    }


def assert_close(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name, **tolerance)
