"""The embedded network for inspection: what it promises of edges, and of its maps."""

import numpy as np
import pytest
import torch

from skad import DN2, PaDiM, PatchCore
from skad.networks._dense import tiny_dense
from skad.networks._recipe import build_network


def test_its_maps_are_where_they_say():
    network = build_network("tiny-dense")
    assert sum(parameter.numel() for parameter in network.parameters()) < 4e6
    images = torch.rand(2, 3, 96, 160)
    with torch.inference_mode():
        maps = network.maps(images)
        assert [tuple(one.shape[1:]) for one in maps] == [
            (network.map2.out_channels, 12, 20),
            (network.map3.out_channels, 6, 10),
            (network.num_features, 3, 5),
        ]
        torch.testing.assert_close(network(images), maps[-1].mean((2, 3)))
        for stage in network.feature_info:
            found = dict(network.named_modules())[stage["module"]]
            assert isinstance(found, torch.nn.Module)


def test_a_flat_picture_has_no_edges():
    network = build_network("tiny-dense")
    with torch.inference_mode():
        for value in (-1.0, 0.0, 0.7):
            for one in network.maps(torch.full((1, 3, 128, 128), value)):
                spread = (one - one.mean((2, 3), keepdim=True)).abs().max()
                assert spread <= 1e-3 * one.abs().max()


def textures(n, seed=0):
    rng = np.random.RandomState(seed)
    noise = rng.normal(size=(n, 128, 128))
    noise = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) / 3
    return np.clip(128 + 40 * noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", [PatchCore, PaDiM])
def test_corners_are_not_hot(kind):
    detector = kind("tiny-dense", image_size=128, random_state=0).fit(textures(24))
    maps = -detector.score_maps(textures(12, seed=1))
    corners = np.mean([maps[:, i, j] for i in (slice(8), slice(-8, None)) for j in (0, -1)])
    assert corners <= 1.1 * maps[:, 32:96, 32:96].mean()


def test_detectors_take_the_layers_that_it_names(tiles):
    detector = PatchCore("tiny-dense", image_size=64, coreset_share=0.1).fit(tiles[24:30])
    assert detector.layers_ == ["map2", "map3"]
    assert DN2("tiny-dense", image_size=64).fit(tiles[24:]).pipeline_[0].tap_widths_ == [256]


def test_it_is_drawn_by_the_seed_alone():
    torch.manual_seed(0)
    state = tiny_dense().state_dict()
    torch.manual_seed(0)
    again = tiny_dense().state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
