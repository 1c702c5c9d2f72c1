"""The same pixels score the same through every container, in any order and company."""

import io
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from skad import DN2, FeatureExtractor


@pytest.fixture(scope="module")
def extractor(tiles):
    return FeatureExtractor().fit(tiles)


@pytest.fixture(scope="module")
def features(extractor, tiles):
    return extractor.transform(tiles)


@pytest.fixture(scope="module")
def grey(tiles):
    return tiles[..., 1]


class Photos(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError(i)
        return self.images[i], 0


def as_paths(images, folder):
    paths = [folder / f"{i:03}.png" for i in range(len(images))]
    for image, path in zip(images, paths):
        Image.fromarray(image).save(path)
    return paths


def as_memmap(images, folder):
    np.save(folder / "images.npy", images)
    return np.load(folder / "images.npy", mmap_mode="r")


RGB = {
    "uint8 NCHW": lambda x, _: np.ascontiguousarray(x.transpose(0, 3, 1, 2)),
    "float32": lambda x, _: x.astype(np.float32) / np.float32(255),
    "float64": lambda x, _: x / 255,
    "float NCHW": lambda x, _: (x / 255).transpose(0, 3, 1, 2),
    "RGBA": lambda x, _: np.concatenate([x, 255 - x[..., :1]], axis=-1),
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "not contiguous": lambda x, _: np.repeat(x, 2, axis=0)[::2],
    "uint8 tensor": lambda x, _: torch.from_numpy(x).permute(0, 3, 1, 2),
    "float tensor": lambda x, _: torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255,
    "PIL": lambda x, _: [Image.fromarray(image) for image in x],
    "PIL RGBA": lambda x, _: [Image.fromarray(image).convert("RGBA") for image in x],
    "list of arrays": lambda x, _: list(x),
    "list of float arrays": lambda x, _: [image / 255 for image in x],
    "list of tensors": lambda x, _: [torch.from_numpy(image).permute(2, 0, 1) for image in x],
    "paths": as_paths,
    "strings": lambda x, folder: [str(path) for path in as_paths(x, folder)],
    "array of strings": lambda x, folder: np.array([str(p) for p in as_paths(x, folder)]),
    "array of paths": lambda x, folder: np.array(as_paths(x, folder), dtype=object),
    "Series of strings": lambda x, folder: pd.Series([str(p) for p in as_paths(x, folder)]),
    "memory map": as_memmap,
    "data set of tuples": lambda x, _: Photos(x),
    "data set of PIL": lambda x, _: Photos([Image.fromarray(image) for image in x]),
}


@pytest.mark.parametrize("container", RGB)
def test_rgb_images_have_the_same_features_in_every_container(
    container, extractor, features, tiles, tmp_path
):
    images = RGB[container](tiles, tmp_path)
    found = FeatureExtractor().fit(images).transform(images)
    np.testing.assert_array_equal(found, features)
    np.testing.assert_array_equal(extractor.transform(images), features)


GREY = {
    "one channel": lambda x, _: x[..., None],
    "one channel first": lambda x, _: x[:, None],
    "three equal channels": lambda x, _: np.repeat(x[..., None], 3, axis=-1),
    "float": lambda x, _: x / 255,
    "tensor": lambda x, _: torch.from_numpy(x),
    "PIL": lambda x, _: [Image.fromarray(image) for image in x],
    "PIL with alpha": lambda x, _: [Image.fromarray(image).convert("LA") for image in x],
    "PIL 16 bit": lambda x, _: [Image.fromarray(image.astype(np.uint16) * 257) for image in x],
    "list": lambda x, _: list(x),
    "paths": as_paths,
}


@pytest.mark.parametrize("container", GREY)
def test_grey_images_have_the_same_features_in_every_container(
    container, extractor, grey, tmp_path
):
    images = GREY[container](grey, tmp_path)
    expected = extractor.transform(grey)
    np.testing.assert_allclose(extractor.transform(images), expected, rtol=1e-5, atol=1e-6)


ROWS = {
    "uint8": (lambda x: x, None),
    "float in [0, 1]": (lambda x: x / 255, None),
    "with a shape": (lambda x: x / 255, (48, 48, 3)),
    "DataFrame": (lambda x: pd.DataFrame(x / 255).rename(columns=str), None),
}


@pytest.mark.parametrize("form", ROWS)
def test_flat_rows_have_the_features_of_the_images(form, features, tiles):
    convert, image_shape = ROWS[form]
    rows = convert(tiles.reshape(len(tiles), -1))
    found = FeatureExtractor(image_shape=image_shape).fit(rows).transform(rows)
    np.testing.assert_array_equal(found, features)


def test_flat_rows_may_be_channels_first(features, tiles):
    rows = tiles.transpose(0, 3, 1, 2).reshape(len(tiles), -1)
    found = FeatureExtractor(image_shape=(3, 48, 48)).fit(rows).transform(rows)
    np.testing.assert_array_equal(found, features)


def test_whole_numbers_are_pixels_too(features, tiles):
    rows = tiles.reshape(len(tiles), -1)
    for training in (rows, rows / 255):
        extractor = FeatureExtractor().fit(training)
        for same in (rows.astype(int), rows.tolist()):
            np.testing.assert_array_equal(extractor.transform(same), features)
    with pytest.raises(ValueError, match=r"whole numbers must lie in \[0, 255\]; got 5100"):
        extractor.transform(rows.astype(int) * 20)


def test_rows_far_beyond_the_range_have_finite_scores():
    detector = DN2().fit(np.random.RandomState(0).rand(20, 16))
    scores = detector.score_samples([[1e38] * 8 + [-1e300] * 8])
    assert np.isfinite(scores).all()
    assert np.isfinite(DN2().fit(np.full((8, 16), 1e20)).offset_)


def test_folds_of_a_data_set(tiles):
    from sklearn.model_selection import cross_val_score

    from skad import OneClassKFold, auroc_scorer

    y = np.repeat([1, -1], 24)
    figures = [
        cross_val_score(DN2(), X, y, cv=OneClassKFold(2), scoring=auroc_scorer)
        for X in (Photos(tiles), tiles)
    ]
    np.testing.assert_array_equal(*figures)


def test_a_data_set_is_read_by_one_thread_at_a_time(tiles, features):
    class Careful(Photos):
        busy = 0

        def __getitem__(self, i):
            Careful.busy += 1
            assert Careful.busy == 1
            time.sleep(0.001)
            Careful.busy -= 1
            return super().__getitem__(i)

    found = FeatureExtractor(n_jobs=8, batch_size=5).fit_transform(Careful(tiles))
    np.testing.assert_allclose(found, features, rtol=1e-5, atol=1e-6)


def test_uint8_rows_and_float_rows_may_meet(tiles):
    rows = tiles.reshape(len(tiles), -1)
    for fitted, other in ((rows, rows / 255), (rows / 255, rows)):
        extractor = FeatureExtractor().fit(fitted)
        np.testing.assert_array_equal(extractor.transform(fitted), extractor.transform(other))


def test_rows_of_any_range_are_scaled_by_the_training_rows(grey):
    rows = grey.reshape(len(grey), -1) / 255.0
    rows[0, 0], rows[0, 1] = 0.0, 1.0  # the whole range is there
    expected = FeatureExtractor().fit_transform(rows)
    for scale, shift in ((16, 0), (7, -3), (1e-3, 5)):
        scaled = FeatureExtractor().fit(rows * scale + shift)
        np.testing.assert_allclose(
            scaled.transform(rows[3:9] * scale + shift), expected[3:9], atol=1e-4
        )


def test_digits_are_scaled_though_one_alone_is_dark():
    from sklearn.datasets import load_digits

    digits = load_digits().data  # 0..16
    extractor = FeatureExtractor().fit(digits)
    dark = digits[:4] / 16  # in [0, 1], but not the whole range
    assert extractor.pixel_range_ == (0.0, 16.0)
    assert not np.allclose(extractor.transform(dark), extractor.transform(digits[:4]))


def test_labelled_anomalies_do_not_set_the_range():
    rows = np.random.RandomState(0).uniform(0, 10, (20, 16))
    rows[-1] = 1e6
    y = np.where(np.arange(20) < 19, 1, -1)
    assert DN2().fit(rows, y).pixel_range_[1] < 10


@pytest.mark.parametrize("resize", ["whole", "crop"])
def test_images_of_differing_sizes_score_as_alone(resize, tiles, tmp_path):
    images = [tiles[0], tiles[1][:30], tiles[2][:, :20], tiles[3][:33, :41, 0], tiles[4]]
    extractor = FeatureExtractor(resize=resize).fit(images)
    together = extractor.transform(images)
    alone = np.concatenate([extractor.transform([image]) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(extractor.transform(as_paths(images, tmp_path)), together)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 47, 1000])
def test_batch_size_does_not_matter(batch_size, features, tiles):
    found = FeatureExtractor(batch_size=batch_size).fit_transform(tiles)
    np.testing.assert_allclose(found, features, rtol=1e-5, atol=1e-6)


def test_order_does_not_matter(extractor, features, tiles):
    order = np.random.RandomState(0).permutation(len(tiles))
    np.testing.assert_allclose(extractor.transform(tiles[order]), features[order], atol=1e-6)


def test_scores_do_not_depend_on_company(tiles):
    detector = DN2().fit(tiles[:16])
    together = detector.score_samples(tiles)
    alone = np.concatenate([detector.score_samples(tiles[i : i + 1]) for i in range(len(tiles))])
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)


def test_decoding_in_threads_keeps_the_order(extractor, tiles, tmp_path):
    paths = as_paths(tiles, tmp_path)
    one = FeatureExtractor(n_jobs=1, batch_size=7).fit(paths).transform(paths)
    many = FeatureExtractor(n_jobs=8, batch_size=7).fit(paths).transform(paths)
    np.testing.assert_array_equal(one, many)


def test_an_open_image_file_need_not_be_read_yet(extractor, features, tiles):
    buffers = []
    for image in tiles:
        buffers.append(io.BytesIO())
        Image.fromarray(image).save(buffers[-1], format="PNG")
    lazy = [Image.open(buffer) for buffer in buffers]
    np.testing.assert_array_equal(extractor.transform(lazy), features)


def test_a_failed_refit_leaves_the_detector_as_it_was(tiles, tmp_path):
    detector = DN2().fit(tiles[:10])
    before = detector.score_samples(tiles)
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [*as_paths(tiles[:5], tmp_path), tmp_path / "broken.png"]
    with pytest.raises(ValueError, match="broken.png"):
        detector.fit(paths)
    np.testing.assert_array_equal(detector.score_samples(tiles), before)
