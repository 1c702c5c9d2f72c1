"""Networks trained from random weights: NSA's ablation, with every score of one training.

Each training appends one line of JSON to ``benchmarks/from_scratch.jsonl``, and is left out when
asked for again; ``benchmarks/report`` makes tables of ``doc/results`` of the lines.

    python -m benchmarks.from_scratch --data fashion_mnist --objective simsiam --pollution 0 0.1
    python -m benchmarks.from_scratch --data cifar10 --objective simclr --negatives rotation
    python -m benchmarks.from_scratch --data cifar10 --objective oc_svm
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import time
from pathlib import Path

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import OneClassSVM

from skad import (
    CentroidScorer,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KNNScorer,
    SelfSupervisedAdapter,
    SklearnScorer,
)
from skad.metrics import auroc_score
from skad.model_selection import one_vs_rest, pollute

from .accuracy import HERE, SHARED, TITLES, load_images, small_network, versions

TARGET = HERE / "from_scratch.jsonl"

# Scores of the features before the head, under the paper's names.
SCORERS = {
    "k-Cos": KNNScorer(1, metric="angle", aggregation="mean"),
    "k-Cos(Mah)": KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean"),
    "c-Cos": CentroidScorer("cosine"),
    "c-Cos(Mah)": CentroidScorer("mahalanobis_cosine"),
    "GDE": GaussianScorer(normalize=True, log_likelihood=True),
    "OC-SVM": SklearnScorer(make_pipeline(Normalizer(), OneClassSVM(nu=0.5))),
}

# What decides a training; lines of the same are of the same training.
KEY = ("data", "class", "objective", "normalize", "negatives", "network", "n_epochs", "batch_size")
KEY += ("learning_rate", "pollution", "seed", "n_train", "n_test")
KEY += ("projector_widths", "predictor_widths")


def ensembles(adapter):
    """The paper's ensembles of layers, for the taps of an adapter."""
    taps = {"tap_widths": adapter.tap_widths_, "map_taps": adapter.map_taps_}
    return {
        "Ens.": EnsembleScorer(**taps),
        "sum": EnsembleScorer("sum", **taps),
    }


def score(scorer, train, task, test):
    """AUROC in percent."""
    return round(100 * auroc_score(task.y_test, scorer.fit(train).decision_function(test)), 2)


def measure_svm(X, task):
    """OC-SVM on pixels in [0, 1], at the settings of CLAD's code."""
    flat = [images.reshape(len(images), -1) / 255 for images in (X, task.X_test)]
    scorer = SklearnScorer(OneClassSVM(gamma="auto", nu=0.5))
    return {"auroc": {"OC-SVM on pixels": score(scorer, flat[0], task, flat[1])}}


def measure_nsa(X, task, run, arguments):
    """Train once, score in every way."""
    extractor = FeatureExtractor(
        small_network(run["network"]), weights=None, random_state=run["seed"]
    )
    adapter = SelfSupervisedAdapter(
        extractor,
        objective=run["objective"],
        normalize=run["normalize"],
        negatives=run["negatives"],
        layers="ensemble",
        projector_widths=arguments.projector_widths,
        predictor_widths=arguments.predictor_widths,
        n_epochs=run["n_epochs"],
        batch_size=run["batch_size"],
        learning_rate=run["learning_rate"],
        random_state=run["seed"],
        collapse_limit=0,
    ).fit(X)
    train, test = adapter.transform(X), adapter.transform(task.X_test)
    # The last stage averaged over places, which is what enters the head.
    last = sum(adapter.tap_widths_[: arguments.n_stages - 1])
    columns = slice(last, last + adapter.tap_widths_[arguments.n_stages - 1])
    found = {
        name: score(scorer, train[:, columns], task, test[:, columns])
        for name, scorer in SCORERS.items()
    }
    found |= {n: score(s, train, task, test) for n, s in ensembles(adapter).items()}
    curve = {name: values.tolist() for name, values in adapter.training_curve_.items()}
    return {"auroc": found, "curve": curve}


def known(path):
    """Keys of the trainings that the file holds."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {json.dumps([json.loads(line)[name] for name in KEY]) for line in lines}


def runs(arguments, images):
    """All trainings that were asked for, seed by seed, so that a part of them is of use."""
    tasks = list(one_vs_rest(images.X_train, images.y_train, images.X_test, images.y_test))
    chosen = [t for t in tasks if images.classes[t.name] in (arguments.classes or images.classes)]
    grid = itertools.product(
        arguments.seeds, arguments.pollution, chosen, arguments.normalize, arguments.batch_size
    )
    for seed, pollution, task, normalize, batch_size in grid:
        given = {name: getattr(arguments, name) for name in KEY if hasattr(arguments, name)}
        yield (
            task,
            given
            | {
                "class": images.classes[task.name],
                "seed": seed,
                "pollution": pollution,
                "normalize": normalize,
                "batch_size": batch_size,
            },
        )


def main():
    """Read the command line, train, score, append lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help=f"image set: {', '.join(TITLES)}")
    parser.add_argument("--classes", nargs="+", help="names of normal classes; all by default")
    parser.add_argument(
        "--objective", choices=["simsiam", "simclr", "byol", "oc_svm"], default="simsiam"
    )
    parser.add_argument("--normalize", nargs="+", type=json.loads, default=[True, False])
    parser.add_argument("--negatives", choices=["rotation"])
    parser.add_argument("--network", default="small_cnn:16", help="name in skad.backbones:width")
    parser.add_argument("--n-stages", type=int, default=4, help="of the network")
    parser.add_argument("--projector-widths", nargs="+", type=int, default=[256, 256, 256])
    parser.add_argument("--predictor-widths", nargs="+", type=int, default=[64, 64])
    parser.add_argument("--n-epochs", type=int, default=100)
    parser.add_argument("--batch-size", nargs="+", type=int, default=[128])
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--pollution", nargs="+", type=float, default=[0.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--n-train", type=int, help="training images a class; all by default")
    parser.add_argument("--n-test", type=int, help="test images a class; all by default")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    if arguments.objective == "oc_svm":  # nothing is trained: one line for each class and pollution
        arguments.normalize, arguments.batch_size = [None], [None]
    images = load_images(
        arguments.shared / "data", arguments.data, arguments.n_train, arguments.n_test
    )
    for task, run in runs(arguments, images):
        if json.dumps([run[name] for name in KEY]) in known(arguments.out):
            continue
        start = time.perf_counter()
        others = images.X_train[images.y_train != task.name]
        X, _ = pollute(task.X_train, others, run["pollution"], random_state=run["seed"])
        svm = arguments.objective == "oc_svm"
        found = measure_svm(X, task) if svm else measure_nsa(X, task, run, arguments)
        line = (
            run
            | found
            | {
                "seconds": round(time.perf_counter() - start, 1),
                "date": datetime.date.today().isoformat(),
                "versions": versions(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            }
        )
        print({name: run[name] for name in ("class", "seed", "pollution", "normalize")}, flush=True)
        print("   ", found["auroc"], f"{line['seconds']} s", flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
