"""Big pictures in tiles, and at several scales."""

import numpy as np
import pytest
import torch
from torch import nn

from skad import SPADE, FeatureExtractor, MapDetector, PatchCore
from skad.adapters import CompactnessAdapter
from skad.maps import CoresetPixels
from skad.networks._tiling import Tiling


class Boxes(nn.Module):
    """Means of boxes of 8 x 8 pixels: what a pixel of the map is looks at no other."""

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 8)


class Convolutions(nn.Module):
    """Reaches 7 pixels to either side, zeros beyond the edges."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return self.last(self.stem(images).relu())


def big_pictures(n=3, side=256):
    from sklearn.datasets import load_sample_images

    flower = load_sample_images().images[1]
    return np.stack([flower[100 + 8 * i :, 20 * i :][:side, :side] for i in range(n)])


def maps_of(backbone, pictures, **settings):
    found = FeatureExtractor(backbone, resize="whole", random_state=0, **settings).fit(pictures)
    return found.feature_maps(pictures)


@pytest.mark.parametrize("tiles", [(64, 0), (64, 32), (128, 32), (96, 32), (256, 0)])
def test_maps_of_tiles_are_those_of_the_whole(tiles):
    pictures = big_pictures()
    whole = maps_of(Boxes, pictures, image_size=256)["features"]
    found = maps_of(Boxes, pictures, image_size=256, tiles=tiles)["features"]
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_away_from_edges_of_tiles_neighbours_are_seen():
    pictures = big_pictures()
    whole = maps_of(Convolutions, pictures, image_size=256)["features"]
    found = maps_of(Convolutions, pictures, image_size=256, tiles=(128, 32))["features"]
    # The quarter of an overlap that is left out, 8 pixels, is wider than what a pixel looks at.
    np.testing.assert_allclose(found, whole, atol=1e-5)
    torn = maps_of(Convolutions, pictures, image_size=256, tiles=(128, 0))["features"]
    assert np.abs(torn - whole)[..., 31:33].max() > 0.01


def test_pooled_features_are_means_over_tiles():
    pictures = big_pictures()
    settings = {"image_size": 128, "random_state": 0}
    found = FeatureExtractor(**settings, tiles=(64, 0)).fit(pictures)
    prepared = found.fitted_network_.prepare(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    quarters = [prepared[..., i : i + 64, j : j + 64] for i in (0, 64) for j in (0, 64)]
    network = FeatureExtractor(**settings).fit(pictures).fitted_network_
    expected = np.mean([network.features(one).cpu().numpy() for one in quarters], axis=0)
    np.testing.assert_allclose(found.transform(pictures), expected, rtol=1e-4, atol=1e-5)


def test_a_network_never_sees_more_than_some_tiles_at_once():
    detector = MapDetector(
        FeatureExtractor(Convolutions, image_size=1024, tiles=(256, 64), resize="whole"),
        gallery=CoresetPixels(coreset_share=1e-4),
    )
    detector.fit(big_pictures(2))
    seen = detector.pipeline_["extractor"].network_.seen
    assert max(n * height * width for n, _, height, width in seen) <= 2**18
    assert len(seen) > 4
    assert {shape[2] for shape in seen} == {256}


@pytest.mark.parametrize("kind", [PatchCore, SPADE])
def test_a_defect_at_a_seam_is_found_as_any_other(kind):
    pictures = big_pictures(4)
    settings = {"image_size": 256, "layers": ["layer2"], "random_state": 0}
    settings |= {"n_neighbors": 3} if kind is SPADE else {"coreset_share": 0.05}
    detector = kind(tiles=(128, 64), **settings).fit(pictures[:3])
    test = np.repeat(pictures[3:], 2, axis=0)
    # Tiles start at 0, 64 and 128: their seams are in the middle of overlaps, at 96 and 160.
    places = [(94, 94), (126, 126)]
    for one, (row, column) in zip(test, places):
        one[row : row + 5, column : column + 5] = [0, 255, 0]
    lowest = []
    for one, (row, column) in zip(detector.score_maps(test), places):
        found = np.unravel_index(one.argmin(), one.shape)
        assert np.abs(np.subtract(found, (row + 2, column + 2))).max() <= 8
        lowest.append(one.min())
    assert lowest[0] == pytest.approx(lowest[1], rel=0.25)


def test_maps_at_several_scales_are_compared_together():
    pictures = big_pictures()
    found = FeatureExtractor(image_size=128, scales=(1.0, 0.5)).fit(pictures)
    maps = found.feature_maps(pictures)
    assert {name: one.shape[-1] for name, one in maps.items()} == {
        "features": 8,
        "features@0.5": 4,
    }
    half = FeatureExtractor(image_size=64).fit(pictures).feature_maps(pictures)["features"]
    shown = np.corrcoef(maps["features@0.5"].ravel(), half.ravel())[0, 1]
    assert shown > 0.98
    alone = FeatureExtractor(image_size=128).fit(pictures).transform(pictures)
    np.testing.assert_array_equal(found.transform(pictures), alone)
    detector = PatchCore(image_size=128, scales=(1.0, 0.5), coreset_share=0.1).fit(pictures)
    widths = PatchCore(image_size=128, coreset_share=0.1).fit(pictures).gallery_.pixels_[0]
    assert detector.gallery_.pixels_[0].shape[1] == 2 * widths.shape[1]


def test_a_vision_transformer_is_made_for_a_tile():
    pictures = big_pictures(2)
    found = FeatureExtractor(
        "test_vit", weights=None, image_size=192, tiles=(96, 32), layers=["blocks.2"]
    )
    assert found.fit(pictures).feature_maps(pictures)["blocks.2"].shape[-2:] == (12, 12)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tiles": ()}, "pair of whole numbers"),
        ({"tiles": (64,)}, r"tiles must be a pair of whole numbers, \(size, overlap\); got \(64"),
        ({"tiles": (64.5, 0)}, "pair of whole numbers"),
        ({"tiles": (256, 0)}, r"image_size=128 pixels wide, which is less than 256"),
        ({"tiles": (72, 0)}, "the size of tiles must be a multiple of 16, .* got 72. .* is 64"),
        ({"tiles": (64, 0), "image_size": 100}, "image_size must be a multiple of 16.* got 100"),
        ({"tiles": (64, 60)}, "at least 0 and at most 48"),
        ({"tiles": (64, -1)}, "at least 0 and at most 48"),
        ({"scales": ()}, r"scales must be one or more shares .* got \(\)"),
        ({"scales": (2.0,)}, "above 0 and at most 1"),
        ({"scales": ("a",)}, "above 0 and at most 1"),
    ],
)
def test_what_can_not_be_cut(settings, match, tiles):
    with pytest.raises(ValueError, match=match):
        FeatureExtractor(**{"image_size": 128} | settings).fit(tiles[:2])


def test_a_network_is_not_trained_on_tiles(tiles):
    extractor = FeatureExtractor(image_size=128, tiles=(64, 0))
    with pytest.raises(ValueError, match="CompactnessAdapter: a network is trained on whole"):
        CompactnessAdapter(extractor, n_steps=1).fit(tiles[:4])


def test_tiles_lie_on_the_grid_and_overlap_enough():
    for image_size, size, overlap in ((640, 256, 64), (512, 192, 33), (320, 320, 0), (96, 64, 16)):
        tiling = Tiling(image_size, size, overlap, 32)
        starts = np.array(tiling.starts)
        assert not (starts % 32).any()
        assert starts[0] == 0
        assert starts[-1] + size == image_size
        assert (size - np.diff(starts) >= overlap).all()


def test_blending_goes_over_evenly():
    tiling = Tiling(128, 96, 64, 16)
    tiles = [torch.full((1, 1, 24, 24), float(value)) for value in (0, 1, 0, 1)]
    (row,) = tiling.blend(torch.cat(tiles))[0, 0, :1].numpy()
    assert row[0] == 0
    assert row[-1] == 1
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 0.2
