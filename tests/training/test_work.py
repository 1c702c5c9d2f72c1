"""Work that nobody asked for is not done."""

import sqlite3
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch import nn

from skad import (
    MSC,
    NSA,
    PANDA,
    CompactnessAdapter,
    FeatureExtractor,
    MeanShiftedContrastive,
    SelfSupervisedAdapter,
)
from skad.images._items import ImageItems
from skad.networks import _fitted
from skad.networks._cut import CutNetwork
from skad.training import _checkpoint, _images
from tests.instances import HEADS, SMALLEST
from tests.networks.test_stages import NETWORKS, fitted, noise
from tests.test_parameters import ESTIMATORS


class Told(nn.Conv2d):
    """A convolution that counts its calls."""

    calls = 0

    def forward(self, images):
        Told.calls += 1
        return super().forward(images)


class Frozen(nn.Module):
    """A network whose front counts, works in place, and has an activation that all stages share."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Told(3, 6, 3), nn.Sequential(Told(6, 6, 3), Told(6, 6, 3))
        self.third, self.last = nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, images):
        front = self.act(self.first(images).add_(1))
        return self.last(self.act(self.third(self.act(self.second(front))))).mean((2, 3))


class Twice(Frozen):
    """The same, its front being called once more behind the cut."""

    def forward(self, images):
        front = self.act(self.first(images))
        return self.last(self.first(self.third(front)[:, :3])).mean((2, 3))


@pytest.mark.parametrize("adapter", [CompactnessAdapter, MeanShiftedContrastive])
def test_frozen_modules_are_not_run_for_the_steps(adapter, tiles):
    def calls(n_steps):
        extractor = FeatureExtractor(Frozen, weights=None, image_size=16)
        Told.calls = 0
        adapter(extractor, n_steps=n_steps, batch_size=4).fit(tiles[:8])
        return Told.calls

    calls(1)
    each = {CompactnessAdapter: 0, MeanShiftedContrastive: 3}[adapter]  # views are new images
    looks = calls(2) - calls(1)  # none within the first steps
    assert looks == each
    assert calls(7) - calls(2) == 5 * each


@pytest.mark.parametrize("name", NETWORKS)
def test_the_answers_of_frozen_modules_are_what_they_compute(name):
    backbone, size, _ = NETWORKS[name]
    extractor = fitted(backbone, size)
    cut = CutNetwork(extractor.fitted_network_, "last_two", "owner")
    hidden = cut.frozen_part(noise(extractor))
    assert cut._answers
    found = cut.trained_part(hidden.clone()), cut.trained_part(hidden.clone())
    assert not any("forward" in vars(module) for module in extractor.network_.modules())
    cut._answers = {}
    computed = cut.trained_part(hidden.clone())
    assert torch.equal(found[0], computed)
    assert torch.equal(found[1], computed)


def test_a_module_that_is_called_behind_the_cut_too_computes():
    images = np.random.RandomState(0).randint(0, 256, (5, 40, 40, 3)).astype(np.uint8)
    network = FeatureExtractor(Twice, weights=None, image_size=16).fit(images).fitted_network_
    cut = CutNetwork(network, ["third", "last"], "owner")
    assert cut.entry == "third"
    assert not any(isinstance(module, Told) for module in cut._answers)


def test_a_network_in_training_mode_computes():
    extractor = fitted(*NETWORKS["resnet"][:2])
    cut = CutNetwork(extractor.fitted_network_, "last", "owner")
    hidden = cut.frozen_part(noise(extractor))
    extractor.network_.train()
    before = extractor.network_.bn1.running_mean.clone()
    cut.trained_part(hidden)
    assert not torch.equal(extractor.network_.bn1.running_mean, before)


def counted(monkeypatch, owner, name):
    """Calls of a function of a module or a class."""
    calls, function = [], getattr(owner, name)

    def counting(*given, **named):
        calls.append(given)
        return function(*given, **named)

    monkeypatch.setattr(owner, name, counting)
    return calls


@pytest.mark.parametrize("detector", [PANDA, MSC])
def test_nothing_is_digested_without_a_checkpoint(detector, tiles, monkeypatch, tmp_path):
    images = counted(monkeypatch, _images, "_key")
    networks = [
        counted(monkeypatch, module, "network_fingerprint") for module in (_checkpoint, _fitted)
    ]
    made = detector("test_resnet", weights=None, image_size=32, batch_size=4, memory_limit=0)
    if detector is PANDA:
        made.set_params(n_steps=3)
    else:
        made.set_params(n_epochs=1)
    made.fit(tiles[:8])
    assert not images
    assert not any(networks)
    made.set_params(checkpoint=tmp_path).fit(tiles[:8])
    assert len(images) == 8
    assert networks[0]


def test_what_trains_has_a_memory_limit():
    trained = [one for one in ESTIMATORS if "checkpoint" in one._get_param_names()]
    assert len(trained) > 15
    assert [one for one in trained if "memory_limit" not in one._get_param_names()] == []


@pytest.mark.parametrize("adapter", [MeanShiftedContrastive, SelfSupervisedAdapter])
@pytest.mark.parametrize("n_kept", [8, 3, 0])
def test_files_are_decoded_once_where_they_fit(n_kept, adapter, tiles, monkeypatch, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path, tile in zip(paths, tiles):
        Image.fromarray(tile).save(path)
    decoded = counted(monkeypatch, ImageItems, "_decode")
    extractor = FeatureExtractor("test_resnet", weights=None, image_size=32)
    adapter = adapter(extractor, n_epochs=3, batch_size=4)
    adapter.set_params(memory_limit=n_kept * tiles[0].nbytes / 2**20).fit(paths)
    times = Counter(str(path) for _, path, *_ in decoded)
    assert [times[str(path)] for path in paths[:n_kept]] == [1] * n_kept
    # First features, those that are watched, and a view in each of three epochs.
    assert [times[str(path)] for path in paths[n_kept:]] == [5] * (8 - n_kept)
    from_arrays = clone(adapter).fit(list(tiles[:8])).transform(tiles)
    np.testing.assert_array_equal(adapter.transform(tiles), from_arrays)


def test_the_memory_is_opened_once(tiles, monkeypatch, tmp_path):
    opened = counted(monkeypatch, sqlite3, "connect")
    extractor = FeatureExtractor(image_size=32, batch_size=5, memory=tmp_path).fit(tiles)
    extractor.transform(tiles)
    assert len(opened) == 1


@pytest.mark.parametrize("damage", ["length", "bytes", "key", "kind"])
def test_damaged_rows_are_computed_again(damage, tiles, tmp_path):
    extractor = FeatureExtractor(image_size=32, memory=tmp_path).fit(tiles)
    found = extractor.transform(tiles[:3])
    (file,) = tmp_path.iterdir()
    with sqlite3.connect(file) as connection:
        rows = dict(connection.execute("SELECT key, row FROM features"))
        (first, row), (_, other), *_ = rows.items()
        damaged = {
            "length": row[:-4],
            "bytes": bytes([row[0] ^ 1]) + row[1:],
            "key": other,
            "kind": "text",
        }
        connection.execute("UPDATE features SET row = ? WHERE key = ?", (damaged[damage], first))
    connection.close()
    again = extractor.transform(tiles[:3])
    np.testing.assert_allclose(again, found, atol=1e-6)
    np.testing.assert_array_equal(extractor.transform(tiles[:3]), again)
    with sqlite3.connect(file) as connection:
        repaired = dict(connection.execute("SELECT key, row FROM features"))
    connection.close()
    assert repaired.keys() == rows.keys()
    assert len(repaired[first]) == len(row)


def test_memory_for_files_makes_no_difference(tiles, monkeypatch, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path, tile in zip(paths, tiles):
        Image.fromarray(tile).save(path)
    decoded = counted(monkeypatch, ImageItems, "_decode")
    counts, scores = [], []
    for limit in (0, 2048):
        detector = NSA(**SMALLEST, **HEADS, n_epochs=4, batch_size=4, memory_limit=limit)
        scores.append(detector.fit(paths).score_samples(tiles))
        counts.append(len(decoded) - sum(counts))
    np.testing.assert_array_equal(*scores)
    assert counts[1] == 2 * len(paths), "for the training, and for its features afterwards"
    assert counts[0] > counts[1]
