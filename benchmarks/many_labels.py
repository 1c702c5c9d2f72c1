"""Normal images of many classes without labels: scores that need none, labels, and trainings.

One class is left out, all others are normal. Each run appends one line of JSON to
``benchmarks/many_labels.jsonl``, and is left out when asked for again. What "mixed" is made of was
decided when the figures of "tiny", and of MobileNetV2 on CIFAR-10 and MNIST, were known.

    python -m benchmarks.many_labels scores --data cifar10 --n-train 1000 --n-test 200
    python -m benchmarks.many_labels scores --data cifar10 --network mobilenetv2 \
        --n-train 400 --n-test 200 --scorers few
    python -m benchmarks.many_labels labels --data cifar10 --n-train 1000 --n-test 200 \
        --classes airplane dog ship
    python -m benchmarks.many_labels trainings --data cifar10 --n-train 300 --n-test 200 \
        --classes airplane dog ship
    python -m benchmarks.many_labels one_class --n-train 1000 --n-test 200 --counts 25 100 400
    python -m benchmarks.many_labels summary
"""

import argparse
import datetime
import json
import os
import platform
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import svds
from sklearn.cluster import KMeans
from sklearn.preprocessing import OneHotEncoder, normalize

from skad import (
    CentroidScorer,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KNNScorer,
    PseudoLabelAdapter,
)
from skad.metrics import auroc_score, clustering_accuracy
from skad.model_selection import leave_one_class_out, one_vs_rest

from .accuracy import HERE, SHARED, load_images, shared_mobilenet, versions
from .many_classes import is_known

TARGET = HERE / "many_labels.jsonl"
PROTOCOL = ("task", "data", "n_train", "n_test", "network", "left_out")

# Clusterings that are to agree: numbers of clusters, and starts of each.
FINER, STARTS = (10, 20, 30, 50, 100), (0, 1, 2, 3)

WHITENED = {"metric": "mahalanobis_cosine", "shrinkage": 0.7}
GAUSSIAN = partial(GaussianScorer, normalize=True)
SCORERS = {
    "2 neighbours": KNNScorer(2, metric="cosine"),
    "20 neighbours": KNNScorer(20, metric="cosine"),
    "k-Cos(Mah)": KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean"),
    "c-Cos": CentroidScorer("cosine"),
    "Gaussian": GAUSSIAN(),
    "Gaussian, shrinkage 0.1": GAUSSIAN(shrinkage=0.1),
    "Gaussian, 10 clusters": GAUSSIAN(10),
    "Gaussian, 30 clusters": GAUSSIAN(30),
    "Gaussian, true classes": GAUSSIAN(),
    "2 neighbours, in relation": KNNScorer(local_scaling=0.5),
    "2 neighbours, wholly in relation": KNNScorer(local_scaling=1.0),
    "10 neighbours, in relation": KNNScorer(10, local_scaling=0.5),
    "10 whitened neighbours": KNNScorer(10, **WHITENED),
    "10 whitened neighbours, in relation": KNNScorer(10, local_scaling=0.5, **WHITENED),
    "2 neighbours and Gaussian": EnsembleScorer([KNNScorer(), GAUSSIAN()], scaling="quantile"),
    "mixed": EnsembleScorer("mixed"),
}


# Those for which few rows of one class are enough; quick with many features, too.
FEW = (
    *("2 neighbours", "Gaussian", "k-Cos(Mah)", "2 neighbours and Gaussian", "mixed"),
    *("2 neighbours, in relation", "10 neighbours, in relation"),
)


def measure_one_class(y_test, train, test):
    """AUROC in percent of one class against the rest."""
    found = {}
    for name in FEW:
        scores = SCORERS[name].fit(train).decision_function(test)
        found[name] = round(100 * auroc_score(y_test, scores), 2)
    return {"auroc": found}


def measure_scores(task, features, names=tuple(SCORERS)):
    """AUROC in percent of scores of frozen features."""
    (train, y), test = features
    return {"auroc": {name: auroc(name, SCORERS[name], train, y, test, task) for name in names}}


def auroc(name, scorer, train, y, test, task):
    """AUROC in percent of one score."""
    known = {"class_labels": y} if name.endswith("true classes") else {}
    scores = scorer.fit(train, **known).decision_function(test)
    return round(100 * auroc_score(task.y_test, scores), 2)


def consensus(rows, n_clusters, seed):
    """Clusters in which many clusterings agree: k-means on their labels' leading components."""
    found = [
        KMeans(k, n_init=1, random_state=seed + start).fit_predict(rows)
        for k in FINER
        for start in STARTS
    ]
    hot = csr_matrix(OneHotEncoder().fit_transform(np.stack(found, 1)))
    sizes = np.asarray(hot.sum(axis=0)).ravel()
    components = svds(hot @ diags(sizes**-0.5), n_clusters, v0=np.ones(min(hot.shape)))[0]
    return KMeans(n_clusters, n_init=3, random_state=seed).fit_predict(normalize(components))


def agreement(rows, labels, n_neighbors=20):
    """Share of the nearest neighbours of each row that have its label."""
    _, nearest = KNNScorer(metric="cosine").fit(rows).kneighbors(rows, n_neighbors)
    return (labels[nearest] == labels[:, None]).mean(axis=1)


def labels_of(kind, features, y, seed):
    """Labels to train on; -1 for images that are left out."""
    if kind == "truth":
        return y
    rows = normalize(normalize(features) - normalize(features).mean(axis=0))
    kind, _, least = kind.partition(", agreement ")
    made, n_clusters = kind.split()
    if made == "consensus":
        labels = consensus(rows, int(n_clusters), seed)
    else:
        labels = KMeans(int(n_clusters), n_init=3, random_state=seed).fit_predict(rows)
    if least:
        labels = np.where(agreement(rows, labels) >= float(least), labels, -1)
    return labels


def quality(y, labels):
    """How many images have a label, and how many of those the right one, in percent."""
    kept = labels >= 0
    pairs = np.unique(np.column_stack([labels[kept], y[kept]]), axis=0, return_counts=True)
    largest = defaultdict(int)
    for (label, _), count in zip(*pairs):
        largest[label] = max(largest[label], count)
    return {
        "kept": round(100 * float(kept.mean()), 1),
        "accuracy": round(100 * float(clustering_accuracy(y[kept], labels[kept])), 1),
        "purity": round(100 * float(sum(largest.values()) / kept.sum()), 1),
    }


def measure_labels(task, features, kind, seed):
    """How right labels are."""
    (train, y), _ = features
    return {"quality": quality(y, labels_of(kind, train, y, seed))}


def measure_training(task, features, run, extractor):
    """Scores of the features of a network that was trained on labels."""
    (train, y), _ = features
    labels = labels_of(run["labels"], train, y, run["seed"])
    adapter = PseudoLabelAdapter(
        extractor,
        Given(labels),
        trainable=run["trainable"],
        first_head="discriminant",
        augmentation=None,
        n_epochs=run["n_epochs"],
        averaged_epochs="last",
        learning_rate=run["learning_rate"],
        final_learning_rate=run["learning_rate"] / 10,
        random_state=run["seed"],
    ).fit(task.X_train)
    sides = ((adapter.transform(task.X_train), y), adapter.transform(task.X_test))
    return {
        "auroc": measure_scores(task, sides)["auroc"],
        "frozen": measure_scores(task, features)["auroc"],
        "quality": quality(y, labels),
    }


class Given:
    """A clusterer that knows the labels."""

    def __init__(self, labels=None):
        self.labels = labels

    def get_params(self, deep=True):
        """Parameters, for clones."""
        return {"labels": self.labels}

    def fit_predict(self, X, y=None):
        """Labels of the images, -1 for those that are left out."""
        return self.labels


def all_features(arguments, images, extractor):
    """Frozen features of all images, from a file where one holds them."""
    counts = f"{arguments.n_train}-{arguments.n_test}"
    path = Path(arguments.cache, f"{arguments.data}-{arguments.network}-{counts}.npz")
    if not path.exists():
        sides = {"train": extractor.fit_transform(images.X_train)}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **sides, test=extractor.transform(images.X_test))
    with np.load(path) as file:
        return file["train"], file["test"]


def runs(arguments):
    """Each run and what measures it."""
    images = load_images(SHARED / "data", arguments.data, arguments.n_train, arguments.n_test)
    parameters = {"backbone": "tiny"}
    if arguments.network == "mobilenetv2":
        parameters = shared_mobilenet(SHARED / "weights") | {"precision": "float32"}
    extractor = FeatureExtractor(**parameters)
    features = all_features(arguments, images, extractor)
    chosen = [images.classes.index(name) for name in arguments.classes or images.classes]
    if arguments.task == "one_class":
        for task in one_vs_rest(features[0], *images[1:2], features[1], images.y_test):
            for count in arguments.counts:
                values = [getattr(arguments, name) for name in PROTOCOL[:-1]]
                run = dict(zip(PROTOCOL, [*values, None])) | {"n_train": count}
                run |= {"normal": images.classes[task.name]}
                rows = task.X_train[:count]
                yield run, partial(measure_one_class, task.y_test, rows, task.X_test)
        return
    for task in leave_one_class_out(*images[:4], classes=chosen):
        kept = images.y_train != task.name
        sides = ((features[0][kept], images.y_train[kept]), features[1])
        values = [getattr(arguments, name) for name in PROTOCOL[:-1]]
        run = dict(zip(PROTOCOL, [*values, images.classes[task.name]]))
        if arguments.task == "scores":
            names = FEW if arguments.scorers == "few" else tuple(SCORERS)
            yield run, partial(measure_scores, task, sides, names)
            continue
        for seed in arguments.seeds:
            for kind in arguments.labels:
                one = run | {"labels": kind, "seed": seed}
                if arguments.task == "labels":
                    yield one, partial(measure_labels, task, sides, kind, seed)
                    continue
                names = ("n_epochs", "learning_rate", "trainable")
                one |= {name: getattr(arguments, name) for name in names}
                yield one, partial(measure_training, task, sides, one, extractor)


def summary(path):
    """Print means, and the least and largest difference to two neighbours by cosine, frozen."""
    groups = defaultdict(list)
    for line in map(json.loads, path.read_text().splitlines()):
        if line["task"] == "labels":
            continue
        base = line.get("frozen", line["auroc"])["2 neighbours"]
        looked_at = line["data"] == "cifar10" and line["left_out"] in ("airplane", "dog", "ship")
        settings = [line.get(n) for n in ("labels", "n_epochs", "learning_rate", "trainable")]
        kind = (line["task"], line["data"], line["network"], line["n_train"], looked_at, *settings)
        for name, value in line["auroc"].items():
            groups[(*kind, name)].append((value, value - base))
    for kind, found in groups.items():
        values, gains = np.array(found).T
        print(
            f"{kind} {len(values)}: {values.mean():.2f}, gain {gains.mean():+.2f}, "
            f"from {gains.min():+.2f} to {gains.max():+.2f}"
        )


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=["scores", "labels", "trainings", "one_class", "summary"])
    sets = ["cifar10", "fashion_mnist", "mnist"]
    parser.add_argument("--data", choices=sets, default="cifar10")
    parser.add_argument("--network", choices=["tiny", "mobilenetv2"], default="tiny")
    parser.add_argument("--scorers", choices=["all", "few"], default="all")
    parser.add_argument("--n-train", type=int, help="training images a class; all by default")
    parser.add_argument("--n-test", type=int, help="test images a class; all by default")
    parser.add_argument("--classes", nargs="+", help="names of those left out; all by default")
    labels = ["truth", "kmeans 10", "kmeans 50", "kmeans 100", "consensus 10", "consensus 50"]
    labels += [f"{name}, agreement {share}" for name in labels[1:] for share in (0.5, 0.8)]
    parser.add_argument("--labels", nargs="+", choices=labels, default=labels)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--counts", nargs="+", type=int, default=[25, 100, 400])
    parser.add_argument("--n-epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--trainable", default="last_two")
    parser.add_argument("--cache", type=Path, default="cache", help="folder of frozen features")
    parser.add_argument("--out", type=Path, default=TARGET)
    return parser.parse_args()


def main():
    """Measure what the command line says, one line for each run."""
    arguments = parse()
    if arguments.task == "summary":
        summary(arguments.out)
        return
    for run, measure in runs(arguments):
        if is_known(run, arguments.out):
            continue
        start = time.process_time()
        line = run | measure()
        line |= {
            "cpu_seconds": round(time.process_time() - start, 1),
            "date": datetime.date.today().isoformat(),
            "versions": versions(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        print(run, line.get("auroc", ""), line.get("quality", ""), flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
