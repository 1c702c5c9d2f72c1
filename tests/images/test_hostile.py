"""Whatever comes: a score or one named error; never a crash, a hang or a warning from below."""

import io
import multiprocessing
import os
import re
import stat
import struct
import zlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.base import clone

from skad import DN2, FeatureExtractor
from skad.images._batches import read_all
from skad.images._door import check_images
from skad.images._reading import Reading
from skad.networks._preprocessing import preprocess

# Seeds are fixed, and nothing is kept from run to run.
FUZZ = settings(
    max_examples=800,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
NAMED = re.compile(r"^FeatureExtractor: (image \d+|X|an array|each image|floats of images)\b")


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor(image_size=8, weights=None).fit(np.zeros((1, 8, 8)))


def read(extractor, images):
    """Features of images, or the one error that names what is wrong with them."""
    try:
        features = extractor.transform(images)
    except (ValueError, TypeError, OSError) as error:
        message = str(error)
        assert message.startswith("FeatureExtractor: ")
        assert "bytes object" not in message
        return message
    assert np.isfinite(features).all()
    assert len(features) == len(images)
    return features


# ------------------------------------------------------------------------------- files, damaged

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"]
KINDS = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK", "YCbCr"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"],
    "GIF": ["L", "P", "RGB"],
    "BMP": ["1", "L", "P", "RGB"],
    "WEBP": ["RGB", "RGBA"],
    "PPM": ["1", "L", "RGB", "I"],
    "ICO": ["RGBA"],
    "TGA": ["L", "RGB", "RGBA"],
    "PCX": ["L", "P", "RGB"],
}
FILES = {}
for kind, modes in KINDS.items():
    for mode in modes:
        pixels = np.random.RandomState(0).randint(0, 256, (24, 33, 3)).astype(np.uint8)
        image = Image.fromarray(pixels)
        image = (image.convert("L") if mode in ("I;16", "I", "F") else image).convert(mode)
        for options in [{}, {"compression": "tiff_lzw"}] if kind == "TIFF" else [{}]:
            buffer = io.BytesIO()
            image.save(buffer, kind, **options)
            FILES[f"{kind} {mode} {options}"] = buffer.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_every_mode_of_every_format_is_read(name, extractor):
    found = read(extractor, [FILES[name]])
    if name.startswith(("TIFF I ", "TIFF F ")):  # whose black and white nobody knows
        assert "value_range" in found
    else:
        assert not isinstance(found, str)


@seed(1)
@FUZZ
@given(name=st.sampled_from(sorted(FILES)), data=st.data())
def test_truncated_files(extractor, name, data):
    content = FILES[name]
    cut = data.draw(st.integers(0, len(content) - 1))
    found = read(extractor, [content[:cut]])
    if isinstance(found, str):
        assert NAMED.match(found), found


@seed(2)
@FUZZ
@given(name=st.sampled_from(sorted(FILES)), data=st.data())
def test_flipped_bits(extractor, name, data):
    content = bytearray(FILES[name])
    # Half of them among the first bytes, where formats keep what leads astray.
    places = st.integers(0, len(content) - 1) | st.integers(0, min(200, len(content) - 1))
    for place, bit in data.draw(
        st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=8)
    ):
        content[place] ^= 1 << bit
    found = read(extractor, [bytes(content)])
    if isinstance(found, str):
        assert NAMED.match(found), found


@seed(3)
@FUZZ
@given(content=st.binary(max_size=200), start=st.sampled_from(sorted(FILES)), n=st.integers(0, 40))
def test_noise(extractor, content, start, n):
    found = read(extractor, [FILES[start][:n] + content])
    if isinstance(found, str):
        assert NAMED.match(found), found


# ------------------------------------------------------------------------------ arrays and tensors

DTYPES = [*"?bBhHiIlLefd", "c8", ">u2", "<u2", "O", "U3", "M8[s]"]
SHAPES = st.lists(st.integers(0, 7), min_size=0, max_size=5).map(tuple)


@seed(4)
@FUZZ
@given(data=st.data(), dtype=st.sampled_from(DTYPES), shape=SHAPES, form=st.integers(0, 3))
def test_arrays_of_any_shape_and_type(extractor, data, dtype, shape, form):
    if dtype == "O":
        values = np.empty(shape, dtype=object)
    else:
        values = data.draw(arrays(np.dtype(dtype), shape, fill=st.nothing()))
    if form == 1:
        values = list(values) if values.ndim else [values]
    elif form == 2 and values.dtype.kind in "buif" and values.dtype.byteorder in "=|":
        values = torch.from_numpy(values.copy())
    elif form == 3:
        values = [values, values]
    try:
        batch = read_all(check_images(clone(extractor), values, reset=True), 1)
    except (ValueError, TypeError, OSError):  # OSError: strings are paths
        return
    found = preprocess(batch, extractor.preprocessing_, "cpu")
    assert found.isfinite().all()


@seed(5)
@FUZZ
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    mode=st.sampled_from(MODES),
    image_shape=st.none() | st.lists(st.integers(-1, 9), max_size=4),
    reduced=st.booleans(),
)
def test_pil_images_of_any_size_and_mode(extractor, shape, mode, image_shape, reduced):
    image = Image.fromarray(np.zeros(shape, np.uint8))
    image = image if mode in ("I;16", "I", "F") else image.convert("RGB")
    detail = (lambda *_: (2, 2)) if reduced else None
    source = check_images(extractor, [image.convert(mode)])
    batch = source.read(0, 1, 1, detail)
    assert batch.sizes == [shape]
    assert not batch.pixels[0].any() or mode in ("YCbCr", "LA", "CMYK")


# ------------------------------------------------------------------------------------- by name


def png(width, height, rows=b""):
    """A PNG file that promises more than it holds."""

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_decompression_bombs(extractor, recwarn):
    assert "MAX_IMAGE_PIXELS" in read(extractor, [png(60_000, 60_000)])
    # Pillow only warns of these: large cameras have them.
    assert "image 1 could not be read" in read(extractor, [np.ones((9, 9)), png(12_000, 9_000)])
    assert not list(recwarn)


def test_strips(extractor, tmp_path):
    path = tmp_path / "strip.png"
    for size in ((1, 60_000), (60_000, 1)):
        Image.new("RGB", size).save(path)
        message = "image 0 .*strip of .* cut it into pieces at most 1000 times as long as wide"
        assert re.search(message, read(extractor, [path]))
        assert "strip" in read(extractor, [np.zeros((*size, 3), np.uint8)])
        assert "strip" in read(extractor, np.zeros((2, *size), np.uint8))
    assert not isinstance(read(extractor, np.zeros((2, 6000), np.uint8)), str), "rows may be long"
    assert not isinstance(read(extractor, [np.zeros((2, 2000), np.uint8)]), str)


def test_no_bytes_and_no_image(extractor, tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    assert "image 0 (" in read(extractor, [path])
    assert "empty.png) could not be read as an image: it holds 0 bytes" in read(extractor, [path])
    assert "of no image format that Pillow knows" in read(extractor, [b""])
    path.write_bytes(b"top secret content of a file that is no image")
    found = read(extractor, [path])
    assert "no image format" in found
    assert "secret" not in found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_hang(extractor, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe.png) is no regular file, but a pipe" in read(extractor, [tmp_path / "pipe.png"])
    assert "is no regular file" in read(extractor, ["/dev/null"])


def test_a_folder_called_like_a_file(extractor, tmp_path):
    (tmp_path / "x.png").mkdir()
    found = read(extractor, [str(tmp_path / "x.png")])
    assert re.search(r"image 0 \(.*x.png\) is a directory; list its .*image_folder", found)


def test_names_that_are_none(extractor):
    assert "does not exist" in read(extractor, ["/no/such\nfile.png"])
    assert "is no path" in read(extractor, ["a\0b.png"])
    assert "can't be looked at" in read(extractor, ["a" * 5000 + ".png"])


def _read_as_nobody(path, found):
    os.setuid(65534)
    try:
        check_images(FeatureExtractor(), [path])
    except OSError as error:
        found.put((type(error).__name__, str(error)))


def test_files_that_may_not_be_read(tmp_path):
    path = tmp_path / "mine.png"
    Image.new("RGB", (4, 4)).save(path)
    path.chmod(0)
    if os.geteuid() == 0:  # who may read all files: as somebody who may not
        for folder in [tmp_path, *tmp_path.parents][:-2]:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        context = multiprocessing.get_context("fork")
        found = context.Queue()
        process = context.Process(target=_read_as_nobody, args=(str(path), found))
        process.start()
        kind, message = found.get(timeout=60)
        process.join()
    else:
        with pytest.raises(PermissionError) as error:
            check_images(FeatureExtractor(), [path])
        kind, message = type(error.value).__name__, str(error.value)
    assert kind == "PermissionError"
    assert re.search(
        r"image 0 \(.*mine.png\) (could not be read|can't be looked at): .*[Pp]ermi", message
    )


# ------------------------------------------------------------------- containers that are none


def generator():
    yield np.zeros((8, 8))


REFUSED = {
    "generator": (generator(), "X is a generator, .*list"),
    "set": ({"a.png", "b.png"}, "X is a set, .*sorted"),
    "map": (map(str, "ab"), "X is a map, .*list"),
    "keys": ({"a.png": 1}.keys(), "X is a dict_keys"),
    "DataLoader": (
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 3, 8, 8))),
        "X is a DataLoader, .*X.dataset",
    ),
    "masked array": (np.ma.masked_array(np.zeros((3, 8, 8)), True), "X is a masked array.*filled"),
    "dict": ({"pictures": [1], "labels": [2]}, "dict of 'pictures', 'labels'.*'image'"),
    "rows of unknown keys": ([{"photo": np.zeros((8, 8))}], "image 0 is a dict of 'photo'.*'img'"),
    "rows without image": ([{"image": None}], "image 0 is a NoneType, not an image"),
    "bytes": (b"secret", r"X is one image or file; give a list"),
    "open file": (io.BytesIO(b"secret"), "X is one image or file"),
    "text file": ([io.StringIO("secret")], "image 0 is open as text; open it with mode 'rb'"),
    "array of bytes": (np.array([b"secret", b"b"]), r"dtype .S6, which cuts zeros"),
    "one path": ("secret/a.png", "X is one path; give a list of image files"),
    "iterable data set": (
        type("Stream", (torch.utils.data.IterableDataset,), {"__iter__": lambda self: iter(())})(),
        "X is a Stream, whose images",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_container_says_what_works(case):
    images, message = REFUSED[case]
    with pytest.raises(TypeError, match=f"^DN2: .*{message}") as error:
        DN2().fit(images)
    assert "secret" not in str(error.value)


def test_tables_with_gaps_and_without_rows():
    gaps = {"path": [None, "a.png"], "n": [1, 2]}
    for table in (pd.DataFrame(gaps), pl.DataFrame(gaps)):
        with pytest.raises(ValueError, match="DN2: image 0 is missing: there is (None|nan)"):
            DN2().fit(table)
        with pytest.raises(ValueError, match="DN2: X holds 0 images"):
            DN2().fit(table[:0])
    with pytest.raises(TypeError, match="DN2: X is a LazyFrame, .*collect"):
        DN2().fit(pl.DataFrame(gaps).lazy())


def test_paths_in_two_dimensions():
    with pytest.raises(TypeError, match=r"DN2: X of shape \(3, 2\) holds text; paths are given"):
        DN2().fit(np.full((3, 2), "a.png"))


def test_tables_without_a_column_of_images():
    table = pd.DataFrame({"left": ["a.png"] * 3, "right": ["b.png"] * 3})
    with pytest.raises(TypeError, match=r"columns 'left', 'right'; give the one .*X\['left'\]"):
        DN2().fit(table)


def test_closed_files():
    file = io.BytesIO(b"x")
    file.close()
    with pytest.raises(ValueError, match="DN2: image 0 is a closed file"):
        DN2().fit([file])


ADVICE = {
    "int8": (np.full((3, 8, 8), -7, np.int8), r"span \[-7, -7\]: say by value_range"),
    "int64 of bytes": (
        np.full((3, 8, 8), 255),
        r"lie in \[0, 255\]: .astype\(np.uint8\) keeps them",
    ),
    "int32 of 16 bits": (np.full((3, 8, 8), 256, np.int32), r"astype\(np.uint16\).*would wrap"),
    "uint32": (np.full((3, 8, 8), 70_000, np.uint32), "go up to 70000: say by value_range"),
    "complex": (np.zeros((3, 8, 8), complex), "dtype complex128; images are uint8"),
}


@pytest.mark.parametrize("case", ADVICE)
@pytest.mark.parametrize("listed", [False, True])
def test_advice_about_types_keeps_all_values(case, listed):
    images, message = ADVICE[case]
    with pytest.raises(TypeError, match=message):
        DN2().fit(list(images) if listed else images)


@pytest.mark.parametrize(
    "value_range", [0, 33, True, (1, 1), (5, 2), (0, np.inf), (0, 1, 2), ["a", "b"]]
)
def test_ranges_that_are_none(value_range):
    with pytest.raises(ValueError, match=r"value_range"):
        DN2(value_range=value_range).fit(np.zeros((4, 8, 8), np.uint16))


def test_values_beyond_the_range_are_named():
    images = np.full((4, 8, 8), 4095, np.uint16)
    images[2, 3, 3] = 4096
    with pytest.raises(
        ValueError, match=r"image 2 spans \[4095, 4096\], beyond value_range=\(0, 4095"
    ):
        DN2(value_range=12).fit(images)
    with pytest.raises(ValueError, match=r"image 0 is of 8 bits, .* value_range=\(0, 4095\)"):
        DN2(value_range=12).fit(images.astype(np.uint8))


def test_how_images_are_read_is_that_of_the_fit():
    assert Reading.of(DN2(value_range=10)).value_range == (0.0, 1023.0)
    detector = DN2(orientation="ignore").fit(np.random.RandomState(0).rand(5, 8, 8))
    detector.set_params(orientation="apply")
    assert check_images(detector, np.zeros((1, 8, 8))).reading.orientation == "ignore"
