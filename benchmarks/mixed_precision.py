"""AUROC of PANDA and MSC in float32, with frozen stages in bfloat16, and in mixed precision.

    python -m benchmarks.mixed_precision --out benchmarks/mixed_precision.jsonl

One class of CIFAR-10 and one of Fashion-MNIST, 200 pictures to learn from, MobileNetV2, 128 pixels.
Mixed precision is for devices that are faster by it; others are made to use it here, where it
rounds in the same places.
"""

import argparse
import json
from pathlib import Path
from unittest import mock

import numpy as np
from sklearn.metrics import roc_auc_score

from skad import MSC, PANDA

from .accuracy import SHARED, load_images, shared_mobilenet

SETS = (("cifar10", 3), ("fashion_mnist", 6))
KINDS = ((PANDA, {"n_steps": 60}), (MSC, {"n_steps": 12}))
WAYS = {
    "float32": ("float32", False),
    "frozen stages in bfloat16": ("bfloat16", False),
    "mixed": ("bfloat16", True),
}


def aurocs():
    """One line for each set, detector and way, in percent."""
    for data, one in SETS:
        images = load_images(SHARED / "data", data, 200, 40)
        X, is_normal = images.X_train[images.y_train == one], images.y_test == one
        for kind, settings in KINDS:
            for way, (precision, mixed) in WAYS.items():
                network = shared_mobilenet(SHARED / "weights") | {"precision": precision}
                with mock.patch("skad.networks._cut.multiplies_bfloat16", return_value=mixed):
                    detector = kind(**network, **settings).fit(X)
                auroc = 100 * roc_auc_score(is_normal, detector.score_samples(images.X_test))
                line = {"data": data, "class": one, "detector": kind.__name__} | settings
                yield line | {"way": way, "AUROC": round(float(np.round(auroc, 2)), 2)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for line in aurocs():
        print(json.dumps(line), flush=True)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
