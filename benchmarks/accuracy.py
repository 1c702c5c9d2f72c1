"""Measure a detector on a protocol, and keep the figures.

Each run appends one line of JSON to ``benchmarks/results.jsonl``; ``benchmarks/report`` makes
pages of ``doc/results`` of those. For example, DN2 at its defaults, one class against the rest:

    python -m benchmarks.accuracy DN2 --data cifar10
    python -m benchmarks.accuracy DN2 --data cifar10 --n-train 500 --n-test 100 \
        --params '{"metric": "euclidean"}' --network mobilenetv2
    python -m benchmarks.accuracy MSC --data cifar10 --n-train 500 --n-test 100 --seeds 0 1 2
    python -m benchmarks.accuracy PANDAOE --data fashion_mnist --auxiliary mnist
    python -m benchmarks.accuracy DeepSVDD --data mnist --network svdd_mnist
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import runpy
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import skad
from skad import model_selection
from skad.metrics import auroc_score

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("SKAD_SHARED", HERE.parents[1] / "shared"))
PROTOCOLS = ("one_vs_rest", "leave_one_class_out", "super_categories")
PACKAGES = ("skad", "torch", "timm", "scikit-learn", "faiss-cpu", "faiss-gpu", "numpy")

# What the image sets are called in the results; CIFAR-10 is a copy that went through JPEG.
TITLES = {
    "cifar10": "CIFAR-10 (JPEG copy)",
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "white_blood_cells": "White blood cells (dataset 1)",
}


class Images(NamedTuple):
    """One image set, split."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    classes: list


def load_images(folder, name, n_train=None, n_test=None):
    """Read an image set; keep the first `n_train` and `n_test` images of each class."""
    loader = runpy.run_path(str(Path(folder, "load.py")))
    labels, split, classes = loader["labels_of"](name)
    if name == "white_blood_cells":
        split = _split_white_blood_cells(labels, split)
    sides = []
    for part, most in (("train", n_train), ("test", n_test)):
        indices = [
            np.flatnonzero((split == part) & (labels == c))[:most] for c in np.unique(labels)
        ]
        indices = np.concatenate(indices)
        sides += [loader["load"](name, indices)[0], labels[indices]]
    return Images(*sides, [str(c) for c in classes])


def _split_white_blood_cells(labels, split):
    """Every other image of each type of cell, of those that are not as good as absent."""
    parts = np.full(len(labels), "unused")
    for label in np.unique(labels):
        indices = np.flatnonzero((split == "dataset1") & (labels == label))
        if len(indices) > 3:
            parts[indices[::2]], parts[indices[1::2]] = "train", "test"
    return parts


def shared_mobilenet(folder):
    """Parameters of a detector for the MobileNetV2 that the independent figures were made with."""
    import timm

    return {
        "backbone": partial(
            timm.create_model, "mobilenetv2_100", num_classes=1001, pad_type="same"
        ),
        "weights": str(Path(folder, "mobilenetv2_100_imagenet.safetensors")),
        "image_size": 128,
        "resize": "whole",
        "precision": "bfloat16",
        "mean": 0.5,
        "std": 0.5,
    }


def small_network(name):
    """Factory of a network of skad.backbones: "small_cnn:16" is small_cnn of width 16."""
    kind, _, width = name.partition(":")
    factory = getattr(skad.backbones, kind)
    return partial(factory, width=int(width)) if width else factory


def polluted(task, images, share):
    """Training images of a run, with outliers of all other classes among them."""
    others = ~np.isin(images.y_train, np.unique(task.y_train))
    return model_selection.pollute(task.X_train, images.X_train[others], share, random_state=0)[0]


def auxiliary_images(name, task, images, folder):
    """Images and labels of another set, or of the three classes after the normal one."""
    if name != "next":
        others = load_images(folder, name, n_train=500, n_test=1)
        return others.X_train, others.y_train
    n_classes = len(images.classes)
    chosen = np.isin((images.y_train - task.name) % n_classes, (1, 2, 3))
    return images.X_train[chosen], images.y_train[chosen]


def fit(detector, task, images, arguments):
    """Fit a detector to the training images of a run, with what else it takes."""
    X = polluted(task, images, arguments.pollution) if arguments.pollution else task.X_train
    if arguments.auxiliary is None:
        return detector.fit(X)
    others, labels = auxiliary_images(arguments.auxiliary, task, images, arguments.shared / "data")
    if isinstance(detector, skad.PANDAOE):
        return detector.fit(X, X_outliers=others)
    return detector.set_params(source_head="new").fit(X, X_source=others, y_source=labels)


def measure(detector, tasks, images, normal_name, arguments):
    """AUROC in percent of each run of a protocol, averaged over seeds."""
    figures = {}
    for task in tasks:
        name = normal_name(task.name)
        if arguments.classes and name not in arguments.classes:
            continue
        found = []
        for seed in arguments.seeds:
            detector.set_params(random_state=seed)
            fit(detector, task, images, arguments)
            found.append(100 * auroc_score(task.y_test, detector.decision_function(task.X_test)))
        figures[name] = [round(figure, 2) for figure in found]
        print(f"{name}: {' '.join(f'{figure:.2f}' for figure in found)}", flush=True)
    return figures


def versions():
    """Versions of the packages that decide the figures, of those that are there."""
    return {
        package.metadata["Name"]: package.version
        for package in importlib.metadata.distributions()
        if package.metadata["Name"] in PACKAGES
    }


def run(arguments):
    """Measure as the command line says, and give the line of results."""
    images = load_images(
        arguments.shared / "data", arguments.data, arguments.n_train, arguments.n_test
    )
    parameters = dict(arguments.params)
    if arguments.network == "mobilenetv2":
        parameters = shared_mobilenet(arguments.shared / "weights") | parameters
    elif arguments.network != "default":
        parameters["backbone"] = small_network(arguments.network)
    if arguments.memory:
        parameters["memory"] = arguments.memory
    detector = getattr(skad, arguments.detector)(**parameters)
    protocol = getattr(model_selection, arguments.protocol)
    groups = {"groups": arguments.groups} if arguments.groups else {}
    start = time.perf_counter()
    tasks = protocol(images.X_train, images.y_train, images.X_test, images.y_test, **groups)
    names = (lambda n: str(n)) if groups else (lambda n: images.classes[n])
    by_seed = measure(detector, tasks, images, names, arguments)
    figures = {name: round(float(np.mean(found)), 2) for name, found in by_seed.items()}
    means = np.mean(list(by_seed.values()), axis=0)
    return {
        "detector": arguments.detector,
        "params": arguments.params,
        "network": arguments.network,
        "data": TITLES.get(arguments.data, arguments.data),
        "protocol": arguments.protocol,
        "groups": arguments.groups,
        "pollution": arguments.pollution,
        "auxiliary": arguments.auxiliary,
        "seeds": arguments.seeds,
        "n_train": arguments.n_train,
        "n_test": arguments.n_test,
        "auroc": figures,
        "mean": round(float(means.mean()), 2),
        "spread": round(float(means.std(ddof=1)), 2) if len(means) > 1 else None,
        "seconds": round(time.perf_counter() - start, 1),
        "features_cached": bool(arguments.memory),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main():
    """Read the command line, measure, append the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("detector", help="name of a detector of skad, such as DN2")
    parser.add_argument("--params", type=json.loads, default={}, help="its parameters, as JSON")
    parser.add_argument(
        "--network",
        default="default",
        help="'default', 'mobilenetv2', or a network of skad.backbones, as 'small_cnn:16'",
    )
    parser.add_argument("--data", required=True, help=f"image set: {', '.join(TITLES)}")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="one_vs_rest")
    parser.add_argument("--groups", type=json.loads, help="for super_categories, as JSON")
    parser.add_argument("--pollution", type=float, default=0.0, help="share of outliers in fits")
    parser.add_argument("--classes", nargs="+", help="names of normal classes; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of random_state")
    parser.add_argument(
        "--auxiliary",
        help="for PANDAOE and JointOptimization: an image set, or "
        "'next', the training images of the three classes that follow",
    )
    parser.add_argument("--n-train", type=int, help="training images a class; all by default")
    parser.add_argument("--n-test", type=int, help="test images a class; all by default")
    parser.add_argument("--memory", type=Path, help="folder that keeps features between runs")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    arguments = parser.parse_args()
    if (arguments.groups is not None) != (arguments.protocol == "super_categories"):
        parser.error("--groups and --protocol super_categories go together")
    line = run(arguments)
    print(f"mean: {line['mean']:.2f}")
    with arguments.out.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
