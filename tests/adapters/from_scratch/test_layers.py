"""Layers of networks trained from scratch, and of their heads."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad.training import _run as _run
from tests.adapters.from_scratch.common import WIDTHS, copies, extractor, prepared, siamese

STAGES = ["layer1", "layer2", "layer3", "layer4"]


def test_flattened_layers_are_maps_as_they_are(zeros, others):
    made = extractor(flattened_layers=["layer2", "layer4"]).fit(zeros)
    maps = made.feature_maps(others)
    assert {name: value.shape[1:] for name, value in maps.items()} == {
        "layer2": (8, 4, 4),
        "layer4": (32, 1, 1),
    }
    features = made.transform(others)
    np.testing.assert_array_equal(features[:, :128], maps["layer2"].reshape(12, -1))
    np.testing.assert_array_equal(features[:, 128:], maps["layer4"].reshape(12, -1))
    assert made.tap_widths_ == [128, 32]
    assert made.map_taps_ == [0, 1]
    names = made.get_feature_names_out()
    assert len(names) == 160
    assert names[[0, 127, 128, 159]].tolist() == [
        *("layer2_flat_0", "layer2_flat_127", "layer4_flat_0", "layer4_flat_31")
    ]


def test_flattened_layers_come_after_those_averaged(zeros, others):
    made = extractor(layers=["layer3", "layer1"], flattened_layers=["layer3"]).fit(zeros)
    pooled = extractor(layers=["layer3", "layer1"]).fit_transform(others)
    flat = extractor(flattened_layers=["layer3"]).fit_transform(others)
    np.testing.assert_array_equal(made.transform(others), np.hstack([pooled, flat]))
    assert (made.tap_widths_, made.map_taps_) == ([16, 4, 64], [2])
    assert made.get_feature_names_out()[[0, 16, 20]].tolist() == [
        *("layer3_0", "layer1_0", "layer3_flat_0")
    ]
    assert list(made.feature_maps(others)) == ["layer3", "layer1"]
    assert extractor(layers=["layer3"]).fit(zeros).map_taps_ == []
    plain = extractor().fit(zeros)
    assert (plain.tap_widths_, plain.map_taps_) == ([32], [])


def test_the_cache_tells_flattened_layers_apart(zeros, tmp_path):
    for parameters in ({"flattened_layers": ["layer4"]}, {"layers": ["layer4"]}, {}):
        made = extractor(image_size=16, **parameters)
        expected = clone(made).fit_transform(zeros)
        for _ in range(2):
            found = clone(made).set_params(memory=tmp_path).fit_transform(zeros)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["layers", "flattened_layers"])
def test_no_layers_and_layers_that_there_are_not(name, zeros):
    with pytest.raises(ValueError, match=f"^{name} is empty; name at least one, or give None"):
        extractor(**{name: []}).fit(zeros)
    with pytest.raises(ValueError, match="no layer 'layer9'; there are 'layer4', 'layer3'"):
        extractor(**{name: ["layer9"]}).fit(zeros)


@pytest.mark.parametrize("objective", ["simsiam", "simclr", "byol"])
@pytest.mark.parametrize("normalize", [True, False])
def test_layers_of_the_head_are_those_of_the_book(objective, normalize, zeros, others):
    layers = ["projector.0", "projector.1", "layer2"]
    adapter = siamese(objective, normalize=normalize, layers=layers).fit(zeros)
    plain = siamese(objective, normalize=normalize).fit(zeros)
    rows = plain.transform(others).astype(np.float64)
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    head = copies(adapter.network_.state_dict())
    head = {name: value.double().numpy() for name, value in head.items()}

    def linear(rows, layer):
        return rows @ head[f"projector.{layer}.0.weight"].T

    def normed(rows, layer):
        mean, variance = (head[f"projector.{layer}.1.running_{n}"] for n in ("mean", "var"))
        return (rows - mean) / np.sqrt(variance + 1e-5)

    scale, shift = (head[f"projector.0.1.{name}"] for name in ("weight", "bias"))
    first = np.maximum(0, normed(linear(rows, 0), 0) * scale + shift)
    second = linear(first, 1)
    if objective == "simsiam":
        second = normed(second, 1)
        assert "projector.1.1.weight" not in head, "without scale and shift"
    else:
        second = second + head["projector.1.0.bias"]
    found = adapter.transform(others)[:, :32]
    np.testing.assert_allclose(found, np.hstack([first, second]), rtol=1e-3, atol=1e-4)
    assert adapter.tap_widths_ == [16, 16, 8]
    assert adapter.map_taps_ == []


def test_layers_of_the_trained_network(zeros, others):
    adapter = siamese(layers=["layer1"], flattened_layers=["layer3", "layer2"]).fit(zeros)
    network = siamese().fit(zeros).network_.cpu()
    with torch.no_grad():
        maps, x = {}, prepared(adapter.extractor_, others)
        for name in STAGES:
            x = getattr(network, name)(x)
            maps[name] = x.numpy().copy()
    expected = [maps["layer1"].mean((2, 3)), maps["layer3"].reshape(12, -1)]
    expected = np.hstack([*expected, maps["layer2"].reshape(12, -1)])
    np.testing.assert_allclose(adapter.transform(others), expected, rtol=1e-4, atol=1e-5)
    assert (adapter.tap_widths_, adapter.map_taps_) == ([4, 64, 128], [1, 2])
    assert len(adapter.get_feature_names_out()) == 4 + 64 + 128
    only = siamese(flattened_layers=["layer3"]).fit(zeros)
    np.testing.assert_allclose(only.transform(others), expected[:, 4:68], rtol=1e-4, atol=1e-5)


def test_groups_of_layers(zeros):
    flat = [8 * 4 * 4, 16 * 2 * 2, 32]
    for layers, head in (("stages", []), ("ensemble", [16, 16])):
        adapter = siamese(layers=layers).fit(zeros)
        assert adapter.tap_widths_ == [*WIDTHS, *head, *flat]
        indices = range(4 + len(head), 7 + len(head))
        assert adapter.map_taps_ == list(indices)
        assert adapter.transform(zeros).shape == (20, sum(adapter.tap_widths_))
    chosen = siamese(layers="ensemble", flattened_layers=["layer4"]).fit(zeros)
    assert (chosen.tap_widths_, chosen.map_taps_) == ([*WIDTHS, 16, 16, 32], [6])


def test_layers_named_twice(zeros):
    for own in ({"layers": ["layer1"]}, {"flattened_layers": ["layer1"]}):
        for given in ({"layers": "stages"}, {"flattened_layers": ["layer2"]}):
            with pytest.raises(ValueError, match="named twice, by the adapter and by its extra"):
                siamese(extractor=extractor(**own), **given).fit(zeros)
        adapter = siamese(extractor=extractor(**own)).fit(zeros)
        width = 4 if "layers" in own else 4 * 8 * 8
        assert adapter.transform(zeros).shape == (20, width)
        assert adapter.map_taps_ == ([] if "layers" in own else [0])


@pytest.mark.parametrize("name", ["layer9", "projector.2"])
def test_a_layer_that_there_is_not(name, zeros):
    adapter = siamese(layers=["layer1", name])
    with pytest.raises(ValueError, match=f"no layer '.*{name}'; there are '.*'.*"):
        adapter.fit(zeros)
    assert not hasattr(adapter, "extractor_")
