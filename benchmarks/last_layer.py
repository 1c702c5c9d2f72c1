r"""What compactness can teach a linear last layer, computed without a training.

The embedded network "tiny" ends with a linear layer. With features x of covariance C, steps of
gradient descent on :math:`\lVert W (x - \mu) \rVert^2` from W = 1 give :math:`W = \exp(-s C)`: the
directions in which normal pictures vary are shrunken, more the longer the training. Beside it,
whitening, :math:`W = (C + \epsilon)^{-1/2}`. One line of JSON for each class.

    python -m benchmarks.last_layer
"""

import argparse
import json
from pathlib import Path

import numpy as np

from skad import FeatureExtractor, KNNScorer
from skad.metrics import auroc_score

from .accuracy import HERE, SHARED, load_images, versions

TARGET = HERE / "last_layer.jsonl"

# Shares of the largest variance that s and the regularisation are told in.
SHRUNKEN, REGULARISED = (0.1, 0.3, 1.0, 3.0, 9.0), (1e-3, 1e-2, 1e-1)


def layers(X):
    """Names and matrices, from the features of normal pictures."""
    variances, directions = np.linalg.eigh(np.cov(X.T))
    variances = variances.clip(0)
    yield "none", np.eye(len(variances))
    for s in SHRUNKEN:
        yield f"shrunken {s:g}", directions * np.exp(-s * variances / variances[-1])
    for share in REGULARISED:
        yield f"whitened {share:g}", directions * (variances + share * variances[-1]) ** -0.5


def measure(train, test, y_test):
    """AUROC by the layer and the metric; whitened features have no direction to speak of."""
    found = {}
    for name, matrix in layers(train):
        for metric in ("euclidean", "cosine"):
            if name.startswith("whitened") and metric == "cosine":
                continue
            scorer = KNNScorer(metric=metric).fit(train @ matrix)
            scores = scorer.score_samples(test @ matrix)
            found[f"{name}, {metric}"] = round(100 * auroc_score(y_test, scores), 2)
    return found


def main(options=None):
    """Measure the classes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--classes", nargs="+", default=["airplane", "automobile", "dog", "ship"])
    parser.add_argument("--n-train", type=int, default=300)
    parser.add_argument("--n-test", type=int, default=40)
    parser.add_argument("--data-folder", type=Path, default=SHARED / "data")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args(options)
    counts = {"n_train": arguments.n_train, "n_test": arguments.n_test}
    images = load_images(arguments.data_folder, arguments.data, **counts)
    extractor = FeatureExtractor()
    test = extractor.fit(images.X_test).transform(images.X_test).astype(float)
    for name in arguments.classes:
        label = images.classes.index(name)
        train = extractor.transform(images.X_train[images.y_train == label]).astype(float)
        y_test = np.where(images.y_test == label, 1, -1)
        line = {"data": arguments.data, "name": name, "network": "tiny", **counts}
        line |= {"auroc": measure(train, test, y_test), "versions": versions()}
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(name, line["auroc"], flush=True)


if __name__ == "__main__":
    main()
