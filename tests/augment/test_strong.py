"""Strong augmentation against PIL one image at a time, its draws, and what it promises."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import kstest
from sklearn.datasets import load_sample_images

from skad import augment
from skad.augment import OPERATIONS, StrongAugmentation, StrongDraws

N_DRAWS = 4000
NAMES = list(OPERATIONS)
MOVES = ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]
LEVEL = 1 / 255

# A colour of whole levels, which PIL can fill with too.
FILL = (40 / 255, 128 / 255, 201 / 255)
BYTES = (40, 128, 201)


def photos(channels=3, side=32, n=24):
    """Parts of real photos, dark and light, of few colours and of many."""
    images = []
    for number, photo in enumerate(load_sample_images().images):
        indices = np.random.RandomState(number).randint(0, (250, 460), size=(n // 2, 2))
        for i, (top, left) in enumerate(indices):
            extent = (40, 90, 170)[i % 3]
            part = Image.fromarray(photo[top : top + extent, left : left + extent])
            part = part.resize((side, side), Image.Resampling.BILINEAR)
            images.append(np.asarray(part if channels == 3 else part.convert("L")))
    stacked = torch.tensor(np.stack(images))
    return stacked.permute(0, 3, 1, 2) if channels == 3 else stacked[:, None]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_pil(image):
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def from_pil(image):
    return torch.tensor(np.array(image)).view(image.height, image.width, -1).permute(2, 0, 1)


def mapped(image, numbers, fill):
    return image.transform(image.size, Image.Transform.AFFINE, numbers, fillcolor=fill)


def slow(image, name, magnitude, fill=BYTES):
    """One operation by PIL, as the official code of SCAN calls it."""
    fill = fill if image.mode == "RGB" else fill[1]
    width, height = image.size
    operations = {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "rotate": lambda: image.rotate(magnitude, fillcolor=fill),
        "solarize": lambda: ImageOps.solarize(image, magnitude * 255),
        "color": lambda: ImageEnhance.Color(image).enhance(magnitude),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(magnitude),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(magnitude),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(magnitude),
        "shear_x": lambda: mapped(image, (1, magnitude, 0, 0, 1, 0), fill),
        "translate_x": lambda: mapped(image, (1, 0, magnitude * width, 0, 1, 0), fill),
        "translate_y": lambda: mapped(image, (1, 0, 0, 0, 1, magnitude * height), fill),
        "posterize": lambda: ImageOps.posterize(image, int(magnitude)),
        "shear_y": lambda: mapped(image, (1, 0, 0, magnitude, 1, 0), fill),
    }
    return operations[name]()


def draws_of(names, magnitudes):
    """Draws of the same operations for each image, neither mirrored nor with a hole."""
    magnitudes = torch.as_tensor(magnitudes, dtype=torch.float32).view(-1, len(names))
    none = torch.zeros(len(magnitudes), dtype=torch.int64)
    indices = torch.tensor([NAMES.index(name) for name in names])
    return StrongDraws(
        none.bool(), indices.expand(len(magnitudes), -1), magnitudes, none, none, none
    )


def fill_of(channels):
    return FILL if channels == 3 else FILL[1]


def n_unlike(view, expected, tolerance=0):
    """Pixels that differ by more than so many levels."""
    return ((view - expected).abs() > tolerance + 1e-3).any(0).sum()


# PIL rounds what it blends down, and the grey or the blur before that to the nearest level. Its
# autocontrast rounds down. Grey of torchvision has weights of four digits.
# Its affine maps have 16 bits after the point: a pixel between two may be the other one.
TOLERANCES = {"autocontrast": 1, "brightness": 1, "color": 1.6, "contrast": 1.6, "sharpness": 1.5}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_operations_are_pils(name, channels):
    batch = photos(channels)
    low, high = OPERATIONS[name]
    magnitudes = torch.linspace(low, high * (1 - 1e-6), len(batch))
    magnitudes = magnitudes.floor() if name == "posterize" else magnitudes
    augmentation = StrongAugmentation(32, fill=fill_of(channels))
    ours = augmentation.apply(batch, draws_of([name], magnitudes)) / LEVEL
    for view, image, magnitude in zip(ours, batch, magnitudes.tolist(), strict=True):
        expected = from_pil(slow(to_pil(image), name, magnitude)).float()
        assert n_unlike(view, expected, TOLERANCES.get(name, 0)) <= (name in MOVES)
    if name != "identity" and (name, channels) != ("color", 1):
        # At all magnitudes but a few the operation does something.
        changed = (ours - batch).abs().amax((1, 2, 3)) > 2
        assert changed.float().mean() > 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_follow_one_another(channels):
    # Those that are exact: after any of the others, PIL has rounded and this has not.
    exact = ["equalize", "solarize", "posterize", *MOVES]
    batch, random = photos(channels), np.random.RandomState(0)
    augmentation = StrongAugmentation(32, fill=fill_of(channels))
    for _ in range(6):
        names = random.choice(exact, 4).tolist()
        low, high = np.transpose([OPERATIONS[name] for name in names])
        magnitudes = torch.tensor(random.uniform(low, high, (len(batch), 4))).float()
        magnitudes = torch.where(torch.tensor(high == 8), magnitudes.floor(), magnitudes)
        ours = augmentation.apply(batch, draws_of(names, magnitudes)) / LEVEL
        for view, image, strengths in zip(ours, batch, magnitudes.tolist(), strict=True):
            expected = to_pil(image)
            for name, strength in zip(names, strengths, strict=True):
                expected = slow(expected, name, strength)
            assert n_unlike(view, from_pil(expected)) <= 5


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_pils_up_to_its_rounding(channels):
    batch = photos(channels)
    augmentation = StrongAugmentation(32, fill=fill_of(channels), hole=0)
    draws = augmentation.draw(len(batch), generator(2))
    ours = augmentation(batch, generator(2)) / LEVEL
    distances = []
    for i, image in enumerate(batch):
        expected = to_pil(image.flip(-1) if draws.flips[i] else image)
        for index, magnitude in zip(draws.operations[i], draws.magnitudes[i], strict=True):
            expected = slow(expected, NAMES[index], magnitude.item())
        distances.append((ours[i] - from_pil(expected)).abs().mean())
    # Where thresholds come after what PIL rounds, many pixels may fall on the other side.
    assert np.quantile(distances, 0.8) < 2


def test_levels_of_floats_are_the_nearest():
    # Of rounding alone an image has no contrast to stretch, and a level is not the one below it.
    flat = torch.full((1, 3, 16, 16), 0.4) + 1e-7 * torch.rand(3, 16, 16, generator=generator())
    assert torch.equal(augment.autocontrast(flat), flat)
    two = torch.tensor([100.0, 101.0]).repeat(1, 1, 8, 4) * LEVEL
    assert torch.equal(augment.autocontrast(two), torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4))
    batch = photos()
    near = (
        batch.float() / 255 + (torch.rand(batch.shape, generator=generator()) - 0.5) * 0.9 * LEVEL
    )
    near = near.clamp(0, 1)
    bits = torch.full((len(batch),), 4)
    assert torch.equal(augment.posterize(near, bits), augment.posterize(batch / 255, bits))
    assert torch.equal(augment.equalize(near), augment.equalize(batch / 255))


def test_too_few_pixels_to_equalize():
    image = torch.rand((2, 3, 15, 16), generator=generator())
    assert torch.equal(augment.equalize(image), image)


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.9])
def test_sharpness_in_both_directions(factor):
    batch = photos()
    ours = augment.adjust_sharpness(batch / 255, torch.full((len(batch),), factor)) / LEVEL
    for view, image in zip(ours, batch, strict=True):
        expected = from_pil(ImageEnhance.Sharpness(to_pil(image)).enhance(factor)).float()
        assert (view - expected).abs().max() <= 1.5 + 1e-3


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images(size):
    augmentation = StrongAugmentation(size, n_operations=8)
    views = augmentation(photos(), generator())
    assert views.shape == (24, 3, size, size)
    assert torch.isfinite(views).all()


def test_affine_maps_images_that_are_not_square():
    batch = photos()[..., :20, :]
    matrix = torch.tensor([[0.913, 0.217, -3.011], [-0.307, 1.109, 2.003]])
    ours = augment.affine(batch / 255, matrix.expand(len(batch), -1, -1), 0.0) / LEVEL
    for view, image in zip(ours, batch, strict=True):
        expected = mapped(to_pil(image), matrix.flatten().tolist(), (0, 0, 0))
        assert n_unlike(view, from_pil(expected)) <= 1


def test_draws_have_the_ranges_of_the_recipe():
    draws = StrongAugmentation(32).draw(N_DRAWS, generator())
    counts = np.bincount(draws.operations.flatten(), minlength=14)
    share = 4 * N_DRAWS / 14
    assert np.abs(counts - share).max() < 4 * np.sqrt(share)
    pairs = np.bincount((14 * draws.operations[:, 0] + draws.operations[:, 1]).numpy())
    assert len(pairs) == 196
    assert pairs.min() > 0, "with replacement, in any order"
    assert abs(draws.flips.float().mean() - 0.5) < 4 * 0.5 / np.sqrt(N_DRAWS)
    expected = {
        **dict.fromkeys(("identity", "autocontrast", "equalize"), (0, 0)),
        "rotate": (-30, 30),
        "solarize": (0, 256 / 255),
        **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), (0.05, 0.95)),
        **dict.fromkeys(("shear_x", "shear_y", "translate_x", "translate_y"), (-0.1, 0.1)),
    }
    for name, (low, high) in expected.items():
        magnitudes = draws.magnitudes[draws.operations == NAMES.index(name)].double().numpy()
        if high:
            assert kstest(magnitudes, "uniform", (low, high - low)).pvalue > 0.001, name
        else:
            assert (magnitudes == 0).all()
    bits = draws.magnitudes[draws.operations == NAMES.index("posterize")]
    values, counts = torch.unique(bits, return_counts=True)
    assert values.tolist() == [4, 5, 6, 7]
    assert (counts - len(bits) / 4).abs().max() < 4 * np.sqrt(len(bits) / 4)


@pytest.mark.parametrize(
    ("image_size", "hole", "greatest"), [(32, 0.5, 16), (100, 0.29, 29), (20, 1, 20)]
)
def test_holes_have_the_sides_drawn(image_size, hole, greatest):
    augmentation = StrongAugmentation(image_size, n_operations=0, hole=hole, flip_probability=0)
    draws = augmentation.draw(N_DRAWS, generator())
    for values, low, n_values in (
        (draws.sides, 1, greatest),
        (draws.rows, 0, image_size),
        (draws.columns, 0, image_size),
    ):
        counts = np.bincount(values, minlength=n_values + low)[low:]
        assert len(counts) == n_values
        assert np.abs(counts - N_DRAWS / n_values).max() < 4.5 * np.sqrt(N_DRAWS / n_values)
    together = np.corrcoef(torch.stack(draws[3:]).numpy())
    assert np.abs(together - np.eye(3)).max() < 0.07
    black = torch.zeros((N_DRAWS, 1, image_size, image_size), dtype=torch.uint8)
    holes = augmentation(black, generator())[:, 0].numpy()
    assert set(np.unique(holes)) == {0, 0.5}
    # A slice of Python takes the place of the mask.
    for i, (side, row, column) in enumerate(torch.stack(draws[3:], dim=1).tolist()):
        expected = np.zeros((image_size, image_size))
        top, left = row - side // 2, column - side // 2
        expected[max(top, 0) : top + side, max(left, 0) : left + side] = 0.5
        assert (holes[i] == expected).all()


def test_no_hole():
    batch = photos()
    augmentation = StrongAugmentation(32, n_operations=0, hole=0, flip_probability=0)
    assert torch.equal(augmentation(batch, generator()), batch / 255)


@pytest.mark.parametrize(("probability", "share"), [(0, 0), (0.2, 0.2), (1, 1)])
def test_mirror_images(probability, share):
    image = photos()[:1].expand(1000, -1, -1, -1)
    augmentation = StrongAugmentation(32, 0, flip_probability=probability, hole=0)
    views = augmentation(image, generator())
    as_is = (views == image / 255).all(dim=(1, 2, 3))
    mirrored = (views == image.flip(-1) / 255).all(dim=(1, 2, 3))
    assert (as_is ^ mirrored).all()
    assert abs(mirrored.float().mean() - share) < 4 * np.sqrt(share * (1 - share) / 1000) + 1e-6


def test_mirror_images_of_another_size():
    batch, off = photos(side=50), {"n_operations": 0, "hole": 0}
    views = [StrongAugmentation(32, flip_probability=p, **off)(batch, generator()) for p in (0, 1)]
    assert (views[0] - views[1].flip(-1)).abs().max() < 1e-6
    assert (views[0] - views[1]).abs().max() > 0.1


def test_functions_keep_their_input():
    images = photos() / 255
    before, halves = images.clone(), torch.full((24,), 0.5)
    indices = torch.full((24,), 9)
    augment.autocontrast(images)
    augment.equalize(images)
    augment.posterize(images, indices - 5)
    augment.solarize(images, halves)
    augment.adjust_sharpness(images, halves)
    augment.affine(images, 2 * torch.eye(2, 3).expand(24, -1, -1), 0.5)
    augment.cut_out(images, indices, indices, indices, 0.5)
    assert torch.equal(images, before)


def test_the_same_seed_gives_the_same_bits_and_leaves_other_states_alone():
    batch, augmentation = photos(), StrongAugmentation(32)
    before = batch.clone()
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    views = augmentation(batch, generator(3))
    assert torch.equal(views, augmentation(batch, generator(3)))
    assert not torch.equal(views, augmentation(batch, generator(4)))
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.equal(batch, before)


def test_draws_depend_on_place_alone():
    augmentation = StrongAugmentation(16)
    first, second = generator(), generator()
    augmentation(photos(), first)
    augmentation(photos(channels=1, side=50), second)
    assert torch.equal(first.get_state(), second.get_state()), "as many numbers for any content"
    few, many = (augmentation.draw(n, generator()) for n in (5, 9))
    assert all(torch.equal(a, b[:5]) for a, b in zip(few, many, strict=True))


def test_one_draw_per_image():
    same = photos()[:1].expand(200, -1, -1, -1)
    views = StrongAugmentation(32)(same, generator())
    assert len(torch.unique(views.flatten(1), dim=0)) == 200


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_depend_on_its_company(channels):
    batch, augmentation = photos(channels), StrongAugmentation(32)
    draws = augmentation.draw(len(batch), generator())
    views = augmentation.apply(batch, draws)
    for i in range(len(batch)):
        own = StrongDraws(*(values[i : i + 1] for values in draws))
        assert torch.equal(augmentation.apply(batch[i : i + 1], own)[0], views[i])


def test_bytes_and_floats_agree_and_the_input_is_kept():
    batch, augmentation = photos(), StrongAugmentation(32)
    as_floats = batch.float() / 255
    views = augmentation(as_floats, generator())
    assert torch.equal(views, augmentation(batch, generator()))
    assert torch.equal(as_floats, batch.float() / 255)
    assert torch.equal(augmentation(list(batch), generator()), views)


def test_a_list_of_several_sizes_and_types():
    sides = (32, 16, 50, 32, 16)
    batch = [photos(side=side)[i] for i, side in enumerate(sides)]
    batch[3] = batch[3].float() / 255
    batch.append(photos(side=50)[9][:, :20])
    # Without thresholds, which the last bit of a resized pixel may cross.
    augmentation = StrongAugmentation(32, n_operations=0)
    views = augmentation(batch, generator())
    draws = augmentation.draw(len(batch), generator())
    for i, image in enumerate(batch):
        own = StrongDraws(*(values[i : i + 1] for values in draws))
        alone = augmentation.apply(image[None], own)[0]
        assert (views[i] - alone).abs().max() < 1e-5
    plain = StrongAugmentation(32, n_operations=0, hole=0, flip_probability=0)
    for view, image in zip(plain(batch, generator()), batch, strict=True):
        height, width = (torch.tensor([side]) for side in image.shape[-2:])
        zero = torch.zeros(1, dtype=torch.int64)
        whole = augment.resized_crop(image[None], zero, zero, height, width, 32)
        assert (view - whole[0]).abs().max() < 1e-6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_size", [24, 32])
def test_values_stay_in_range(channels, image_size):
    # Flat rows that were scaled may go a little beyond.
    batch = photos(channels, n=96) / 255 * 1.2 - 0.1
    augmentation = StrongAugmentation(image_size, n_operations=6)
    views = augmentation(batch, generator())
    assert views.dtype == torch.float32
    assert views.shape == (96, channels, image_size, image_size)
    assert views.min() >= 0
    assert views.max() <= 1
    assert views.std() > 0.05


def test_grey_images_take_the_grey_of_the_fill():
    augmentation = StrongAugmentation(32, n_operations=0, fill=(1.0, 0.5, 0.0), hole=1)
    views = augmentation(torch.zeros(50, 1, 32, 32), generator())
    assert np.unique(views).tolist() == pytest.approx([0, 0.2989 + 0.587 / 2])
    colours = augmentation(torch.full((50, 3, 32, 32), 0.25), generator())
    covered = colours[:, 0] == 1
    assert covered.any()
    assert (colours.movedim(1, -1)[covered] == torch.tensor([1.0, 0.5, 0.0])).all()
    assert (colours.movedim(1, -1)[~covered] == 0.25).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 0}, "image_size must be a positive integer; got 0"),
        ({"image_size": 8.0}, "image_size must be a positive integer; got 8.0"),
        ({"image_size": True}, "image_size must be a positive integer; got True"),
        ({"n_operations": -1}, "n_operations must be an integer of at least 0; got -1"),
        ({"n_operations": 2.0}, "n_operations must be an integer of at least 0; got 2.0"),
        ({"flip_probability": 1.1}, r"flip_probability must be a number in \[0, 1\]; got 1.1"),
        ({"flip_probability": None}, "flip_probability must be a number"),
        ({"hole": -0.1}, r"hole must be a number in \[0, 1\]; got -0.1"),
        ({"hole": 1.5}, r"hole must be a number in \[0, 1\]; got 1.5"),
        ({"hole": float("nan")}, "hole must be a number"),
        ({"fill": -0.1}, r"fill must be a number in \[0, 1\], or one for each channel; got -0.1"),
        ({"fill": (0.1, 0.2)}, r"fill must be .* got \(0.1, 0.2\)"),
        ({"fill": (0.1, 0.2, 1.1)}, "fill must be"),
        ({"fill": ()}, "fill must be"),
        ({"fill": "mean"}, "fill must be"),
        ({"fill": float("nan")}, "fill must be"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        StrongAugmentation(**{"image_size": 16, **parameters})


@pytest.mark.parametrize("batch", [torch.rand(3, 8, 8), torch.rand(2, 2, 8, 8), [], None])
def test_bad_batches(batch):
    with pytest.raises(ValueError, match="the batch must be a tensor"):
        StrongAugmentation(16)(batch, generator())
