"""Work that nobody asked for is not done: what is known is not computed, read or digested again."""

import sqlite3

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone

from skad import (
    MSC,
    CompactnessAdapter,
    FeatureExtractor,
    MeanShiftedContrastive,
    SelfSupervisedAdapter,
)
from skad.images import _items
from skad.networks import _fitted
from skad.training import _checkpoint, _images

from .instances import HEADS, SMALL, SMALLEST


@pytest.fixture
def files(tiles, tmp_path):
    """Paths of images."""
    found = []
    for i, tile in enumerate(tiles[:12]):
        found.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(tile).save(found[-1])
    return found


def counted(monkeypatch, module, name):
    """Calls of a function of a module, as a list that grows."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a, **k: calls.append(a) or function(*a, **k))
    return calls


class Counted(torch.nn.Conv2d):
    """A layer that counts the batches that it computes."""

    calls = 0

    def forward(self, images):
        Counted.calls += 1
        return super().forward(images)


def counting_network():
    """Three convolutions, the first of which counts."""
    parts = [Counted(3, 8, 3, 2), torch.nn.Conv2d(8, 8, 3, 2), torch.nn.Conv2d(8, 8, 3, 2)]
    return torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_frozen_stages_are_not_computed_at_each_step(tiles):
    calls = []
    for n_steps in (2, 40):
        before = Counted.calls
        extractor = FeatureExtractor(counting_network, image_size=32)
        CompactnessAdapter(extractor, n_steps=n_steps, trainable="last").fit(tiles[:12])
        calls.append(Counted.calls - before)
    assert calls[0] == calls[1]


def test_the_network_is_left_as_it_was(tiles):
    adapter = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=2).fit(tiles[:12])
    assert not [m for m in adapter.network_.modules() if "forward" in vars(m)]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in adapter.network_.modules())


@pytest.mark.parametrize(
    "adapter",
    [
        CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=3),
        MeanShiftedContrastive(FeatureExtractor(**SMALL), n_steps=3),
    ],
    ids=lambda one: type(one).__name__,
)
def test_nothing_is_digested_without_a_checkpoint(adapter, tiles, tmp_path, monkeypatch):
    digests = counted(monkeypatch, _images, "_key")
    prints = counted(monkeypatch, _checkpoint, "network_fingerprint")
    prints_of_features = counted(monkeypatch, _fitted, "network_fingerprint")
    clone(adapter).fit(tiles[:12])
    assert not digests + prints + prints_of_features
    clone(adapter).set_params(checkpoint=tmp_path).fit(tiles[:12])
    assert len(digests) == 12
    assert len(prints) == 1


AUGMENTING = [
    MSC(**SMALL, n_steps=8, batch_size=4),
    SelfSupervisedAdapter(FeatureExtractor(**SMALLEST), n_steps=8, batch_size=4, **HEADS),
]


@pytest.mark.parametrize("estimator", AUGMENTING, ids=lambda one: type(one).__name__)
def test_files_are_decoded_once_within_the_memory_limit(estimator, files, monkeypatch):
    opened = counted(monkeypatch, _items.ImageItems, "_open")
    kept = clone(estimator).fit(files).training_curve_["loss"]
    # Before training, and for the features of the trained network.
    assert len(opened) <= 2 * len(files)
    few = len(opened)
    anew = clone(estimator).set_params(memory_limit=0).fit(files).training_curve_["loss"]
    assert len(opened) - few >= 8 * 4, "at each step"
    np.testing.assert_array_equal(kept, anew)


def test_the_cache_is_opened_once_for_all_batches(tiles, tmp_path, monkeypatch):
    extractor = FeatureExtractor(**SMALL, memory=tmp_path, batch_size=4).fit(tiles)
    opened = counted(monkeypatch, sqlite3, "connect")
    prints = counted(monkeypatch, _fitted, "network_fingerprint")
    expected = extractor.transform(tiles[:16])
    assert len(opened) == 1
    assert len(prints) == 1
    np.testing.assert_array_equal(extractor.transform(tiles[:16]), expected)


@pytest.mark.parametrize("damage", [lambda row: row[:-5], lambda row: row[:4] + b"1" + row[5:]])
def test_damaged_rows_of_the_cache_are_computed_again(damage, tiles, tmp_path):
    extractor = FeatureExtractor(**SMALL, memory=tmp_path).fit(tiles)
    expected = extractor.transform(tiles[:8])
    with sqlite3.connect(tmp_path / "skad_features.sqlite") as connection:
        connection.create_function("damage", 1, damage)
        connection.execute("UPDATE features SET row = damage(row)")
    np.testing.assert_array_equal(extractor.transform(tiles[:8]), expected)
    np.testing.assert_array_equal(extractor.transform(tiles[:8]), expected)
