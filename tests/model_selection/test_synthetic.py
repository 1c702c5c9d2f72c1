"""Anomalies made of normal pictures: what they change, and what they do not depend on."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits, load_sample_images

from skad.model_selection import SyntheticAnomalies
from skad.model_selection._synthetic import DEFECTS, SHIFTS

PHOTOS = [photo[::4, ::4] for photo in load_sample_images().images]
TILES = [p[r : r + 40, c : c + 48] for p in PHOTOS for r in (0, 40) for c in (0, 60, 100)]
ALONE = [kind for kind in (*DEFECTS, *SHIFTS) if kind not in ("foreign", "texture", "mixture")]


def by_kind(made):
    return {
        (str(kind), int(source)): (made.images[i], made.masks[i])
        for i, (kind, source) in enumerate(zip(made.kinds, made.sources))
    }


@pytest.mark.parametrize("strength", ["any", "subtle", "coarse", (0, 0)])
def test_defects_change_what_their_mask_says_and_shifts_the_whole(strength):
    made = SyntheticAnomalies(strength=strength).make(TILES)
    assert len(made) == len(made.images) == len(TILES) * (1 + len(DEFECTS) + len(SHIFTS))
    for i, kind in enumerate(made.kinds):
        normal, picture, mask = TILES[made.sources[i]], made.images[i], made.masks[i]
        assert picture.dtype == np.uint8
        assert mask.shape == picture.shape[:2]
        if kind == "normal":
            assert made.y[i] == 1
            np.testing.assert_array_equal(picture, normal)
            assert not mask.any()
            continue
        assert made.y[i] == -1
        assert picture.shape == normal.shape
        changed = (abs(picture.astype(int) - normal) > 6).any(axis=2)
        assert changed.any(), kind
        if kind in SHIFTS:
            assert mask.all()
        else:
            assert not changed[~mask].any(), kind
            assert mask.mean() < 0.5, kind


def test_coarse_ones_change_more():
    def change(strength):
        made = SyntheticAnomalies("defects", strength=strength).make(TILES)
        return np.mean([made.masks[i].mean() for i in range(len(TILES), len(made))])

    assert change("coarse") > 2 * change("subtle")


def test_anomalies_depend_on_their_picture_and_the_seed_alone():
    whole = by_kind(SyntheticAnomalies(ALONE).make(TILES))
    part = by_kind(SyntheticAnomalies(ALONE).make(TILES[3:6]))
    other = by_kind(SyntheticAnomalies(ALONE, random_state=1).make(TILES[3:6]))
    differing = 0
    for (kind, source), (picture, _) in part.items():
        np.testing.assert_array_equal(picture, whole[kind, source + 3][0])
        differing += not np.array_equal(picture, other[kind, source][0])
    assert differing > 0.8 * 3 * len(ALONE)


def test_any_container(tmp_path):
    images = np.stack([tile[:40, :40] for tile in TILES])
    expected = by_kind(SyntheticAnomalies().make(images))
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    for container in (paths, [Image.fromarray(image) for image in images], list(images), tensors):
        found = by_kind(SyntheticAnomalies().make(container))
        for key, (picture, mask) in expected.items():
            np.testing.assert_array_equal(found[key][0], picture)
            np.testing.assert_array_equal(found[key][1], mask)


def test_floats_and_flat_rows_keep_their_range():
    digits = load_digits(n_class=2).data[:12]  # 0 to 16
    made = SyntheticAnomalies(per_image=3).make(digits)
    assert made.images.shape == (48, 64)
    np.testing.assert_allclose(made.images[:12], digits, atol=1e-5)
    assert made.images.min() >= 0
    assert made.images.max() <= 16
    assert len(np.unique(made.images, axis=0)) > 40
    floats = SyntheticAnomalies(per_image=3).make(digits.reshape(-1, 8, 8) / 16)
    assert floats.images[20].dtype == np.float32
    np.testing.assert_allclose(floats.images[20][..., 0].ravel() * 16, made.images[20], atol=1e-4)


def test_so_many_kinds_of_each_picture_and_all_equally_often():
    made = SyntheticAnomalies("defects", per_image=3).make(TILES[:8])
    kinds, counts = np.unique(made.kinds[8:], return_counts=True)
    assert set(kinds) == set(DEFECTS)
    assert (counts == 3).all()
    for i in range(8):
        assert len(set(made.kinds[8:][made.sources[8:] == i])) == 3


def test_large_pictures_are_reduced_normal_ones_too():
    large = [np.kron(tile, np.ones((4, 4, 1), np.uint8)) for tile in TILES[:3]]
    made = SyntheticAnomalies(image_size=40).make(large)
    assert {image.shape for image in made.images} == {(40, 48, 3)}
    np.testing.assert_array_equal(made.images[0], TILES[0])
    assert SyntheticAnomalies(image_size=None).make(large).images[0].shape == (160, 192, 3)


def test_real_outliers_come_in_addition():
    made = SyntheticAnomalies(["stain"], outliers=PHOTOS).make(TILES)
    assert list(made.kinds[-3:]) == ["stain", "outlier", "outlier"]
    np.testing.assert_array_equal(made.images[-1], PHOTOS[1])
    assert made.masks[-1].all()
    assert made.sources[-1] == -1


def test_pictures_of_one_colour_are_changed_as_well():
    flat = [np.full((20, 24), value, np.uint8) for value in (0, 90, 255)]
    made = SyntheticAnomalies().make(flat)
    for i in range(3, len(made)):
        assert made.masks[i].any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kinds": "dents"}, "'kinds' parameter .* must be .*'defects'"),
        ({"kinds": ["stain", "dent"]}, r"a list of cut_paste, .*got \['stain', 'dent'\]"),
        ({"kinds": []}, "kinds must be"),
        ({"strength": "mild"}, "'strength' parameter .* must be .*'subtle'"),
        ({"strength": (0.5, 0.2)}, r"0 <= low <= high <= 1; got \(0.5, 0.2\)"),
        ({"per_image": 0}, "'per_image' parameter .* Got 0"),
        ({"image_size": 4}, "'image_size' parameter .* Got 4"),
        ({"random_state": None}, "'random_state' parameter .* Got None"),
    ],
)
def test_parameters_that_do_not_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        SyntheticAnomalies(**parameters).make(TILES)


def test_one_picture_is_too_few():
    with pytest.raises(ValueError, match="at least 2 pictures are needed"):
        SyntheticAnomalies().make(TILES[:1])


def test_it_is_cloned_and_makes_without_a_trace():
    synthetic = SyntheticAnomalies(strength="subtle", random_state=3)
    before = dict(vars(synthetic))
    synthetic.make(load_digits(n_class=1).data[:4])
    assert vars(synthetic) == before
    assert clone(synthetic).get_params() == synthetic.get_params()
