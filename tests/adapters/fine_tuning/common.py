"""Pretrained networks that are trained further: what tests share."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from skad import (
    MSC,
    PANDA,
    PANDAOE,
    CompactnessAdapter,
    FeatureExtractor,
    JointOptimization,
    JointOptimizationAdapter,
    KNNScorer,
    LogitScorer,
    MeanShiftedContrastive,
    OutlierExposureAdapter,
    SampleWiseScorer,
    VICRegAdapter,
)
from skad.networks._preprocessing import preprocess
from skad.training import _run as _run

CLASSES = np.arange(24) % 4  # of the source images
SEED = int(check_random_state(0).randint(2**31))  # what adapters make of random_state=0
SEVEN = partial(timm.create_model, "test_resnet", num_classes=7)


def extractor(backbone="test_resnet", **parameters):
    return FeatureExtractor(backbone, **{"weights": None, "image_size": 32} | parameters)


def compactness(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "learning_rate": 0.1, "clip_norm": 1.0}
    return CompactnessAdapter(**defaults | parameters)


def contrastive(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 3, "learning_rate": 0.01}
    return MeanShiftedContrastive(**defaults | parameters)


def exposure(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "learning_rate": 0.05, "clip_norm": None}
    return OutlierExposureAdapter(**defaults | parameters)


def joint(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "clip_norm": 1.0, "source_head": "new"}
    return JointOptimizationAdapter(**defaults | parameters)


def vicreg(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 3, "learning_rate": 1e-3}
    return VICRegAdapter(**{"projector_widths": [8, 4]} | defaults | parameters)


EVERY = [compactness, contrastive, exposure, joint, vicreg]
every_adapter = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)


def untrained(adapter, images):
    """The network before training."""
    return clone(adapter.extractor).fit(images).network_


def flat(values):
    """All tensors of an iterable in one row of float64."""
    return torch.cat([value.detach().cpu().double().flatten() for value in values])


def moved(adapter, images):
    """How far training has moved the parameters."""
    before = untrained(adapter, images).parameters()
    return float((flat(adapter.network_.parameters()) - flat(before)).norm())


def assert_same_weights(one, other):
    found, expected = one.network_.state_dict(), other.network_.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def plain_training(network, names, loss_of, n_steps, *, rate, momentum, decay, clip):
    """Stochastic gradient descent as the book has it; the loss is the whole network's."""
    parameters = [dict(network.named_parameters())[name] for name in names]
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    losses = []
    for step in range(n_steps):
        loss = loss_of(step)
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, parameters)
        norm = float(flat(gradients).norm())
        share = 1 if clip is None else min(1, clip / norm)
        with torch.no_grad():
            for parameter, gradient, speed in zip(parameters, gradients, velocity):
                speed.mul_(momentum).add_(gradient * share + decay * parameter)
                parameter.sub_(rate * speed)
    return losses


def features_of(network, images):
    return network.forward_head(network.forward_features(images), pre_logits=True)


def start(adapter, images):
    """Untrained network, its trained parameters' names, and what it sees."""
    fitted = clone(adapter.extractor).fit(images)
    fitted.network_.cpu()
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    names = [n for n, _ in fitted.network_.named_parameters() if n[:6] in ("layer3", "layer4")]
    prepared = preprocess(batch, fitted.preprocessing_, torch.device("cpu"))
    return fitted, names, prepared


def assert_trained_alike(adapter, network, images):
    found, expected = flat(adapter.network_.parameters()), flat(network.parameters())
    way = expected - flat(untrained(adapter, images).parameters())
    assert float((found - expected).norm()) < 1e-3 * float(way.norm())


def elastic(**parameters):
    return compactness(stopping="elastic", **parameters)


SETTINGS = {"backbone": "test_resnet", "weights": None, "image_size": 32, "contamination": 0.2}

DETECTORS = {
    "panda": (PANDA(n_steps=3, **SETTINGS), CompactnessAdapter(n_steps=3), KNNScorer()),
    "angular": (
        PANDA(n_steps=3, loss="angular", clip_norm=0.1, **SETTINGS),
        CompactnessAdapter(n_steps=3, loss="angular", clip_norm=0.1),
        KNNScorer(metric="cosine"),
    ),
    "elastic": (
        PANDA(n_steps=3, stopping="elastic", penalty=10.0, n_neighbors=1, **SETTINGS),
        CompactnessAdapter(n_steps=3, stopping="elastic", penalty=10.0),
        KNNScorer(1),
    ),
    "sample_wise": (
        PANDA(n_steps=3, stopping="sample_wise", n_checkpoints=3, distance="knn", **SETTINGS),
        CompactnessAdapter(n_steps=3, stopping="sample_wise", n_checkpoints=3),
        SampleWiseScorer(3, distance="knn"),
    ),
    "msc": (
        MSC(n_epochs=2, temperature=0.3, learning_rate=0.01, **SETTINGS),
        MeanShiftedContrastive(n_epochs=2, temperature=0.3, learning_rate=0.01),
        KNNScorer(metric="cosine"),
    ),
    "oe": (
        PANDAOE(n_epochs=3, trainable="last", **SETTINGS),
        OutlierExposureAdapter(n_epochs=3, trainable="last"),
        LogitScorer(),
    ),
    "jo": (
        JointOptimization(n_steps=3, source_head="new", compactness_weight=2.0, **SETTINGS),
        JointOptimizationAdapter(n_steps=3, source_head="new", compactness_weight=2.0),
        KNNScorer(),
    ),
}
every_detector = pytest.mark.parametrize("name", DETECTORS)
