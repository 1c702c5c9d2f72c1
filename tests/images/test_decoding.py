"""What is in a file is what is seen: upright, at its depth, and large pictures nearly as whole."""

import io
import struct
import threading
import zlib
from functools import partial

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from skad import (
    DN2,
    SPADE,
    FeatureExtractor,
    ImageDetector,
    MeanShiftedContrastive,
    SelfSupervisedAdapter,
)
from skad.augment import ContrastiveAugmentation, StrongAugmentation
from skad.backbones import small_cnn
from skad.images import _batches, _decode
from skad.images._batches import iterate_batches, read_all
from skad.images._door import check_images
from skad.images._reduce import _Room
from skad.networks._preprocessing import Preprocessing, preprocess
from skad.training import _images as training_images

TURNED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
FORMATS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
}


def picture(height, width, seed=0):
    """A smooth picture with edges and noise."""
    rng = np.random.RandomState(seed)
    coarse = rng.randint(0, 256, (5, 7, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    edges = 60 * (np.add.outer(np.arange(height) // 37, np.arange(width) // 53) % 2)[..., None]
    noise = rng.randint(-20, 20, (height, width, 3))
    return (smooth * 0.7 + edges + noise).clip(0, 255).astype(np.uint8)


def encoded(image, kind, orientation=1, **how):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, exif=exif, **FORMATS[kind], **how)
    return buffer.getvalue()


def extractor(size=16, **parameters):
    network = partial(small_cnn, width=4, image_size=size)
    return FeatureExtractor(network, image_size=size, weights=None, **parameters)


# Sides that boxes divide, sides that they do not, and pictures too small to be reduced.
@pytest.mark.parametrize("size", [(240, 320), (243, 317), (40, 56)])
@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_are_turned_upright(kind, orientation, size):
    file = encoded(picture(*size), kind, orientation)
    with Image.open(io.BytesIO(encoded(picture(*size), kind))) as plain:
        lying = np.asarray(plain.convert("RGB"))
    upright = np.ascontiguousarray(TURNED[orientation](lying))
    fitted = extractor().fit([upright])
    expected = fitted.transform(upright[None])
    np.testing.assert_allclose(fitted.transform([file]), expected, rtol=1e-5, atol=1e-6)
    opened = Image.open(io.BytesIO(file))
    np.testing.assert_allclose(fitted.transform([opened]), expected, rtol=1e-5, atol=1e-6)
    ignoring = extractor(orientation="ignore").fit([lying])
    found = ignoring.transform([file])
    np.testing.assert_allclose(found, fitted.transform(lying[None]), rtol=1e-5, atol=1e-6)
    if orientation > 1:
        assert np.abs(found - expected).max() > 1e-4, "orientation must matter here"


def test_viewers_agree_about_upright():
    for orientation in TURNED:
        image = Image.open(io.BytesIO(encoded(picture(24, 32), "PNG", orientation)))
        expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(TURNED[orientation](picture(24, 32)), expected)


def test_a_picture_that_was_turned_is_not_turned_again():
    image = Image.open(io.BytesIO(encoded(picture(24, 32), "PNG", 6)))
    twice = [image, ImageOps.exif_transpose(image)]
    first, second = extractor().fit_transform(twice)
    np.testing.assert_array_equal(first, second)


def test_broken_exif_data_are_as_good_as_none():
    file = encoded(picture(24, 32), "JPEG", 6)
    broken = file.replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    assert broken != file
    plain = encoded(picture(24, 32), "JPEG")
    np.testing.assert_array_equal(*extractor().fit_transform([broken, plain]))


def test_parts_read_as_the_extractor_says(tiles):
    """A composed detector has no such parameters of its own."""
    file = encoded(picture(40, 56), "PNG", 6)
    lying, upright = (extractor(orientation=how) for how in ("ignore", "apply"))
    expected = [one.fit_transform([file]) for one in (lying, upright)]
    for one, features in zip((lying, upright), expected):
        detector = ImageDetector(one).fit([file, *list(tiles[:4])])
        np.testing.assert_array_equal(detector.pipeline_[0].transform([file]), features)
        adapter = MeanShiftedContrastive(one, n_epochs=1).fit([file, *list(tiles[:4])])
        alone = adapter.extractor_.transform([file])
        np.testing.assert_array_equal(adapter.transform([file]), alone)


# ---------------------------------------------------------------------------------------- depth


def deep(height=24, width=32, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.RandomState(0).randint(0, 65536, shape).astype(np.uint16)


def png_of_16_bits(image):
    """By torchvision, as Pillow writes no colours of 16 bits."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = image.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(image, **how):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **how)
    return buffer.getvalue()


GREY_16 = {
    "PNG": lambda x: png_of_16_bits(x),
    "TIFF": tiff,
    "big-endian TIFF": lambda x: tiff(x, byteorder=">"),
    "array": lambda x: x,
    "tensor": lambda x: torch.from_numpy(x)[None],
    "PIL": lambda x: Image.fromarray(x),
    "float": lambda x: x / 65535,
    "PGM": lambda x: b"P5 32 24 65535\n" + x.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("form", GREY_16)
def test_grey_of_16_bits(form):
    image = deep(channels=1)
    fitted = extractor().fit(image[None])
    expected = fitted.transform(image[None])
    found = fitted.transform([GREY_16[form](image)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    found = fitted.transform(torch.from_numpy(image[None, None]))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    eight = fitted.transform((image // 257).astype(np.uint8)[None])
    assert np.abs(eight - expected).max() > 1e-5, "the lower bits must matter"


COLOR_16 = {
    "PNG": png_of_16_bits,
    "PNG with alpha": lambda x: png_of_16_bits(np.concatenate([x, x[..., :1] // 2], axis=-1)),
    "TIFF": partial(tiff, photometric="rgb"),
    "big-endian TIFF": partial(tiff, photometric="rgb", byteorder=">"),
    "compressed TIFF": partial(tiff, photometric="rgb", compression="zlib"),
    "TIFF with alpha": lambda x: tiff(
        np.concatenate([x, x[..., :1]], axis=-1), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "array": lambda x: x,
    "tensor": lambda x: torch.from_numpy(x.transpose(2, 0, 1).copy()),
}


@pytest.mark.parametrize("form", COLOR_16)
def test_colours_of_16_bits(form):
    image = deep()
    fitted = extractor().fit(image[None])
    expected = fitted.transform(image[None])
    np.testing.assert_allclose(fitted.transform([COLOR_16[form](image)]), expected, rtol=1e-5)
    np.testing.assert_allclose(fitted.transform(image[None].transpose(0, 3, 1, 2)), expected)
    eight = fitted.transform([(image // 257).astype(np.uint8)])
    assert np.abs(eight - expected).max() > 1e-6


def test_grey_with_alpha_of_16_bits():
    image = deep(channels=2)
    fitted = extractor().fit(image[None, ..., 0])
    found = fitted.transform([png_of_16_bits(image)])
    np.testing.assert_allclose(found, fitted.transform(image[None, ..., 0]), rtol=1e-5)


def test_colours_of_16_bits_in_planes_are_an_error():
    planes = tiff(deep().transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match="image 0 .*16 bits lie in separate planes; save them"):
        extractor().fit_transform([planes])


def test_deep_pictures_are_reduced_as_bytes_are():
    image = picture(487, 631)
    fitted = extractor().fit(image[None])
    expected = fitted.transform(image[None])
    wide = image.astype(np.uint16) * 257
    for same in ([png_of_16_bits(wide)], wide[None], [image / 255], (image / 255)[None]):
        np.testing.assert_allclose(fitted.transform(same), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("orientation", TURNED)
def test_deep_pictures_are_turned_upright(orientation):
    values = np.random.RandomState(0).rand(24, 32).astype(np.float32)
    file = tiff(values, extratags=[(0x0112, "H", 1, orientation, True)])
    upright = np.ascontiguousarray(TURNED[orientation](values))
    fitted = extractor().fit(upright[None])
    np.testing.assert_allclose(fitted.transform([file]), fitted.transform(upright[None]), rtol=1e-5)


def test_cameras_of_fewer_bits():
    twelve = (deep() // 16).astype(np.uint16)
    expected = extractor().fit_transform(twelve[None] / 4095)
    forms = [[png_of_16_bits(twelve)], twelve[None], [twelve], twelve[None].astype(np.int32)]
    forms += [
        [tiff(twelve, photometric="rgb")],
        torch.from_numpy(twelve[None].transpose(0, 3, 1, 2)),
    ]
    for form in forms:
        for value_range in (12, (0, 4095)):
            found = extractor(value_range=value_range).fit_transform(form)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


VALUES = {
    "floats": (np.linspace(-1, 1, 24 * 32).reshape(24, 32), (-1, 1)),
    "32-bit floats in TIFF": (
        np.linspace(100, 900, 24 * 32, dtype=np.float32).reshape(24, 32),
        (100, 900),
    ),
    "32 bits in TIFF": (np.arange(24 * 32, dtype=np.int32).reshape(24, 32) * 99, (0, 99 * 767)),
    "int8": (np.arange(-128, 128, dtype=np.int8).reshape(16, 16), (-128, 127)),
    "bytes": (np.arange(256, dtype=np.uint8).reshape(16, 16), (0, 255)),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_mean_what_value_range_says(case):
    values, (low, high) = VALUES[case]
    scaled = (values.astype(np.float64) - low) / (high - low)
    expected = extractor().fit_transform(scaled[None])
    given = [tiff(values)] if "TIFF" in case else values[None]
    found = extractor(value_range=(low, high)).fit_transform(given)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_are_scaled_by_value_range():
    rows = np.random.RandomState(0).randint(0, 1024, (5, 64)).astype(np.uint16)
    found = extractor(value_range=10).fit(rows)
    assert found.pixel_range_ == (0.0, 1023.0)
    expected = extractor().fit_transform(rows.reshape(5, 8, 8) / 1023)
    np.testing.assert_allclose(found.transform(rows[:3]), expected[:3], rtol=1e-4, atol=1e-5)


def test_dark_training_images_of_16_bits_warn():
    twelve = np.random.RandomState(0).randint(0, 4096, (6, 24, 32)).astype(np.uint16)
    for estimator, fit in (
        (DN2(), "fit"),
        (DN2(), "fit_predict"),
        (FeatureExtractor(), "fit_transform"),
        (MeanShiftedContrastive(n_epochs=1), "fit"),
    ):
        with pytest.warns(UserWarning, match=r"is 40\d\d of 65535.*value_range=12") as caught:
            getattr(estimator, fit)(twelve)
        assert [one.filename for one in caught] == [__file__]
    DN2(value_range=12).fit(twelve)
    DN2().fit(twelve * 2)
    bright = DN2().fit(deep()[None].repeat(4, axis=0))
    bright.score_samples(twelve[..., None].repeat(3, axis=3))  # new images may be dark


# --------------------------------------------------------------------------------- large pictures

WORST = {
    "picture": lambda size: picture(*size),
    "noise": lambda size: np.random.RandomState(0).randint(0, 256, (*size, 3)).astype(np.uint8),
    "black or white": lambda size: (
        (np.random.RandomState(1).rand(*size, 1) < 0.5).repeat(3, 2) * np.uint8(255)
    ),
    "stripes": lambda size: np.broadcast_to(
        np.uint8(255) * (np.arange(size[1]) // 23 % 2).astype(np.uint8)[None, :, None], (*size, 3)
    ),
    "squares": lambda size: (
        np.uint8(255)
        * (np.add.outer(np.arange(size[0]) // 41, np.arange(size[1]) // 41) % 2)
        .astype(np.uint8)[..., None]
        .repeat(3, axis=2)
    ),
}


@pytest.mark.parametrize("resize", ["whole", "crop"])
@pytest.mark.parametrize(
    "size", [(1200, 1600), (1201, 1607), (733, 2003), (640, 5000), (3000, 250)]
)
@pytest.mark.parametrize("kind", WORST)
def test_boxes_change_next_to_nothing(kind, size, resize):
    """At worst two hundredths of white, and half a hundredth on average; far less in pictures."""
    image = np.ascontiguousarray(WORST[kind](size))
    network = Preprocessing(64, resize, (0.0,) * 3, (1.0,) * 3, 3)
    reduced = check_images(FeatureExtractor(), image[None]).read(0, 1, 1, network.detail)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None]
    if min(size) >= 640 and max(size) <= 4 * min(size):
        assert reduced.pixels.numel() < whole.numel() / 3
    assert reduced.sizes == [size]
    found, exact = (preprocess(one, network, "cpu") for one in (reduced, whole))
    error = (found - exact).abs()
    assert error.max() < 0.02
    assert error.square().mean().sqrt() < (0.005 if kind != "picture" else 0.002)


@pytest.mark.parametrize("as_container", ["array", "list", "files", "tensor", "floats"])
def test_large_pictures_are_the_same_in_every_container(as_container):
    images = [picture(487, 631, seed) for seed in range(3)]
    containers = {
        "array": np.stack(images),
        "list": images,
        "files": [encoded(image, "PNG") for image in images],
        "tensor": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        "floats": np.stack(images) / 255,
    }
    expected = extractor().fit_transform([Image.fromarray(image) for image in images])
    found = extractor().fit_transform(containers[as_container])
    np.testing.assert_array_equal(found, expected)


def test_maps_lie_over_large_pictures():
    pictures = [encoded(picture(487, 631, seed), "JPEG", 6) for seed in range(4)]
    detector = SPADE(n_neighbors=2)
    maps = detector.fit(pictures).score_maps(pictures[:2])
    assert [one.shape for one in maps] == [(631, 487)] * 2
    arrays = [np.rot90(np.asarray(Image.open(io.BytesIO(file))), -1) for file in pictures[:2]]
    for one, other in zip(maps, detector.score_maps(arrays)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_draft_is_close_and_less_work():
    """Its own scale of JPEG differs from the exact one by a few grey levels."""
    files = [
        encoded(picture(1200, 1600, seed), "JPEG", orientation)
        for seed, orientation in enumerate((1, 6, 3))
    ]
    exact, draft = (FeatureExtractor(decode=how).fit(files) for how in ("exact", "draft"))
    drafts = draft.transform(files)
    exacts = exact.transform(files)
    assert np.abs(drafts - exacts).max() > 0
    between = np.linalg.norm(exacts[0] - exacts[1])
    assert np.linalg.norm(drafts - exacts, axis=1).max() < 0.15 * between
    source = check_images(draft, files)
    batch = source.read(0, 3, 1, draft.preprocessing_.detail)
    assert batch.sizes == [(1200, 1600), (1600, 1200), (1200, 1600)]
    assert {origin.box % 2 for origin in batch.origins} == {0}, "decoded at a half, at least"
    opened = [Image.open(io.BytesIO(file)) for file in files]
    np.testing.assert_allclose(draft.transform(opened), exacts, rtol=1e-5, atol=1e-6)


def test_views_are_cut_from_no_more_than_they_can_use(monkeypatch):
    for augmentation in (ContrastiveAugmentation(16), StrongAugmentation(16)):
        height, width = augmentation.detail(900, 1200)
        assert 32 <= height < 200
        assert 32 <= width < 250
    files = [encoded(picture(900, 1200, seed), "PNG") for seed in range(4)]
    seen = []
    read = training_images.read_all

    def spy(*arguments):
        batch = read(*arguments)
        seen.extend(tuple(image.shape[1:]) for image in batch)
        return batch

    monkeypatch.setattr(training_images, "read_all", spy)
    by_files = MeanShiftedContrastive(extractor(), n_epochs=2).fit(files)
    assert max(seen) < (300, 400), "reduced"
    least = ContrastiveAugmentation(16).detail(900, 1200)
    assert min(seen) >= tuple(map(int, least))
    by_array = MeanShiftedContrastive(extractor(), n_epochs=2).fit(
        np.stack([picture(900, 1200, seed) for seed in range(4)])
    )
    np.testing.assert_allclose(
        by_files.training_curve_["loss"], by_array.training_curve_["loss"], rtol=1e-3
    )


def test_views_of_an_augmentation_without_detail_are_of_whole_pictures():
    files = [encoded(picture(300, 400, seed), "PNG") for seed in range(4)]
    cnn = FeatureExtractor(partial(small_cnn, width=4, image_size=8), weights=None)
    SelfSupervisedAdapter(cnn, augmentation=_stretched, n_epochs=1, batch_size=4).fit(files)
    assert set(_SEEN) == {(300, 400)}


_SEEN = []


def _stretched(batch, generator):
    _SEEN.extend(tuple(image.shape[-2:]) for image in batch)
    return torch.stack([F.interpolate(i[None].float() / 255, (8, 8))[0] for i in batch])


# ------------------------------------------------------------------------------------- in parts


def test_batches_of_huge_pictures_are_read_in_parts(monkeypatch):
    images = np.random.RandomState(0).randint(0, 256, (9, 40, 50, 3)).astype(np.uint8)
    expected = extractor(batch_size=9).fit_transform(images)
    monkeypatch.setattr(_batches, "_MOST_PIXELS", 14_000 / 2**20)  # two images and a bit
    for container in (images, list(images), [Image.fromarray(image) for image in images]):
        source = check_images(extractor(), container)
        parts = [len(batch) for _, batch in iterate_batches(source, 9, 2)]
        assert sum(parts) == 9
        assert max(parts) <= 3
        assert len(read_all(source, 2)) == 9
        found = extractor(batch_size=9).fit_transform(container)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_few_pictures_are_decoded_at_once(monkeypatch):
    monkeypatch.setattr(_decode, "decoding_room", _Room(4 * 200 * 300))
    busy, most, lock = [0], [0], threading.Lock()
    load = Image.Image.load

    def slow(image):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        result = load(image)
        with lock:
            busy[0] -= 1
        return result

    monkeypatch.setattr(Image.Image, "load", slow)
    files = [encoded(picture(300, 400, seed), "JPEG") for seed in range(6)]
    extractor(n_jobs=6).fit_transform(files)
    assert most[0] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_bytes_among_deeper_pixels_of_one_array(dtype):
    """One image of an array happens to hold whole 255ths, the other does not."""
    deep_one = np.random.RandomState(0).rand(320, 320)
    both = np.stack([np.round(deep_one * 255) / 255, deep_one])
    images = (both * 65535).round().astype(dtype) if dtype is np.uint16 else both.astype(dtype)
    fitted = extractor().fit(images)
    np.testing.assert_allclose(fitted.transform(images), fitted.transform(list(images)), rtol=1e-5)
    eight = (both[:1] * 255).round().astype(np.uint8)
    np.testing.assert_allclose(fitted.transform(images)[:1], fitted.transform(eight), rtol=1e-4)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_images_of_16_bits_stay_as_they_are(channels):
    image = deep(channels=channels)
    opened = Image.open(io.BytesIO(png_of_16_bits(image)))
    fitted = extractor().fit(np.zeros((1, 24, 32)))
    first, second = fitted.transform([opened]), fitted.transform([opened])
    np.testing.assert_array_equal(first, second)
    shown = np.asarray(Image.open(io.BytesIO(png_of_16_bits(image))))
    np.testing.assert_array_equal(np.asarray(opened), shown)


def test_inks_of_16_bits_are_no_light():
    inks = np.asarray(Image.fromarray(picture(24, 32)).convert("CMYK"))
    deep_inks = tiff(inks.astype(np.uint16) * 257, photometric="separated")
    found = extractor().fit_transform([deep_inks])
    expected = extractor().fit_transform([Image.frombytes("CMYK", (32, 24), inks.tobytes())])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
