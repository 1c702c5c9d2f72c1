"""Strong augmentation: its operations against PIL, its draws, and what it promises."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import kstest

from skad.augment import ContrastiveAugmentation, StrongAugmentation, StrongDraws, affine
from skad.augment._strong import OPERATIONS, affine_maps

NAMES = list(OPERATIONS)
SIDE = 48
AFFINE = Image.Transform.AFFINE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photos(tiles):
    return torch.from_numpy(tiles[::6]).permute(0, 3, 1, 2).contiguous()


def only(operation, magnitude, n):
    """Draws of one operation, no hole and no mirror image."""
    none = torch.zeros(n, dtype=torch.long)
    return StrongDraws(
        flips=torch.zeros(n, dtype=torch.bool),
        operations=torch.full((n, 1), NAMES.index(operation)),
        magnitudes=torch.full((n, 1), magnitude, dtype=torch.float64),
        tops=none,
        lefts=none,
        sides=none,
    )


# What PIL does to one image.
ORACLES = {
    "identity": lambda image, v: image,
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "rotate": lambda image, v: image.rotate(v),
    "solarize": lambda image, v: ImageOps.solarize(image, v),
    "saturation": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "shear_x": lambda image, v: image.transform(image.size, AFFINE, (1, v, 0, 0, 1, 0)),
    "shear_y": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, v, 1, 0)),
    "translate_x": lambda image, v: image.transform(
        image.size, AFFINE, (1, 0, v * image.size[0], 0, 1, 0)
    ),
    "translate_y": lambda image, v: image.transform(
        image.size, AFFINE, (1, 0, 0, 0, 1, v * image.size[1])
    ),
}


@pytest.mark.parametrize("share", [0.03, 0.5, 0.98])
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_pils(name, share, photos):
    low, high = OPERATIONS[name]
    magnitude = low + share * (high - low)
    augmentation = StrongAugmentation(SIDE, n_operations=1, hole=0)
    found = augmentation.apply(photos, only(name, magnitude, len(photos))) * 255
    for image, ours in zip(photos, found):
        pil = ORACLES[name](Image.fromarray(image.permute(1, 2, 0).numpy()), magnitude)
        theirs = torch.from_numpy(np.array(pil)).permute(2, 0, 1).float()
        off = (ours - theirs).abs()
        # PIL rounds along the way; at the edge of a pixel, it may take the neighbour.
        assert (off > 2.01).float().mean() <= (0.01 if name == "rotate" else 0)


def test_magnitudes_count(photos):
    augmentation = StrongAugmentation(SIDE, n_operations=1, hole=0)
    for name in set(NAMES) - {"identity", "autocontrast", "equalize"}:
        low, high = OPERATIONS[name]
        one, other = (
            augmentation.apply(photos, only(name, low + share * (high - low), len(photos)))
            for share in (0.1, 0.6)
        )
        assert not torch.equal(one, other), name


def test_draws_are_uniform():
    augmentation = StrongAugmentation(32, flip_probability=0.3)
    draws = augmentation.draw(4000, generator())
    counts = np.bincount(draws.operations.flatten(), minlength=len(NAMES))
    expected = draws.operations.numel() / len(NAMES)
    assert len(counts) == len(NAMES)
    assert np.abs(counts - expected).max() < 5 * expected**0.5
    for place, name in enumerate(NAMES):
        low, high = OPERATIONS[name]
        drawn = draws.magnitudes[draws.operations == place].numpy()
        if high > low:
            assert kstest((drawn - low) / (high - low), "uniform").pvalue > 1e-3, name
    assert abs(draws.flips.double().mean() - 0.3) < 0.03
    sides = np.bincount(draws.sides)
    assert sides[0] == 0
    assert len(sides) == 17
    assert np.abs(sides[1:] - 250).max() < 5 * 250**0.5
    centers = draws.tops + draws.sides // 2
    assert centers.min() == 0
    assert centers.max() == 31
    # The operations of an image are drawn apart.
    assert 0.03 < (draws.operations[:, 0] == draws.operations[:, 1]).double().mean() < 0.12


def test_a_hole_is_a_square_of_the_fill(photos):
    augmentation = StrongAugmentation(SIDE, n_operations=0, fill=(0.1, 0.2, 0.3))
    draws = augmentation.draw(len(photos), generator(1))._replace(
        flips=torch.zeros(len(photos), dtype=torch.bool),
        tops=torch.tensor([5, -3, 40, 0, 1, 2, 3, 4]),
        lefts=torch.tensor([6, -2, 45, 0, 1, 2, 3, 4]),
        sides=torch.tensor([7, 5, 20, 1, 24, 2, 3, 10]),
    )
    found = augmentation.apply(photos, draws)
    for image, ours, top, left, side in zip(photos, found, draws.tops, draws.lefts, draws.sides):
        expected = image.float() / 255
        rows = slice(max(0, int(top)), int(top + side))
        columns = slice(max(0, int(left)), int(left + side))
        expected[:, rows, columns] = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_mirror_images(photos):
    always = StrongAugmentation(SIDE, n_operations=0, hole=0, flip_probability=1)
    expected = photos.flip(-1).float() / 255
    torch.testing.assert_close(always(photos, generator()), expected, atol=1e-6, rtol=0)


def test_the_same_seed_gives_the_same_bits_and_no_global_number_is_drawn(photos):
    augmentation, before = StrongAugmentation(32), torch.random.get_rng_state()
    one, again, other = (augmentation(photos, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.dtype == torch.float32
    assert one.shape == (len(photos), 3, 32, 32)
    assert one.min() >= 0
    assert one.max() <= 1


def test_an_image_does_not_depend_on_its_company(photos):
    augmentation = StrongAugmentation(32)
    draws = augmentation.draw(len(photos), generator())
    whole = augmentation.apply(photos, draws)
    for place in range(len(photos)):
        own = StrongDraws(*(values[[place]] for values in draws))
        alone = augmentation.apply(photos[[place]], own)
        torch.testing.assert_close(alone[0], whole[place], atol=1e-5, rtol=0)


def test_kinds_of_images(photos):
    augmentation = StrongAugmentation(32)
    whole = augmentation(photos, generator())
    floats = augmentation(photos.float() / 255, generator())
    torch.testing.assert_close(floats, whole, atol=1e-6, rtol=0)
    listed = augmentation(list(photos), generator())
    torch.testing.assert_close(listed, whole, atol=1e-6, rtol=0)
    sizes = [photos[0], photos[1][:, :20, :33]]
    assert augmentation(sizes, generator()).shape == (2, 3, 32, 32)
    gray = augmentation(photos[:, :1], generator())
    assert gray.shape == (len(photos), 1, 32, 32)
    colour = StrongAugmentation(32, fill=(0.2, 0.4, 0.6))
    assert colour(photos[:, :1], generator()).shape == gray.shape


def test_images_are_left_as_they_are(photos):
    kept = photos.clone()
    floats = photos.float() / 255
    kept_floats = floats.clone()
    StrongAugmentation(SIDE)(photos, generator())
    StrongAugmentation(SIDE)(floats, generator())
    assert torch.equal(photos, kept)
    assert torch.equal(floats, kept_floats)


def test_affine_identity_and_outside():
    images = torch.rand((2, 3, 5, 7), generator=generator())
    nothing = torch.zeros((2, 1), dtype=torch.long)
    maps = affine_maps(nothing[:, 0], nothing[:, 0].double(), 5)
    assert torch.equal(affine(images, maps), images)
    maps[:, 0, 2] = 100
    assert not affine(images, maps).any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 0}, "image_size must be a whole number from 1 up; got 0"),
        ({"n_operations": -1}, "n_operations must be a whole number from 0 up; got -1"),
        ({"n_operations": 1.5}, "n_operations must be"),
        ({"hole": 1.2}, r"hole must lie in \[0, 1\]; got 1.2"),
        ({"fill": (0.5, -1)}, r"fill must lie in \[0, 1\]; got \(0.5, -1\)"),
        ({"flip_probability": "often"}, "flip_probability must lie"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        StrongAugmentation(**{"image_size": 32} | parameters)


@pytest.mark.parametrize("augmentation", [StrongAugmentation, ContrastiveAugmentation])
def test_bad_batches(augmentation):
    with pytest.raises(ValueError, match="the batch must be a tensor"):
        augmentation(32)(torch.zeros((2, 5, 8, 8)), generator())
