"""Encoded images wherever they lie: bytes, open files, addresses, tar files, tables, rows."""

import io
import pickle
import tarfile
import weakref
import zipfile

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from fsspec.spec import AbstractFileSystem
from PIL import Image
from sklearn.model_selection import cross_val_score

from skad import DN2, FeatureExtractor, OneClassKFold, auroc_scorer
from skad.datasets import tar_images
from skad.images import _encoded


@pytest.fixture(scope="module")
def extractor(tiles):
    return FeatureExtractor().fit(tiles)


@pytest.fixture(scope="module")
def features(extractor, tiles):
    return extractor.transform(tiles)


def encoded(image, kind="PNG", **how):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **how)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(tiles):
        (folder / f"{i:02}.png").write_bytes(encoded(image))
    return folder


def paths_in(folder):
    return sorted(str(path) for path in folder.glob("*.png"))


def bytes_in(folder):
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


class Unseekable(io.RawIOBase):
    """What comes over a wire: it can be read once."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        found = self.content.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class Rows:
    """A data set of rows, as those of Hugging Face: dicts, and columns by name."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def in_zip(folder):
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w") as file:
        for image in folder.glob("*.png"):
            file.write(image, image.name)
    return [f"zip://{i:02}.png::{path}" for i in range(48)]


def in_memory(folder):
    names = [f"memory://pictures/{i:02}.png" for i in range(48)]
    for name, content in zip(names, bytes_in(folder)):
        with fsspec.open(name, "wb") as file:
            file.write(content)
    return names


def in_tar(folder, **how):
    path = folder / "shard-000.tar"
    with tarfile.open(path, "w", **how) as tar:
        for image in sorted(folder.glob("*.png")):
            tar.add(image, image.name)
    return tar_images([path])[0]


def open_files(folder):
    files = [io.FileIO(path) for path in paths_in(folder)]
    for file in files:
        weakref.finalize(file, file.close)
    return files


CONTAINERS = {
    "bytes": bytes_in,
    "bytearrays": lambda folder: list(map(bytearray, bytes_in(folder))),
    "memory views": lambda folder: list(map(memoryview, bytes_in(folder))),
    "array of bytes": lambda folder: np.array(bytes_in(folder), dtype=object),
    "open files": open_files,
    "files in memory": lambda folder: list(map(io.BytesIO, bytes_in(folder))),
    "pandas column": lambda folder: pd.Series(paths_in(folder)),
    "pandas table": lambda folder: pd.DataFrame({"anything": paths_in(folder)}),
    "pandas table of several columns": lambda folder: pd.DataFrame(
        {"camera": ["left"] * 48, "path": paths_in(folder), "number": range(48)}
    ),
    "pandas table of bytes": lambda folder: pd.DataFrame({"image": bytes_in(folder)}),
    "array of one column": lambda folder: np.array(paths_in(folder))[:, None],
    "objects of one column": lambda folder: np.array(paths_in(folder), dtype=object)[:, None],
    "categories": lambda folder: pd.DataFrame({"any": pd.Categorical(paths_in(folder))}),
    "polars column": lambda folder: pl.Series(paths_in(folder)),
    "polars table": lambda folder: pl.DataFrame({"anything": paths_in(folder)}),
    "polars table of several columns": lambda folder: pl.DataFrame(
        {"camera": ["left"] * 48, "image": bytes_in(folder), "number": range(48)}
    ),
    "rows of images": lambda folder: [
        {"image": Image.open(p), "label": 1} for p in paths_in(folder)
    ],
    "data set of rows": lambda folder: Rows([{"img": Image.open(p)} for p in paths_in(folder)]),
    "rows of tensors": lambda folder: Rows(
        [{"label": 0, "pixel_values": np.asarray(Image.open(p)) / 255} for p in paths_in(folder)]
    ),
    "rows not decoded": lambda folder: [
        {"image": {"bytes": content, "path": None}} for content in bytes_in(folder)
    ],
    "rows of paths": lambda folder: [
        {"image": {"bytes": None, "path": path}} for path in paths_in(folder)
    ],
    "columns by name": lambda folder: {"label": [0] * 48, "image": paths_in(folder)},
    "addresses": in_memory,
    "file addresses": lambda folder: [f"file://{path}" for path in paths_in(folder)],
    "members of a zip file": in_zip,
    "members of a tar file": in_tar,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_images_have_the_same_features_in_every_container(
    container, extractor, features, tiles, folder
):
    images = CONTAINERS[container](folder)
    np.testing.assert_array_equal(extractor.transform(images), features)
    np.testing.assert_array_equal(FeatureExtractor().fit(images).transform(images), features)


def test_files_that_can_be_read_once(extractor, features, folder):
    files = list(map(Unseekable, bytes_in(folder)))
    np.testing.assert_array_equal(extractor.transform(files), features)


def test_open_files_stay_where_they_stand(tiles, extractor, features):
    files = [io.BytesIO(b"header" + encoded(image)) for image in tiles]
    for file in files:
        file.seek(6)
    twice = files + files  # the same file may be given again
    found = extractor.transform(twice)
    np.testing.assert_allclose(found, np.concatenate([features] * 2), rtol=1e-5, atol=1e-6)
    assert {file.tell() for file in files} == {6}


@pytest.mark.parametrize(
    "of", ["pandas table", "polars table", "bytes", "array of bytes", "members of a tar file"]
)
def test_folds_of_a_container(of, tiles, folder):
    y = np.repeat([1, -1], 24)
    X = CONTAINERS[of](folder)
    figures = [
        cross_val_score(DN2(), images, y, cv=OneClassKFold(2), scoring=auroc_scorer)
        for images in (X, tiles)
    ]
    np.testing.assert_array_equal(*figures)


class FlakyFileSystem(AbstractFileSystem):
    """Breaks off the first times that each file is asked for."""

    protocol, cachable = "flaky", False
    n_failures, asked, files = 2, {}, {}

    def _open(self, path, mode="rb", **_):
        asked = FlakyFileSystem.asked
        asked[path] = asked.get(path, 0) + 1
        if path not in self.files:
            raise FileNotFoundError(path)
        if asked[path] <= self.n_failures:
            raise OSError("connection reset by peer")
        return io.BytesIO(self.files[path])


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)


@pytest.fixture
def flaky(monkeypatch, folder):
    monkeypatch.setattr(_encoded, "_WAIT", 0.001)
    FlakyFileSystem.asked.clear()
    contents = enumerate(bytes_in(folder))
    FlakyFileSystem.files = {f"pictures/{i:02}.png": content for i, content in contents}
    return [f"flaky://{path}" for path in FlakyFileSystem.files]


def test_what_is_far_is_asked_for_again(flaky, extractor, features):
    np.testing.assert_array_equal(extractor.transform(flaky), features)
    assert set(FlakyFileSystem.asked.values()) == {3}


def test_what_is_far_and_broken_is_named(flaky, extractor, monkeypatch):
    monkeypatch.setattr(FlakyFileSystem, "n_failures", 100)
    with pytest.raises(ValueError, match=r"image \d+ \(flaky://pictures/\d+.png\) could not be"):
        extractor.transform(flaky)
    assert max(FlakyFileSystem.asked.values()) == 4
    FlakyFileSystem.asked.clear()
    monkeypatch.setattr(FlakyFileSystem, "n_failures", 0)
    with pytest.raises(FileNotFoundError, match=r"image 1 \(flaky://pictures/none.png\)"):
        extractor.transform([flaky[0], "flaky://pictures/none.png"])
    assert FlakyFileSystem.asked["pictures/none.png"] == 1, "what is not there won't come"


def test_secrets_in_addresses_are_not_told(extractor):
    address = "memory://user:word@host/a.png?signature=secret"
    with pytest.raises(FileNotFoundError) as error:
        extractor.transform([address])
    assert "memory://host/a.png" in str(error.value)
    assert "secret" not in str(error.value)
    assert "word" not in str(error.value)
    for address in ("ftp://u:sec@ret@h/x.png", "s3://k:sec/ret@h/x.png"):
        assert _encoded.name_of(address).endswith("://h/x.png)")
    member = _encoded.TarMember("https://u:secret@h/s.tar?sig=secret", "a.png", 0, 1)
    assert _encoded.name_of(member) == " (https://h/s.tar/a.png)"


def test_addresses_without_fsspec_name_the_extra(extractor, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ImportError, match=r'pip install "skad\[remote\]"'):
        extractor.transform(["s3://bucket/a.png"])


class TestTarImages:
    @pytest.fixture
    def shard(self, tiles, tmp_path):
        path = tmp_path / "shard.tar"
        with tarfile.open(path, "w") as tar:
            for i in range(4):
                content = {"png": encoded(tiles[i]), "json": b"{}"}
                if i < 2:
                    content["cls"] = f"{i}\n".encode()
                for ending, data in content.items():
                    member = tarfile.TarInfo(f"{'train' if i % 2 else 'test'}/{i}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
            hidden = tarfile.TarInfo("train/.hidden.png")
            tar.addfile(hidden)
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        return path

    def test_images_and_labels(self, shard, extractor, features):
        images, labels = tar_images(str(shard))
        assert [image.name for image in images] == [
            f"{'train' if i % 2 else 'test'}/{i}.png" for i in range(4)
        ]
        assert labels.tolist() == ["0", "1", "test", "train"]
        found = extractor.transform(pickle.loads(pickle.dumps(images[[3, 1]])))
        np.testing.assert_allclose(found, features[[3, 1]], rtol=1e-5, atol=1e-6)

    def test_a_shard_may_be_far(self, shard, extractor, features):
        with fsspec.open("memory://shard.tar", "wb") as file:
            file.write(shard.read_bytes())
        images, _ = tar_images(["memory://shard.tar"])
        found = extractor.transform(images)
        np.testing.assert_allclose(found, features[:4], rtol=1e-5, atol=1e-6)

    def test_a_shard_is_no_image(self, shard):
        with pytest.raises(ValueError, match=r"image 0 .*shard.tar.* is a tar file.*tar_images"):
            DN2().fit([shard])

    @pytest.mark.parametrize("content", [b"", b"x" * 2000, None])
    def test_what_is_no_tar_file(self, content, shard, tmp_path):
        path = tmp_path / "broken.tar"
        if content is None:
            with tarfile.open(path, "w:gz") as tar:
                tar.add(shard)
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.tar.*could not be read as a tar|no images"):
            tar_images(path)

    def test_missing_and_empty_ones(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="none.tar"):
            tar_images(tmp_path / "none.tar")
        with tarfile.open(tmp_path / "empty.tar", "w"):
            pass
        with pytest.raises(ValueError, match="there are no images; members ending in .bmp"):
            tar_images(tmp_path / "empty.tar")
        with pytest.raises(TypeError, match="give a list"):
            tar_images(tmp_path / "empty.tar", extensions=".png")

    def test_a_cut_shard_names_the_image(self, shard, extractor):
        images, _ = tar_images(shard)
        shard.write_bytes(shard.read_bytes()[: images[3].offset + 100])
        with pytest.raises(
            ValueError, match=r"image 3 \(.*shard.tar/train/3.png\) could not be read"
        ):
            extractor.transform(images)
