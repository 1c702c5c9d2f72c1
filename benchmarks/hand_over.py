"""What is handed over: model files beside pickle, graphs beside torch, in the same run.

    python -m benchmarks.hand_over
    python -m benchmarks.hand_over model_31 graphs --out benchmarks/speed.jsonl

Pictures are tiles of scikit-learn's photographs. The yardstick of loading is a new process that
imports torch and reads the file; that of a graph is the detector itself, on the same pictures, one
by one, with as many threads.
"""

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import skad
from skad import (
    DN2,
    MSC,
    NSA,
    PANDA,
    SPADE,
    CentroidScorer,
    ConformalDetector,
    FeatureExtractor,
    GaussianScorer,
    ImageDetector,
    KNNScorer,
    PatchCore,
)
from skad.backbones import small_cnn
from skad.export import to_onnx

from .timing import paired_times, run_tasks

READ = "import sys, torch; open(sys.argv[1], 'rb').read()"
LOAD = "import sys, skad; skad.load(sys.argv[1])"


def tiles(n_images, side):
    """So many pieces of photographs, at random places."""
    from sklearn.datasets import load_sample_images

    rng, photos = np.random.RandomState(0), load_sample_images().images
    found = []
    for index in range(n_images):
        photo = photos[index % len(photos)]
        top, left = (rng.randint(length - side) for length in photo.shape[:2])
        found.append(photo[top : top + side, left : left + side])
    return np.stack(found)


def model_file(n_images):
    """Size of a model file, and the time it takes to load, in a process of its own."""
    detector = DN2().fit(tiles(n_images, 64))
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.skad")
        skad.save(detector, path)
        size = path.stat().st_size
        pickled = Path(folder, "a.pickle")
        pickled.write_bytes(pickle.dumps(detector))

        def run(code, file):
            return lambda: subprocess.run([sys.executable, "-c", code, str(file)], check=True)

        unpickle = "import sys, pickle; pickle.load(open(sys.argv[1], 'rb'))"
        read, load = paired_times(run(READ, path), run(LOAD, path), repeats=5)
        read_again, loaded = paired_times(run(READ, pickled), run(unpickle, pickled), repeats=5)
    label = f"DN2 of {n_images} pictures"
    return {
        f"{label}: model file, MB": size / 1e6,
        f"{label}: pickle, MB": len(pickle.dumps(detector)) / 1e6,
        f"{label}: load / import torch and read the file (< 2)": load / read,
        f"{label}: unpickle / import torch and read the file": loaded / read_again,
    }


def graphs():
    """Pictures a second of an ONNX graph beside the detector, one picture at a time."""
    figures = {}
    for name, detector, side in (
        ("DN2, tiny, pictures of 224", DN2(), 224),
        ("DN2, tiny, pictures of 12 MP", DN2(), None),
        ("DN2, ResNet-18 at 224", DN2(backbone="resnet18", weights=None), 224),
        ("SPADE, 50 centroids, pictures of 224", SPADE(n_neighbors=5, n_centroids=50), 224),
        ("calibrated DN2, pictures of 224", ConformalDetector(DN2(), false_alarm_rate=0.1), 224),
    ):
        detector.fit(tiles(60, 224))
        pictures = tiles(8, 224)
        if side is None:
            pictures = np.stack([np.tile(one, (14, 18, 1))[:3024, :4032] for one in pictures[:2]])
        figures |= _beside(name, detector, pictures)
    return figures


def _beside(name, detector, pictures):
    import onnxruntime
    import torch

    gives_maps = hasattr(detector, "score_maps")

    def ours():
        for one in pictures:
            detector.decision_function(one[None])
            if gives_maps:  # the graph gives both in one pass
                detector.score_maps(one[None])

    with TemporaryDirectory() as folder:
        path = str(Path(folder, "a.onnx"))
        largest = to_onnx(detector, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options)

        def graph():
            for one in pictures:
                session.run(None, {"pixels": one[None]})

        detector_time, graph_time = paired_times(ours, graph, repeats=7)
    return {
        f"{name}: pictures a second, ONNX / torch": detector_time / graph_time,
        f"{name}: largest difference of scores, millionths": 1e6 * largest,
    }


def equality():
    """Largest difference of scores between real ONNX files and their detectors, in millionths."""
    pictures, train = photographs(), tiles(60, 96)
    small, scratch = {"image_size": 64}, {"backbone": partial(small_cnn, width=8, image_size=32)}
    detectors = {
        "DN2": DN2(**small),
        **{f"KNNScorer, {m}": by(KNNScorer(metric=m)) for m in METRICS},
        "KNNScorer, centroids": by(KNNScorer(n_centroids=9)),
        "GaussianScorer": by(GaussianScorer()),
        "CentroidScorer": by(CentroidScorer()),
        "CentroidScorer, whitened": by(CentroidScorer("mahalanobis_cosine")),
        "PANDA": PANDA(n_steps=5, **small),
        "MSC": MSC(n_epochs=1, **small),
        "NSA": NSA(n_steps=5, weights=None, **scratch),
        "SPADE, 50 centroids": SPADE(n_neighbors=5, n_centroids=50, **small),
        "PatchCore": PatchCore(**small),
        "ConformalDetector": ConformalDetector(DN2(**small), false_alarm_rate=0.1),
    }
    figures = {}
    with TemporaryDirectory() as folder:
        for name, detector in detectors.items():
            largest = to_onnx(detector.fit(train), Path(folder, "a.onnx"), pictures=pictures)
            figures[f"ONNX file of {name}: difference of scores, millionths"] = 1e6 * largest
    return figures


METRICS = ("cosine", "euclidean", "angle", "mahalanobis", "mahalanobis_cosine")


def by(scorer):
    """A detector with a scorer of its own."""
    return ImageDetector(FeatureExtractor(image_size=64), scorer=scorer)


def photographs():
    """Two photographs, whole, in eight sizes: smaller and larger than networks take, and strips."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    sizes = ((40, 60), (64, 64), (100, 75), (427, 640), (1000, 1500), (2000, 1333), (90, 700))
    return [
        np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BICUBIC))
        for photo in load_sample_images().images
        for size in (*sizes, (3024, 4032))
    ]


TASKS = {
    "equality": equality,
    "model_31": lambda: model_file(31),
    "model_5000": lambda: model_file(5_000),
    "graphs": graphs,
}

if __name__ == "__main__":
    run_tasks(TASKS, __doc__)
