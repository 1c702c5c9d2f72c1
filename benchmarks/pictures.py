"""Large pictures, and many small ones: time and memory against Pillow alone in the same run.

    python -m benchmarks.pictures
    python -m benchmarks.pictures jpeg_12 --out benchmarks/pictures.jsonl

Pictures are a photograph of scikit-learn's, enlarged, with the noise of a sensor. The yardstick is
Pillow decoding each file wholly, on one thread, and nothing else; skad's time is that of
``DN2().fit(paths)``, network and scorer included, on two cores.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skad import DN2, FeatureExtractor

from .timing import paired_times, peak_memory, run_tasks

# Megapixels by height and width, as phones and cameras have them, and how many pictures.
SIZES = {1: ((864, 1152), 64), 12: ((3024, 4032), 64), 45: ((5504, 8256), 16)}
FORMATS = {"jpeg": {"quality": 90}, "png": {"compress_level": 6}, "tiff": {}}


def write_pictures(folder, size, kind, n_pictures):
    """Write a few pictures, and the paths of many."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.RandomState(0)
    for i, photo in enumerate(load_sample_images().images):
        large = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BICUBIC))
        noise = rng.randint(-6, 7, (*size, 3), dtype=np.int16)
        picture = (large.astype(np.int16) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(Path(folder, f"{i}.{kind}"), **FORMATS[kind])
    # Links, so that the operating system keeps each in its cache.
    paths = [Path(folder, f"link{i}.{kind}") for i in range(n_pictures)]
    for i, path in enumerate(paths):
        path.symlink_to(Path(folder, f"{i % 2}.{kind}"))
    return list(map(str, paths))


def decode(paths):
    """Pillow alone, on one thread."""
    from PIL import Image

    for path in paths:
        with Image.open(path) as image:
            image.load()


def pictures(kind, megapixels, repeats=3):
    """Seconds and MiB of a fit, by the ways of decoding that the format has."""
    size, n_pictures = SIZES[megapixels]
    figures, label = {}, f"{n_pictures} {kind.upper()}s of {megapixels} MP"
    with TemporaryDirectory() as folder:
        paths = write_pictures(folder, size, kind, n_pictures)
        for how in ("exact", "draft") if kind == "jpeg" else ("exact",):
            fit = partial(DN2(decode=how).fit, paths)
            pillow, ours = paired_times(partial(decode, paths), fit, repeats)
            figures[f"{label}, {how}: fit / Pillow on one thread"] = ours / pillow
            peak = peak_memory(
                "from skad import DN2; from pathlib import Path;"
                f"DN2(decode={how!r}).fit(sorted(map(str, Path({folder!r}).glob('link*'))))"
            )
            figures[f"{label}, {how}: peak MiB"] = peak
        figures[f"{label}: Pillow, seconds an image"] = pillow / n_pictures
    return figures


def small_files(n_files=2_000, times=10, repeats=3):
    """20 000 small files: features, over Pillow's decoding and the bare network on one thread."""
    from PIL import Image

    rng = np.random.RandomState(0)
    with TemporaryDirectory() as folder:
        for i in range(n_files):
            image = rng.randint(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(image).save(Path(folder, f"{i}.jpeg"))
        paths = [str(Path(folder, f"{i}.jpeg")) for i in range(n_files)] * times
        extractor = FeatureExtractor().fit(paths[:2])

        def plain():
            for first in range(0, len(paths), 64):
                arrays = [np.asarray(Image.open(path)) for path in paths[first : first + 64]]
                extractor.transform(np.stack(arrays))

        loop, ours = paired_times(plain, partial(extractor.transform, paths), repeats)
    return {"20 000 files of 96 x 96: features / plain loop over arrays": ours / loop}


def difference():
    """What boxes and drafts change in the values that a network sees, white being 1."""
    from skad.images._batches import Batch
    from skad.images._door import check_images
    from skad.networks._preprocessing import Preprocessing, preprocess

    figures = {}
    with TemporaryDirectory() as folder:
        paths = write_pictures(folder, SIZES[12][0], "jpeg", 2)
        for image_size, resize in ((64, "whole"), (224, "crop")):
            seen = Preprocessing(image_size, resize, (0.0,) * 3, (1.0,) * 3, 3)
            sources = {how: check_images(DN2(decode=how), paths) for how in ("exact", "draft")}
            whole = [sources["exact"].read(i, i + 1).pixels[0] for i in range(2)]
            exact = preprocess(Batch(whole), seen, "cpu")
            for how, source in sources.items():
                batch = source.read(0, 2, 1, seen.detail)
                error = (preprocess(batch, seen, "cpu") - exact).abs()
                label = f"JPEGs of 12 MP at {image_size} pixels, {how}: change of values"
                figures[f"{label}, root mean square"] = error.square().mean().sqrt()
                figures[f"{label}, greatest"] = error.max()
        features = [FeatureExtractor(decode=how).fit_transform(paths) for how in sources]
        moved = np.linalg.norm(features[1] - features[0], axis=1).max()
        between = np.linalg.norm(features[0][0] - features[0][1])
        figures["draft: features move, of the distance between two photographs"] = moved / between
    return figures


TASKS = {f"{kind}_{size}": partial(pictures, kind, size) for kind in FORMATS for size in SIZES}
TASKS |= {"difference": difference, "small_files": small_files}


if __name__ == "__main__":
    run_tasks(TASKS, __doc__)
