"""Every scorer on the same features, one class against the rest.

    python -m benchmarks.scorers --data cifar10 --network mobilenetv2 --memory cache
    python -m benchmarks.scorers --data cifar10 --network mobilenetv2 --memory cache --only "n_cent"

Appends one line of JSON for each scorer to ``benchmarks/results.jsonl``; ``benchmarks/report``
makes pages of ``doc/results`` of those. Features are computed once for all classes and scorers.
"""

import argparse
import datetime
import json
import os
import platform
import re
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import OneClassSVM

from skad import (
    CentroidScorer,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KDEScorer,
    KNNScorer,
    SklearnScorer,
)
from skad.metrics import auroc_score
from skad.model_selection import one_vs_rest

from .accuracy import HERE, SHARED, TITLES, load_images, shared_mobilenet, versions

SCORERS = [
    KNNScorer(),
    KNNScorer(metric="euclidean"),
    KNNScorer(1, metric="angle", aggregation="mean"),
    KNNScorer(metric="mahalanobis"),
    KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean"),
    KNNScorer(10, aggregation="mean"),
    KNNScorer(10, aggregation="kth"),
    KNNScorer(index="ivf"),
    KNNScorer(index="hnsw"),
    *(KNNScorer(n_centroids=n) for n in (1, 5, 10, 100)),
    CentroidScorer(),
    CentroidScorer("mahalanobis_cosine"),
    CentroidScorer("euclidean"),
    GaussianScorer(),
    GaussianScorer(normalize=True),
    GaussianScorer(normalize=True, log_likelihood=True),
    GaussianScorer(10),
    GaussianScorer(10, covariance_type="full", normalize=True),
    GaussianScorer(n_components=0.9),
    KDEScorer(),
    # Features as long as they come tell MobileNetV2's normal images badly.
    make_pipeline(Normalizer(), KNNScorer(metric="mahalanobis")),
    make_pipeline(Normalizer(), KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean")),
    make_pipeline(Normalizer(), CentroidScorer("mahalanobis_cosine")),
    make_pipeline(Normalizer(), EnsembleScorer()),
    EnsembleScorer(),
    EnsembleScorer("sum"),
    SklearnScorer(OneClassSVM()),
    SklearnScorer(IsolationForest(random_state=0)),
    SklearnScorer(LocalOutlierFactor(novelty=True)),
    SklearnScorer(make_pipeline(PCA(50, random_state=0), EllipticEnvelope(random_state=0))),
    SklearnScorer(GaussianMixture(5, covariance_type="diag", random_state=0)),
]


def features_of(arguments):
    """Features of training and test images, with their labels and the names of the classes."""
    images = load_images(
        arguments.shared / "data", arguments.data, arguments.n_train, arguments.n_test
    )
    parameters = {"memory": arguments.memory}
    if arguments.network == "mobilenetv2":
        parameters |= shared_mobilenet(arguments.shared / "weights")
    extractor = FeatureExtractor(**parameters).fit(images.X_train[:2])
    return images._replace(
        X_train=extractor.transform(images.X_train), X_test=extractor.transform(images.X_test)
    )


def measure(scorer, features):
    """AUROC in percent with each class as the normal one, and the seconds that took."""
    figures, start = {}, time.perf_counter()
    for task in one_vs_rest(features.X_train, features.y_train, features.X_test, features.y_test):
        scores = clone(scorer).fit(task.X_train).decision_function(task.X_test)
        figures[features.classes[task.name]] = round(100 * auroc_score(task.y_test, scores), 2)
    return figures, round(time.perf_counter() - start, 1)


def main():
    """Read the command line, measure, append the lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help=f"image set: {', '.join(TITLES)}")
    parser.add_argument("--network", choices=["default", "mobilenetv2"], default="default")
    parser.add_argument("--only", default="", help="regular expression that a scorer must match")
    parser.add_argument("--n-train", type=int, help="training images a class; all by default")
    parser.add_argument("--n-test", type=int, help="test images a class; all by default")
    parser.add_argument("--memory", type=Path, help="folder that keeps features between runs")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    arguments = parser.parse_args()
    features = features_of(arguments)
    for scorer in SCORERS:
        if not re.search(arguments.only, repr(scorer)):
            continue
        figures, seconds = measure(scorer, features)
        line = {
            "scorer": " ".join(repr(scorer).split()),
            "network": arguments.network,
            "data": TITLES.get(arguments.data, arguments.data),
            "protocol": "one_vs_rest",
            "n_train": arguments.n_train,
            "n_test": arguments.n_test,
            "auroc": figures,
            "mean": round(float(np.mean(list(figures.values()))), 2),
            "seconds": seconds,
            "date": datetime.date.today().isoformat(),
            "versions": versions(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        print(f"{line['mean']:.2f}  {seconds:7.1f} s  {line['scorer']}", flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
