"""Ratios of speed and memory, each against a yardstick in the same run.

    python -m benchmarks.speed
    python -m benchmarks.speed --out benchmarks/speed.jsonl

Absolute times say little about another machine; a ratio to the bare forward pass or to raw faiss
does. Each figure is the median of paired runs, yardstick and skad in turn.
"""

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skad import DN2, FeatureExtractor

from . import speed_maps, speed_scorers
from .timing import paired_times, peak_memory, run_tasks


def bare_loop(extractor, images, batch_size):
    """Resize and forward with the extractor's own network, and nothing else."""
    import torch
    import torch.nn.functional as F

    network, made = extractor.network_, extractor.preprocessing_
    dtype = next(network.parameters()).dtype
    size, mean, std = made.image_size, made.mean[0], made.std[0]
    with torch.inference_mode():
        for i in range(0, len(images), batch_size):
            x = torch.from_numpy(images[i : i + batch_size]).permute(0, 3, 1, 2).float().div_(255)
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True)
            x = x.sub_(mean).div_(std).to(dtype, memory_format=torch.channels_last)
            network(x)


def extraction(n_images=2048):
    """Images a second from a uint8 array, of those of the bare loop; 1 is par."""
    images = np.random.RandomState(0).randint(0, 256, (n_images, 32, 32, 3), dtype=np.uint8)
    figures = {}
    for precision, batch_size in product(("float32", "bfloat16"), (64, 256)):
        extractor = FeatureExtractor(precision=precision, batch_size=batch_size).fit(images)
        bare, ours = paired_times(
            lambda e=extractor, n=batch_size: bare_loop(e, images, n),
            lambda e=extractor: e.transform(images),
            repeats=5,
        )
        aim = {64: 0.92, 256: 0.97}[batch_size]
        what = f"{precision}, batches of {batch_size}"
        figures[f"extraction / bare loop, {what} (images per second; >= {aim})"] = bare / ours
        figures[f"images per second, {what}"] = n_images / ours
    return figures


def one_image():
    """Time of one image alone, over its bare forward pass."""
    import torch

    image = np.random.RandomState(0).randint(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    extractor = FeatureExtractor().fit(image)
    detector = DN2().fit(np.repeat(image, 50, axis=0))
    size = extractor.preprocessing_.image_size
    x = torch.rand(1, 3, size, size).to(memory_format=torch.channels_last)

    def forward():
        with torch.inference_mode():
            extractor.network_(x)

    forward_time, ours = paired_times(forward, lambda: extractor.transform(image), repeats=100)
    again, whole = paired_times(forward, lambda: detector.decision_function(image), repeats=100)
    return {
        "one image, features / forward pass (<= 1.3)": ours / forward_time,
        "one image, DN2 decision / forward pass": whole / again,
    }


def _peak_memory(folder, n_images):
    """Peak resident MiB of a process that scores so many images from paths."""
    return peak_memory(
        "import numpy as np; from skad import DN2;"
        f"paths = np.array([f'{folder}/{{i % 200}}.jpg' for i in range({n_images})]);"
        "detector = DN2().fit(paths[:200]); detector.decision_function(paths);"
    )


def memory():
    """Peak memory of scoring 20 000 images from paths, over that of 2 000."""
    from PIL import Image

    rng = np.random.RandomState(0)
    with TemporaryDirectory() as folder:
        for i in range(200):
            image = rng.randint(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(image).save(Path(folder, f"{i}.jpg"))
        few, many = _peak_memory(folder, 2_000), _peak_memory(folder, 20_000)
    return {"peak memory, 20 000 / 2 000 paths (<= 1.1)": many / few}


TASKS = {
    "extraction": extraction,
    "one_image": one_image,
    "memory": memory,
    "knn": speed_scorers.knn,
    "knn_fit": speed_scorers.knn_fit,
    "gaussian": speed_scorers.gaussian,
    "growth": speed_scorers.growth,
    "scorer_memory": speed_scorers.scorer_memory,
    "maps": speed_maps.maps,
    "map_memory": speed_maps.map_memory,
}


if __name__ == "__main__":
    run_tasks(TASKS, __doc__)
