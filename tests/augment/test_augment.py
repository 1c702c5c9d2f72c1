"""Augmentations against torchvision one image at a time, their draws, and what they promise."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from scipy.ndimage import correlate1d
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import RandomResizedCrop

from skad import augment
from skad.augment import ContrastiveAugmentation

N_DRAWS = 2000


def pictures(n=8, channels=3, height=37, width=45, seed=0):
    """Smooth colours, noise, and what is special: grey, black, white and pure colours."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [
        np.sin(rng.uniform(3, 12) * x + rng.uniform(3, 12) * y + rng.uniform(0, 6))
        for _ in range(n * channels)
    ]
    images = np.reshape(waves, (n, channels, height, width)) / 2 + 0.5
    images[1::2] += 0.3 * rng.normal(size=images[1::2].shape)
    images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
    images[:, :, :4] = 255 * rng.randint(2, size=(n, channels, 4, width))
    images[:, :, 5:7] = 255 * rng.randint(2, size=(n, 1, 2, width))
    images[:, :, 7] = images[:, :1, 7]
    return torch.tensor(images)


def floats(**options):
    return pictures(**options).float() / 255


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_near(images, expected, tolerance=1e-5):
    assert images.dtype == torch.float32
    assert images.shape == expected.shape
    assert (images - expected).abs().max() <= tolerance


def boxes(height, width):
    """From a single pixel to the whole image, at all edges."""
    return torch.tensor(
        [
            (0, 0, height, width),
            (0, 0, 1, 1),
            (height - 1, width - 1, 1, 1),
            (3, 5, 20, 11),
            (height - 9, 0, 9, width),
            (0, width - 2, height, 2),
            (1, 2, 16, 16),
            (10, 10, 24, 24),
        ]
    )


@pytest.mark.parametrize("image_size", [1, 8, 24, 64])
def test_resized_crop_is_torchvisions(image_size):
    images, windows = floats(), boxes(37, 45)
    flips = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1], dtype=torch.bool)
    ours = augment.resized_crop(images, *windows.unbind(1), image_size)
    mirrored = augment.resized_crop(images, *windows.unbind(1), image_size, flips)
    for i, image in enumerate(images):
        expected = tv.resized_crop(image, *windows[i].tolist(), [image_size] * 2, antialias=True)
        assert_near(ours[i], expected)
        assert_near(mirrored[i], tv.horizontal_flip(expected) if flips[i] else expected)


def test_resized_crop_of_large_images():
    images, windows = floats(n=2, height=300, width=500), torch.tensor([[7, 80, 290, 400]] * 2)
    ours = augment.resized_crop(images, *windows.unbind(1), 32)
    assert_near(ours, tv.resized_crop(images, 7, 80, 290, 400, [32, 32], antialias=True))


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 41, 5, 5), (33, 0, 5, 5), (0, 0, 0, 5)])
def test_resized_crop_refuses_boxes_beyond_the_image(box):
    windows = torch.tensor([box, (0, 0, 5, 5)])
    with pytest.raises(ValueError, match="boxes must lie within their images of 37 x 45 pixels"):
        augment.resized_crop(floats(n=2), *windows.unbind(1), 8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "low", "high", "tolerance"),
    [
        ("brightness", 0, 2.5, 1e-5),
        ("contrast", 0, 2.5, 1e-5),
        ("saturation", 0, 2.5, 1e-5),
        ("hue", -0.5, 0.5, 1e-4),
    ],
)
def test_colours_are_torchvisions(name, low, high, tolerance, channels):
    images = floats(n=11, channels=channels)
    before = images.clone()
    factors = torch.linspace(low, high, len(images))
    ours = getattr(augment, f"adjust_{name}")(images, factors)
    for i, image in enumerate(images):
        expected = getattr(tv, f"adjust_{name}")(image, factors[i].item())
        assert_near(ours[i], expected, tolerance)
    assert torch.equal(images, before)


def test_hue_of_every_colour():
    levels = torch.linspace(0, 1, 18)
    cube = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(2)
    factors = torch.linspace(-0.5, 0.5, 25)
    ours = augment.adjust_hue(cube.expand(len(factors), -1, -1, -1), factors)
    for i, factor in enumerate(factors.tolist()):
        assert_near(ours[i], tv.adjust_hue(cube, factor), 1e-5)


def test_some_images_become_gray():
    images, mask = floats(), torch.arange(8) % 3 == 0
    ours = augment.to_gray(images, mask)
    for i, image in enumerate(images):
        expected = tv.rgb_to_grayscale(image, num_output_channels=3)
        assert_near(ours[i], expected if mask[i] else image)
    single = floats(channels=1)
    assert torch.equal(augment.to_gray(single, mask), single)


def test_some_images_are_mirrored():
    images, mask = floats(), torch.arange(8) % 3 == 0
    expected = torch.where(mask[:, None, None, None], tv.horizontal_flip(images), images)
    assert torch.equal(augment.flip(images, mask), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_is_torchvisions_kernel_by_kernel(channels):
    images, sigmas = floats(channels=channels), torch.linspace(0.1, 3, 8)
    ours = augment.gaussian_blur(images, sigmas)
    for i, image in enumerate(images):
        sigma = sigmas[i].item()
        side = 2 * int(np.ceil(3 * sigma)) + 1
        assert_near(ours[i], tv.gaussian_blur(image, [side, side], [sigma, sigma]))
    # An image does not depend on how much others of its batch are blurred.
    assert_near(augment.gaussian_blur(images[:2], sigmas[:2]), ours[:2], 1e-6)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_blur_wider_than_the_image(size):
    images, sigmas = floats(n=2)[..., 10 : 10 + size, 10:20], [2.0, 9.0]
    ours = augment.gaussian_blur(images, torch.tensor(sigmas))
    for i, sigma in enumerate(sigmas):
        radius = int(np.ceil(3 * sigma))
        kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
        padding = [(0, 0), (radius, radius), (radius, radius)]
        blurred = np.pad(images[i].numpy(), padding, mode="reflect")
        for axis in (1, 2):
            blurred = correlate1d(blurred, kernel / kernel.sum(), axis=axis)
        expected = blurred[:, radius : radius + size, radius : radius + 10]
        assert_near(ours[i], torch.tensor(expected))


def slow_views(batch, augmentation, draws):
    """The draws, applied to one image at a time by torchvision."""
    adjusts = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    for i, image in enumerate(batch):
        image = image.float() / 255
        box = [int(values[i]) for values in draws[:4]]
        image = tv.resized_crop(image, *box, [augmentation.image_size] * 2, antialias=True)
        if draws.jitters[i]:
            for column in draws.orders[i].tolist():
                if augmentation.jitter[column]:
                    image = adjusts[column](image, draws.factors[i, column].item())
        if draws.grays[i]:
            image = tv.rgb_to_grayscale(image, num_output_channels=len(image))
        if draws.blurs[i]:
            sigma = draws.sigmas[i].item()
            image = tv.gaussian_blur(image, [2 * int(np.ceil(3 * sigma)) + 1] * 2, [sigma] * 2)
        yield tv.horizontal_flip(image) if draws.flips[i] else image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("jitter", [(0.4, 0.4, 0.4, 0.1), (1.5, 0, 0.8, 0.5), (0, 0.4, 0, 0)])
def test_views_are_torchvisions_one_by_one(channels, jitter):
    batch = pictures(n=64, channels=channels)
    augmentation = ContrastiveAugmentation(24, jitter=jitter)
    draws = augmentation.draw([(37, 45)] * 64, generator())
    ours = augmentation(batch, generator())
    for view, expected in zip(ours, slow_views(batch, augmentation, draws), strict=True):
        assert_near(view, expected, 2e-4)


def test_one_draw_per_image():
    same = pictures(n=1).expand(200, -1, -1, -1)
    views = ContrastiveAugmentation(16)(same, generator())
    assert len(torch.unique(views.flatten(1), dim=0)) == 200


def test_crops_are_distributed_as_torchvisions():
    height, width = 300, 400
    draws = ContrastiveAugmentation(8).draw([(height, width)] * N_DRAWS, generator())
    ours = torch.stack(draws[:4], dim=1).numpy()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(1, height, width)
        params = [
            RandomResizedCrop.get_params(image, (0.2, 1.0), (3 / 4, 4 / 3)) for _ in range(N_DRAWS)
        ]
    theirs = np.array(params)
    for measure in (
        lambda p: p[:, 2] * p[:, 3],
        lambda p: p[:, 3] / p[:, 2],
        lambda p: p[:, 0] / np.maximum(height - p[:, 2], 1),
        lambda p: p[:, 1] / np.maximum(width - p[:, 3], 1),
    ):
        assert ks_2samp(measure(ours), measure(theirs)).pvalue > 0.001
    assert (ours >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()


def test_small_crops_have_the_area_and_ratio_drawn():
    augmentation = ContrastiveAugmentation(8, area=(0.2, 0.4), ratio=(1 / 2, 2))
    draws = augmentation.draw([(1000, 1000)] * N_DRAWS, generator())
    area = (draws.heights * draws.widths / 1e6).numpy()
    ratio = (draws.widths / draws.heights).log2().numpy()
    assert kstest(area, "uniform", (0.2, 0.2)).pvalue > 0.001
    assert kstest(ratio, "uniform", (-1, 2)).pvalue > 0.001
    assert abs(np.corrcoef(area, ratio)[0, 1]) < 0.1
    corner = (draws.tops / (1000 - draws.heights)).numpy()
    assert kstest(corner, "uniform").pvalue > 0.001


@pytest.mark.parametrize("size", [(10, 400), (400, 10), (1, 50), (50, 1), (30, 30), (1, 1)])
def test_where_no_crop_fits_the_largest_central_one_is_taken(size):
    augmentation = ContrastiveAugmentation(8, area=(1, 1), ratio=(3, 4))
    draws = augmentation.draw([size] * 3, generator())
    with torch.random.fork_rng():
        expected = RandomResizedCrop.get_params(torch.empty(1, *size), (1, 1), (3, 4))
    got = torch.stack(draws[:4], dim=1)
    if 0 not in expected[2:]:  # torchvision returns boxes without a pixel for narrow images
        assert got.tolist() == [list(expected)] * 3
    assert got[:, 2:].min() >= 1


def test_shares_and_strengths_are_those_asked_for():
    augmentation = ContrastiveAugmentation(8)
    draws = augmentation.draw([(32, 32)] * N_DRAWS, generator())
    for drawn, share in (
        (draws.flips, 0.5),
        (draws.jitters, 0.8),
        (draws.grays, 0.2),
        (draws.blurs, 0.5),
    ):
        assert abs(drawn.float().mean() - share) < 4 * np.sqrt(share * (1 - share) / N_DRAWS)
    for column, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.1, 0.1)]):
        factors = draws.factors[:, column].numpy()
        assert kstest(factors, "uniform", (low, high - low)).pvalue > 0.001
    assert kstest(draws.sigmas.numpy(), "uniform", (0.1, 1.9)).pvalue > 0.001
    orders, counts = torch.unique(draws.orders, dim=0, return_counts=True)
    assert len(orders) == 24
    assert (orders.sort(dim=1).values == torch.arange(4)).all()
    assert (counts - N_DRAWS / 24).abs().max() < 4.5 * np.sqrt(N_DRAWS / 24)
    together = np.corrcoef(torch.stack([*draws[4:6], *draws[8:10]]).numpy())
    assert np.abs(together - np.eye(4)).max() < 0.1


def test_the_views_show_these_shares():
    images = floats(n=1, height=16, width=16).expand(N_DRAWS, -1, -1, -1)
    off = {"area": (1, 1), "ratio": (1, 1), "jitter_probability": 0}
    views = ContrastiveAugmentation(16, blur_probability=0, **off)(images, generator())
    gray = (views.amax(1) == views.amin(1)).all(dim=(1, 2))
    assert abs(gray.float().mean() - 0.2) < 0.04
    as_is = (views[~gray] - images[0]).abs().amax((1, 2, 3)) < 1e-6
    mirrored = (views[~gray] - images[0].flip(-1)).abs().amax((1, 2, 3)) < 1e-6
    assert (as_is ^ mirrored).all()
    assert abs(as_is.float().mean() - 0.5) < 0.05


def test_factors_do_not_become_negative():
    augmentation = ContrastiveAugmentation(8, jitter=(3, 3, 3, 0.5))
    factors = augmentation.draw([(9, 9)] * 300, generator()).factors
    assert factors[:, :3].min() >= 0
    assert factors[:, :3].max() > 3.5


def test_the_same_seed_gives_the_same_bits_and_leaves_other_states_alone():
    batch, augmentation = pictures(), ContrastiveAugmentation(16)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    views = augmentation(batch, generator(3))
    assert torch.equal(views, augmentation(batch, generator(3)))
    assert not torch.equal(views, augmentation(batch, generator(4)))
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_draws_depend_on_size_and_place_alone():
    augmentation = ContrastiveAugmentation(16)
    first, second = generator(), generator()
    augmentation(pictures(seed=0), first)
    augmentation(floats(channels=1, height=20, width=90), second)
    assert torch.equal(first.get_state(), second.get_state()), "as many numbers for any content"


def test_bytes_and_floats_agree_and_the_input_is_kept():
    batch, augmentation = pictures(), ContrastiveAugmentation(37)
    before = batch.clone()
    views = augmentation(batch, generator())
    assert torch.equal(views, augmentation(batch.float() / 255, generator()))
    assert torch.equal(batch, before)
    as_floats = before.float() / 255
    whole = ContrastiveAugmentation(37, area=(1, 1))
    whole(as_floats, generator())
    assert torch.equal(as_floats, before.float() / 255)


def test_a_list_of_one_size_is_a_tensor():
    batch, augmentation = pictures(), ContrastiveAugmentation(16)
    views = augmentation(batch, generator())
    assert torch.equal(augmentation(list(batch), generator()), views)


def test_a_list_of_several_sizes_and_types():
    batch = [*pictures(n=3), *pictures(n=2, height=20), *floats(n=2, width=9), *pictures(n=1)]
    batch = [batch[i] for i in (0, 3, 5, 1, 4, 6, 2, 7)]
    augmentation = ContrastiveAugmentation(16)
    views = augmentation(batch, generator())
    draws = augmentation.draw([image.shape[-2:] for image in batch], generator())
    for i, image in enumerate(batch):
        alone = augmentation.apply([image], type(draws)(*(values[i : i + 1] for values in draws)))
        assert_near(views[i], alone[0], 1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_in_range(channels):
    batch = floats(n=64, channels=channels)
    views = ContrastiveAugmentation(50, jitter=(1, 1, 1, 0.5))(batch, generator())
    assert views.shape == (64, channels, 50, 50)
    assert views.min() >= 0
    assert views.max() <= 1
    assert views.std() > 0.05


def test_one_channel_is_the_grey_of_three():
    batch = pictures(n=32, channels=1)
    augmentation = ContrastiveAugmentation(16)
    ours = augmentation(batch, generator())
    three = augmentation(batch.expand(-1, 3, -1, -1), generator())
    # The weights of grey add up to 0.9999.
    assert (three - ours).abs().max() < 1e-3


@pytest.mark.parametrize("image_size", [16, 32, 64])
def test_with_all_switched_off_it_is_a_resize(image_size):
    batch = pictures(height=32, width=32)
    off = {f"{name}_probability": 0 for name in ("jitter", "gray", "blur", "flip")}
    augmentation = ContrastiveAugmentation(image_size, area=(1, 1), ratio=(1, 1), **off)
    views = augmentation(batch, generator())
    assert_near(views, tv.resize(batch.float() / 255, [image_size] * 2, antialias=True), 1e-6)
    if image_size == 32:
        assert torch.equal(views, batch.float() / 255)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 0}, "image_size must be a positive integer; got 0"),
        ({"image_size": 8.0}, "image_size must be a positive integer; got 8.0"),
        (
            {"area": (0, 1)},
            r"area must be two numbers \(low, high\) with 0 < low <= high <= 1; got",
        ),
        ({"area": (0.5, 1.1)}, r"0 < low <= high <= 1; got \(0.5, 1.1\)"),
        ({"area": (0.5, 0.4)}, r"got \(0.5, 0.4\)"),
        ({"area": 0.5}, "got 0.5"),
        ({"ratio": (2, 1)}, r"ratio must be two numbers \(low, high\) with 0 < low <= high; got"),
        ({"ratio": (1, float("inf"))}, "inf"),
        ({"blur_sigma": (0, 2)}, "blur_sigma must be two numbers"),
        ({"blur_sigma": ("a", 2)}, "blur_sigma must be two numbers"),
        ({"jitter": (0.4, 0.4, 0.4)}, "jitter must be four numbers of at least 0"),
        ({"jitter": (0.4, -0.1, 0.4, 0.1)}, "jitter must be four numbers of at least 0"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "the last of at most 0.5"),
        (
            {"jitter_probability": 1.01},
            r"jitter_probability must be a number in \[0, 1\]; got 1.01",
        ),
        ({"gray_probability": -0.1}, "gray_probability must be"),
        ({"blur_probability": None}, "blur_probability must be"),
        ({"flip_probability": float("nan")}, "flip_probability must be"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveAugmentation(**{"image_size": 16, **parameters})


@pytest.mark.parametrize(
    "batch",
    [
        torch.rand(3, 8, 8),
        torch.rand(2, 2, 8, 8),
        torch.rand(0, 3, 8, 8),
        torch.rand(2, 3, 0, 8),
        torch.ones(2, 3, 8, 8, dtype=torch.int64),
        np.ones((2, 3, 8, 8)),
        [],
        [torch.rand(3, 8, 8), torch.rand(1, 8, 8)],
        [torch.rand(8, 8)],
        ["image.png"],
        None,
    ],
)
def test_bad_batches(batch):
    with pytest.raises(ValueError, match="the batch must be a tensor"):
        ContrastiveAugmentation(16)(batch, generator())
