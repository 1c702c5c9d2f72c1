"""Measure what ConformalDetector promises: false alarms, false discoveries, polluted training sets.

Appends one line of JSON to ``benchmarks/conformal.jsonl`` and draws ``doc/conformal.png``:

    python -m benchmarks.conformal
    python -m benchmarks.conformal --network mobilenetv2 --memory folder

One class of CIFAR-10 (JPEG copy) is normal, images of the others are anomalies. The features of
each image are computed once; each split draws training, calibration and test images anew.
"""

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

from skad import FeatureExtractor, KNNScorer
from skad.conformal import ConformalDetector
from skad.model_selection import pollute

from .accuracy import HERE, SHARED, TITLES, load_images, shared_mobilenet, versions

RATES = (0.01, 0.05, 0.1)
DISCOVERY_RATES = (0.05, 0.1, 0.2)
METHODS = {
    "split": {"method": "split", "calibration_share": 0.5},
    "cross": {"method": "cross", "n_folds": 5},
}
PROTOCOL = {
    "n_fit": 800,  # images to train and calibrate on
    "n_normal": 450,  # test images; they are the batch for false discoveries, too
    "n_anomalies": 50,
    "pollution": 0.1,
}
POLLUTED = ("clean", "as it is", "pollution=0.1", "suspects labelled")


def features(arguments):
    """Features of normal images, and of images of all other classes, for each normal class."""
    images = load_images(arguments.shared / "data", "cifar10", n_train=2500, n_test=200)
    parameters = (
        shared_mobilenet(arguments.shared / "weights") if arguments.network == "mobilenetv2" else {}
    )
    extractor = FeatureExtractor(**parameters, memory=arguments.memory).fit(images.X_test[:1])
    tests = extractor.transform(images.X_test)
    for name in arguments.classes:
        label = images.classes.index(name)
        normal = extractor.transform(images.X_train[images.y_train == label])
        yield name, normal, tests[images.y_test != label]


def draw(normal, anomalies, seed):
    """Images to fit on, outliers to pollute those with, and a batch: normal, then anomalies."""
    rng = np.random.RandomState(seed)
    normal, anomalies = rng.permutation(normal), rng.permutation(anomalies)
    n_fit, n_normal, n_anomalies = (PROTOCOL[k] for k in ("n_fit", "n_normal", "n_anomalies"))
    batch = np.concatenate([normal[n_fit : n_fit + n_normal], anomalies[:n_anomalies]])
    return normal[:n_fit], anomalies[n_anomalies:], batch


def make(seed, method="split", pollution=0.0):
    """A detector that has calibration images enough for all rates."""
    return ConformalDetector(
        KNNScorer(),
        false_alarm_rate=min(RATES),
        pollution=pollution,
        random_state=seed,
        **METHODS[method],
    )


def alarms(detector, batch):
    """Shares of the normal images and of the anomalies that raise an alarm, at each rate."""
    alarm = detector.p_values(batch)[:, None] <= np.array(RATES)
    n_normal = PROTOCOL["n_normal"]
    return np.array([alarm[:n_normal].mean(axis=0), alarm[n_normal:].mean(axis=0)])


def discoveries(detector, batch):
    """Share of false ones among the alarms, and of anomalies found, at each discovery rate."""
    n_normal = PROTOCOL["n_normal"]
    rows = []
    for rate in DISCOVERY_RATES:
        alarm = detector.predict_fdr(batch, false_discovery_rate=rate) == -1
        rows.append([alarm[:n_normal].sum() / max(1, alarm.sum()), alarm[n_normal:].mean()])
    return np.transpose(rows)


def polluted_alarms(fit, outliers, batch, seed):
    """Alarms after training on a polluted set, in each of the ways to deal with it."""
    share = PROTOCOL["pollution"]
    n_clean = round((1 - share) * len(fit))
    X, y = pollute(fit[:n_clean], outliers, share, random_state=seed)
    as_it_is = make(seed).fit(X)
    # Somebody looks at the images with the lowest scores, as many as there are outliers.
    suspects = np.argsort(as_it_is.score_samples(X))[: (y == -1).sum()]
    labels = np.ones(len(X), dtype=int)
    labels[suspects] = y[suspects]
    ways = [
        make(seed).fit(fit[:n_clean]),
        as_it_is,
        make(seed, pollution=share).fit(X),
        make(seed).fit(X, labels),
    ]
    return np.array([alarms(detector, batch) for detector in ways])


def measure(normal, anomalies, n_splits):
    """All figures of one class, one row for each split."""
    rows = {"split": [], "cross": [], "split_fdr": [], "cross_fdr": [], "polluted": []}
    for seed in range(n_splits):
        fit, outliers, batch = draw(normal, anomalies, seed)
        for method in METHODS:
            detector = make(seed, method).fit(fit)
            rows[method].append(alarms(detector, batch))
            rows[method + "_fdr"].append(discoveries(detector, batch))
        rows["polluted"].append(polluted_alarms(fit, outliers, batch, seed))
    return {name: np.array(row) for name, row in rows.items()}


def summary(values, kinds, rates):
    """Mean and standard error over splits of two kinds of shares, at each rate."""
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return {
        kind: {
            str(rate): [round(float(mean[k, r]), 4), round(float(error[k, r]), 4)]
            for r, rate in enumerate(rates)
        }
        for k, kind in enumerate(kinds)
    }


def summaries(found):
    """The figures of one class, or of the mean of the classes, as they are kept."""
    alarm, discovery = ("false_alarms", "found"), ("false_discoveries", "found")
    return {
        "rates": {method: summary(found[method], alarm, RATES) for method in METHODS},
        "false_discovery": {
            method: summary(found[method + "_fdr"], discovery, DISCOVERY_RATES)
            for method in METHODS
        },
        "polluted": {
            way: summary(found["polluted"][:, i], alarm, RATES) for i, way in enumerate(POLLUTED)
        },
    }


def plot(mean, path):
    """Asked rate against measured rate: false alarms, false discoveries, polluted training sets."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = (
        ("False alarms", mean["rates"], "false_alarms", RATES),
        ("False discoveries in a batch", mean["false_discovery"], "false_discoveries", None),
        ("False alarms, 10 % of training polluted", mean["polluted"], "false_alarms", RATES),
    )
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, (title, lines, kind, rates) in zip(axes, panels):
        rates = 100 * np.array(rates or DISCOVERY_RATES)
        axis.plot([0, 1.1 * rates[-1]], [0, 1.1 * rates[-1]], color="0.6", lw=1, label="asked")
        for marker, (name, line) in zip("osvD", lines.items()):
            measured, error = 100 * np.transpose(list(line[kind].values()))
            found = 100 * line["found"][str(rates[1] / 100)][0]
            label = f"{name} ({found:.0f} % found at {rates[1]:.0f} %)"
            axis.errorbar(rates, measured, 2 * error, marker=marker, ms=5, lw=1, label=label)
        room = 1.5 * axis.get_ylim()[1]  # for the legend
        axis.set(title=title, xlabel="asked (%)", xlim=(0, None), ylim=(0, room))
        axis.legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("measured (%), with 2 standard errors")
    figure.savefig(path, dpi=100)


def run(arguments):
    """Measure as the command line says, and give the line of results."""
    start, classes, each = time.perf_counter(), {}, []
    for name, normal, anomalies in features(arguments):
        each.append(measure(normal, anomalies, arguments.n_splits))
        classes[name] = summaries(each[-1])
        print(name, json.dumps(classes[name]["rates"]), flush=True)
    # Averaged split by split, so that the errors allow for classes that vary together.
    mean = summaries({key: np.mean([found[key] for found in each], axis=0) for key in each[0]})
    return {
        "estimator": "ConformalDetector(KNNScorer())",
        "data": TITLES["cifar10"],
        "network": arguments.network,
        "protocol": {
            "kind": "one_vs_rest, disjoint random draws; false discoveries in the whole test batch",
            **PROTOCOL,
            "methods": METHODS,
            "pool": "first 2500 training images of the class; first 200 test images of each other",
        },
        "seeds": f"0 to {arguments.n_splits - 1}",
        "figures": "mean and standard error over splits",
        "mean": mean,
        "classes": classes,
        "seconds": round(time.perf_counter() - start, 1),
        "features_cached": bool(arguments.memory),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main():
    """Read the command line, measure, append the line, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=["default", "mobilenetv2"], default="default")
    parser.add_argument("--classes", nargs="+", default=["airplane", "cat", "ship"])
    parser.add_argument("--n-splits", type=int, default=200)
    parser.add_argument("--memory", type=Path, help="folder that keeps features between runs")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=HERE / "conformal.jsonl")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "doc" / "conformal.png")
    arguments = parser.parse_args()
    line = run(arguments)
    print("mean", json.dumps(line["mean"], indent=1))
    with arguments.out.open("a") as file:
        file.write(json.dumps(line) + "\n")
    plot(line["mean"], arguments.figure)


if __name__ == "__main__":
    main()
