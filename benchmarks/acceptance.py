"""Trainings that have to prove themselves: frozen, always, and only where it is better.

Each run appends one line of JSON to ``benchmarks/acceptance.jsonl``, and is left out when asked for
again; ``benchmarks/report`` makes tables of ``doc/results`` of the lines.

    python -m benchmarks.acceptance --fixing
    python -m benchmarks.acceptance --reporting --network tiny
    python -m benchmarks.acceptance --data cifar10 --names airplane --method MSC
    python -m benchmarks.acceptance --many

A run is one training with ``accept="if_better"``, where the true AUROC of the detector on test
pictures is taken at every look as well, which the training does not see: at the first look that of
the frozen network, at the last that of ``accept="always"`` with four fifths of the pictures.
"""

import argparse
import datetime
import json
import time
import warnings
from pathlib import Path

import numpy as np

from skad import (
    MSC,
    PANDA,
    CompactnessAdapter,
    DeepClustering,
    KNNScorer,
    MeanShiftedContrastive,
    PseudoLabelAdapter,
)
from skad.images._door import check_images
from skad.metrics import auroc_score

from . import inspection_data
from .accuracy import HERE, SHARED, load_images, shared_mobilenet, versions

TARGET = HERE / "acceptance.jsonl"

# What settings were chosen on, and what they are reported on.
FIXING = {"cifar10": ["airplane", "dog"], "fashion_mnist": ["trouser", "shirt"], "mnist": ["3"]}
REPORTING = {
    "cifar10": ["automobile", "ship"],
    "fashion_mnist": ["sneaker", "bag"],
    "mnist": ["0"],
    "white_blood_cells": ["neutrophil"],
    "tiles": ["sound"],
    "cells": ["sound"],
}

# Nine classes are normal together, the other is left out; reported, too.
LEFT_OUT = "all but "
MANY = {"cifar10": ["airplane", "dog", "ship"], "mnist": ["3", "7"]}

# Training pictures of each normal class; test pictures of the class that is named, and of each
# other one.
N_TRAIN, N_NORMAL, N_OTHERS = 300, 100, 15

# Of sets for inspection, sound ones and defective ones.
N_EACH = 120

# Moderate budgets. Of "tiny" the stages are its own default, of the MobileNetV2 the paper's.
METHODS = {
    ("tiny", "PANDA"): {"n_steps": 80, "learning_rate": 0.2},
    ("tiny", "MSC"): {"n_epochs": 8, "learning_rate": 1e-2},
    ("mobilenetv2", "PANDA"): {"n_steps": 60, "learning_rate": 0.1},
    ("mobilenetv2", "MSC"): {"n_epochs": 5, "learning_rate": 1e-3},
    ("tiny", "DeepClustering"): {"n_epochs": 1, "learning_rate": 1e-3},
    ("mobilenetv2", "DeepClustering"): {"n_epochs": 1, "learning_rate": 2e-4},
}
DETECTORS = {"PANDA": PANDA, "MSC": MSC, "DeepClustering": DeepClustering}
ADAPTERS = {
    "PANDA": CompactnessAdapter,
    "MSC": MeanShiftedContrastive,
    "DeepClustering": PseudoLabelAdapter,
}
METRICS = {"PANDA": "euclidean", "MSC": "cosine", "DeepClustering": "cosine"}

# Ten clusters of k-means on frozen features, as in benchmarks/many_classes.py.
FURTHER = {
    "DeepClustering": {
        "clusterer": None,
        "trainable": "last_two",
        "augmentation": None,
        "averaged_epochs": "last",
    }
}


def pictures(folder, data, name):
    """Normal pictures to train with, test pictures, and which of those are normal."""
    if data in inspection_data.TITLES:
        found = inspection_data.read(folder, data, n_train=N_TRAIN)
        y = np.where(found.defects == "Free", 1, -1)
        sides = (np.flatnonzero(y == label) for label in (1, -1))
        # Evenly spaced, as tiles are sorted by how they were lit.
        kept = [side[np.linspace(0, len(side) - 1, N_EACH).astype(int)] for side in sides]
        kept = np.sort(np.concatenate(kept))
        return found.train, [found.test[i] for i in kept], y[kept]
    images = load_images(folder, data, N_TRAIN, N_NORMAL)
    single = images.classes.index(name.removeprefix(LEFT_OUT))
    single_is_normal = not name.startswith(LEFT_OUT)
    is_normal = (images.y_train == single) == single_is_normal
    train = _taken(images.X_train, np.flatnonzero(is_normal))
    chosen = [
        np.flatnonzero(images.y_test == c)[: N_NORMAL if c == single else N_OTHERS]
        for c in range(len(images.classes))
    ]
    chosen = np.concatenate(chosen)
    y = np.where((images.y_test[chosen] == single) == single_is_normal, 1, -1)
    return train, _taken(images.X_test, chosen), y


def _taken(pictures, places):
    """Some of the pictures; those of several sizes are a list."""
    if isinstance(pictures, np.ndarray):
        return pictures[places]
    return [pictures[i] for i in places]


def parameters_of(network, folder):
    """Parameters of a detector for a network; float32, as few processors multiply bfloat16."""
    return {} if network == "tiny" else shared_mobilenet(folder) | {"precision": "float32"}


def watched(adapter, metric, X_test, y_test):
    """A class of adapters that also take the true AUROC at each look."""

    class Watched(adapter):
        def _task(self, start, **auxiliary):
            task = super()._task(start, **auxiliary)
            test, _ = start.more_images(check_images(self, X_test), start.extractor.batch_size)
            training = start.features_of(start.images, np.arange(len(start.images)))
            tested = start.features_of(test, np.arange(len(test)))

            def measures():
                scorer = KNNScorer(metric=metric).fit(training())
                return {"auroc": auroc_score(y_test, scorer.score_samples(tested()))}

            task.measures = measures
            return task

    Watched.__name__ = adapter.__name__
    return Watched


def measure(arguments, data, name, network, method, seed):
    """One line of figures."""
    X, X_test, y_test = pictures(arguments.data_folder, data, name)
    given = parameters_of(network, arguments.weights_folder)
    budget, start = METHODS[network, method], time.perf_counter()
    parts = DETECTORS[method](**given, **budget, random_state=seed)._make_steps()
    watching = watched(ADAPTERS[method], METRICS[method], X_test, y_test)
    adapter = watching(**parts[0][1].get_params(deep=False))
    adapter.set_params(accept="if_better", **FURTHER.get(method, {})).fit(X)
    curve = {key: np.round(value, 5).tolist() for key, value in adapter.training_curve_.items()}
    at = curve["step"].index(adapter.accepted_at_)
    found = {"frozen": 0, "always": -1, "if_better": at}
    return {
        "n_train": len(X),
        "n_test": np.bincount((y_test + 1) // 2).tolist(),
        "budget": budget,
        **{key: round(100 * curve["auroc"][look], 3) for key, look in found.items()},
        "acceptance": adapter.acceptance_,
        "curve": curve,
        "seconds": round(time.perf_counter() - start, 1),
    }


def asked_for(arguments):
    """Runs by their names."""
    if arguments.many:
        for network in arguments.network:
            for data, names in MANY.items():
                for name in names:
                    yield data, LEFT_OUT + name, network, "DeepClustering"
        return
    sets = {}
    if arguments.fixing or arguments.reporting:
        sets = (FIXING if arguments.fixing else {}) | (REPORTING if arguments.reporting else {})
        if arguments.fixing and arguments.reporting:
            sets = {d: FIXING.get(d, []) + REPORTING[d] for d in REPORTING}
    sets = {d: n for d, n in sets.items() if arguments.data in (None, d)}
    if arguments.names:
        sets = {arguments.data: arguments.names}
    for network in arguments.network:
        for data, names in sets.items():
            for name in names:
                for method in arguments.method:
                    yield data, name, network, method


def main(options=None):
    """Measure what is asked for and was not measured before."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fixing", action="store_true", help="sets that settings were chosen on")
    parser.add_argument("--reporting", action="store_true", help="the other sets")
    parser.add_argument("--many", action="store_true", help="deep clustering, a class left out")
    parser.add_argument("--data", choices=list(REPORTING))
    parser.add_argument("--names", nargs="+", help="classes that are normal in turn")
    parser.add_argument("--network", nargs="+", default=["tiny", "mobilenetv2"])
    parser.add_argument("--method", nargs="+", default=["PANDA", "MSC"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-folder", type=Path, default=SHARED / "data")
    parser.add_argument("--weights-folder", type=Path, default=SHARED / "weights")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args(options)
    names = ("data", "name", "network", "method", "seed")
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    known = {tuple(json.loads(line)[name] for name in names) for line in lines}
    for run in asked_for(arguments):
        run = (*run, arguments.seed)
        if run in known:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = measure(arguments, *run)
        role = "fixing" if run[1] in FIXING.get(run[0], []) else "reporting"
        role = "many" if run[1].startswith(LEFT_OUT) else role
        line = dict(zip(names, run)) | {"role": role} | found
        line |= {"date": datetime.date.today().isoformat(), "versions": versions()}
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        told = [f"{key} {line[key]:.2f}" for key in ("frozen", "always", "if_better")]
        print(*run, *told, line["acceptance"]["reason"], line["seconds"], sep="  ", flush=True)


if __name__ == "__main__":
    main()
