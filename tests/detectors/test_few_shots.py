"""Few pictures, turned, and tokens of vision transformers (AnomalyDINO)."""

from functools import partial

import numpy as np
import pytest
import timm
import torch

from skad import PatchCore
from skad.augment import rotate
from skad.detectors._map_values import score_of_map

SMALL = {"image_size": 32}
REGISTERS = partial(timm.create_model, "test_vit", reg_tokens=4, img_size=64)


def test_shots_are_drawn_and_the_others_set_the_threshold(tiles):
    few = PatchCore(**SMALL, n_shots=3, coreset_share=1.0, random_state=0).fit(tiles[24:])
    drawn = np.sort(np.random.RandomState(0).permutation(24)[:3])
    alone = PatchCore(**SMALL, coreset_share=1.0).fit(tiles[24:][drawn])
    kept, expected = few.gallery_.pixels_[0], alone.gallery_.pixels_[0]
    np.testing.assert_array_equal(np.sort(kept, axis=0), np.sort(expected, axis=0))
    scores = few.score_samples(tiles[24:])
    assert np.flatnonzero(scores > scores.max() / 2 - 1e-6).size >= 3
    assert few.offset_ < alone.offset_
    single = PatchCore(**SMALL, n_shots=1, coreset_share=1.0).fit(tiles[24:30])
    assert single.gallery_.n_images_ == 1
    assert len(single.pipeline_["scorer"].gallery_) == 6
    every = PatchCore(**SMALL, n_shots=99, coreset_share=0.1).fit(tiles[24:30])
    assert every.gallery_.n_images_ == 6


def test_turned_pictures_are_known(tiles):
    settings = {**SMALL, "coreset_share": 1.0, "patch_size": 1, "layers": ["layer2"]}
    plain = PatchCore(**settings).fit(tiles[24:28])
    turned = PatchCore(**settings, n_rotations=4).fit(tiles[24:28])
    assert len(turned.gallery_.pixels_[0]) > 3 * len(plain.gallery_.pixels_[0])
    quarter = np.rot90(tiles[24:28], axes=(1, 2)).copy()
    assert (
        np.abs(turned.score_samples(quarter)).max()
        < 0.05 * np.abs(plain.score_samples(quarter)).max()
    )


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 135, 180, 315])
def test_rotation(degrees, tiles):
    from torchvision.transforms.v2.functional import rotate as theirs

    images = torch.from_numpy(tiles[:3]).permute(0, 3, 1, 2).float()
    found = rotate(images, degrees)
    wide = torch.nn.functional.pad(images, (20,) * 4, mode="reflect")
    expected = theirs(wide, degrees, interpolation="bilinear")[..., 20:-20, 20:-20]
    assert found.shape == images.shape
    torch.testing.assert_close(found, expected, atol=2.0, rtol=0)


def test_the_recipe_of_few_shots_with_a_vision_transformer(tiles):
    normal, defects = tiles[24:40], tiles[40:].copy()
    defects[:, 20:34, 15:29] = [0, 255, 0]
    detector = PatchCore(
        REGISTERS,
        image_size=64,
        layers=["blocks.3"],
        n_shots=2,
        n_rotations=8,
        coreset_share=1.0,
        patch_size=1,
        pixel_metric="cosine",
        foreground="component",
        image_score="top",
        smoothing=0,
        random_state=0,
    ).fit(normal)
    (kept,) = detector.gallery_.pixels_
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, rtol=1e-5)
    assert len(kept) < 2 * 8 * 16  # some are background
    maps = detector.score_maps(defects)
    assert maps.shape == defects.shape[:3]
    expected = [np.sort(one, axis=None)[:24].mean() for one in maps]  # 1 % of 48 x 48, rounded up
    np.testing.assert_allclose(detector.score_samples(defects), expected, rtol=1e-5)
    np.testing.assert_array_equal(
        detector.predict(defects), np.where(np.array(expected) < detector.offset_, -1, 1)
    )


def test_the_mean_of_the_lowest_share():
    one = np.random.RandomState(0).normal(size=(30, 20)).astype(np.float32)
    given = type("Given", (), {"image_score": "top", "top_share": 0.03})
    assert score_of_map(one, given) == pytest.approx(np.sort(one.ravel())[:18].mean(), rel=1e-6)
    given.top_share = 1e-9
    assert score_of_map(one, given) == one.min()
