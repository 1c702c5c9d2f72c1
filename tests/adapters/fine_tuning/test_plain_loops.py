"""Fine-tuning against plain loops."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import CompactnessAdapter, MeanShiftedContrastive
from skad._random import torch_stream
from skad.adapters import _compactness
from skad.augment import ContrastiveAugmentation
from skad.networks._preprocessing import normalize
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.adapters.fine_tuning.common import (
    SEED,
    SEVEN,
    assert_trained_alike,
    compactness,
    contrastive,
    every_adapter,
    extractor,
    features_of,
    plain_training,
    start,
    untrained,
)


@every_adapter
@pytest.mark.parametrize("backbone", [SEVEN, "tiny"], ids=["test_resnet", "tiny"])
def test_only_the_last_stages_and_no_statistics_change(make, backbone, normal, auxiliary):
    adapter = make(extractor=extractor(backbone), weight_decay=0.01, n_steps=2)
    before = untrained(adapter, normal).state_dict()
    after = adapter.fit(normal, **auxiliary(adapter)).network_.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    network = adapter.network_
    stages = ("layer3.", "layer4.")
    if backbone == "tiny" and isinstance(adapter, (CompactnessAdapter, MeanShiftedContrastive)):
        stages = "layer4."  # by its own metadata
    expected = {n for n, _ in network.named_parameters() if n.startswith(stages)}
    assert changed == expected
    assert any(name.endswith("bn1.weight") for name in changed)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_each_stage_may_be_trained(normal):
    adapter = compactness(trainable=["layer2"]).fit(normal)
    before, after = untrained(adapter, normal).state_dict(), adapter.network_.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"layer2"}


def test_other_families_are_trained(normal):
    for backbone, size in [("test_vit", 160), ("test_convnext", 32), ("test_efficientnet", 32)]:
        adapter = compactness(extractor=extractor(backbone, image_size=size), learning_rate=0.01)
        curve = adapter.fit(normal[:8]).training_curve_
        assert curve["center_distance"][-1] < curve["center_distance"][0], backbone


@pytest.mark.parametrize("loss", ["squared", "angular"])
@pytest.mark.parametrize("clip", [0.05, None])
def test_compactness_is_a_plain_loop(loss, clip, normal):
    rate = {"squared": 0.05, "angular": 0.005}[loss]
    adapter = compactness(
        loss=loss, n_steps=7, batch_size=8, clip_norm=clip, weight_decay=0.01, learning_rate=rate
    ).fit(normal)
    fitted, names, x = start(adapter, normal)
    network, sampler = fitted.network_, BatchSampler(len(normal), 8, SEED)
    with torch.no_grad():
        first = features_of(network, x)
    if loss == "angular":
        first = first / first.norm(dim=1, keepdim=True)
    center = first.mean(0)
    if loss == "angular":
        center = center / center.norm()

    def loss_of(step):
        found = features_of(network, x[sampler(step)])
        if loss == "squared":
            return ((found - center) ** 2).sum(1).mean() / found.shape[1]
        return -((found / found.norm(dim=1, keepdim=True)) @ center).mean()

    losses = plain_training(
        network, names, loss_of, 7, rate=rate, momentum=0.9, decay=0.01, clip=clip
    )
    assert_trained_alike(adapter, network, normal)
    np.testing.assert_allclose(adapter.center_, center, rtol=1e-4, atol=1e-6)
    curve = adapter.training_curve_
    np.testing.assert_allclose(curve["loss"][1:], losses, rtol=1e-3)
    assert np.isnan(curve["loss"][0])


@pytest.mark.parametrize(
    ("parameters", "shifted_by", "angular"),
    [
        ({}, "center", 0),
        ({"mean_shift": False, "temperature": 0.5}, "nothing", 0),
        ({"angular_weight": 0.7}, "center", 0.7),
        ({"angular_weight": 0.7, "code_compatible": True}, "direction", 1.4),
        ({"code_compatible": True}, "center", 0),
    ],
    ids=["msc", "nt-xent", "angular", "code", "code without angular"],
)
def test_msc_is_a_plain_loop(parameters, shifted_by, angular, normal):
    adapter = contrastive(n_steps=4, batch_size=7, momentum=0.5, **parameters).fit(normal)
    fitted, names, x = start(adapter, normal)
    network, sampler = fitted.network_, BatchSampler(len(normal), 7, SEED)
    augmentation = ContrastiveAugmentation(32)

    def units_of(images):
        found = features_of(network, images)
        return found / found.norm(dim=1, keepdim=True)

    with torch.no_grad():
        center = units_of(x).mean(0)
    direction = center / center.norm()
    shift = {"center": center, "direction": direction, "nothing": 0 * center}[shifted_by]
    temperature = parameters.get("temperature", 0.25)

    def loss_of(step):
        images = torch.from_numpy(normal[sampler(step)]).permute(0, 3, 1, 2)
        views = augmentation(torch.cat([images] * 2), torch_stream(SEED, "views", step))
        z = units_of(normalize(views, fitted.preprocessing_))
        u, n = z - shift, len(images)
        total = 0
        for i in range(2 * n):
            cosines = torch.cosine_similarity(u[i][None], u) / temperature
            rest = torch.cat([cosines[:i], cosines[i + 1 :]])
            total = total - cosines[(i + n) % (2 * n)] + torch.logsumexp(rest, 0)
        constant = 4 * 0.7 if angular == 1.4 else 0
        return total / (2 * n) - angular * 2 * (z @ direction).mean() + constant

    losses = plain_training(
        network, names, loss_of, 4, rate=0.01, momentum=0.5, decay=5e-5, clip=None
    )
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3)
    assert_trained_alike(adapter, network, normal)
    np.testing.assert_allclose(adapter.center_, center, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("fewest", "every"), [(1, 2), (10, 10)])
def test_the_curve_holds_means_between_looks(fewest, every, normal, monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", fewest)
    losses = []

    def spy(features, center):
        loss = ((features - center) ** 2).mean()
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(_compactness, "compactness_loss", spy)
    curve = compactness(n_steps=45, batch_size=5, learning_rate=0.01).fit(normal).training_curve_
    np.testing.assert_array_equal(curve["step"], [*range(0, 45, every), 45])
    expected = [np.mean(losses[i : i + every]) for i in range(0, 45, every)]
    np.testing.assert_allclose(curve["loss"][1:], expected, rtol=1e-6)
    assert set(curve) == {
        *("step", "loss", "center_distance", "spread", "concentration", "effective_rank"),
        "mmd",
    }
    assert {len(values) for values in curve.values()} == {len(expected) + 1}
    assert np.isnan(curve["loss"][0])


def test_the_curve_ends_with_the_features_that_are_given(normal):
    adapter = compactness().fit(normal)
    for features, index in [
        (clone(adapter.extractor).fit_transform(normal), 0),
        (adapter.transform(normal), -1),
    ]:
        rows = features.astype(np.float64)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        pairs = units @ units.T
        spread = 1 - (pairs.sum() - len(rows)) / (len(rows) * (len(rows) - 1))
        curve = adapter.training_curve_
        assert curve["spread"][index] == pytest.approx(spread, rel=1e-3)
        distance = np.linalg.norm(rows - adapter.center_, axis=1).mean()
        assert curve["center_distance"][index] == pytest.approx(distance, rel=1e-4)


def test_the_center_is_that_of_the_untrained_network(normal):
    adapter = compactness().fit(normal)
    features = clone(adapter.extractor).fit_transform(normal)
    np.testing.assert_allclose(adapter.center_, features.mean(0), rtol=1e-4, atol=1e-6)
    assert not np.allclose(adapter.center_, adapter.transform(normal).mean(0), rtol=1e-3)
