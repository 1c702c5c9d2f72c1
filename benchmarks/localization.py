"""Where it is: SPADE on magnetic tiles, image by image, pixel by pixel, defect by defect.

Each run appends one line of JSON to ``benchmarks/localization.jsonl``, and is left out when asked
for again; ``benchmarks/report.py`` turns the lines into tables of ``doc/results.rst``.

    python -m benchmarks.localization
    python -m benchmarks.localization --network mobilenetv2 --image-size 128 --n-centroids 50
    python -m benchmarks.localization --pictures folder
"""

import argparse
import datetime
import json
import os
import platform
import runpy
import time
from pathlib import Path

import numpy as np

from skad import SPADE, CompactnessAdapter, MeanShiftedContrastive
from skad.metrics import (
    auroc_score,
    pixel_auroc_score,
    pixel_average_precision_score,
    pro_score,
    region_table,
)

from .accuracy import HERE, SHARED, shared_mobilenet, versions

TARGET = HERE / "localization.jsonl"

# Trainings of the network before its maps are compared, at the settings of the accuracy tables.
ADAPTERS = {
    "MSC": lambda rate: MeanShiftedContrastive(n_epochs=3, learning_rate=rate),
    "PANDA": lambda rate: CompactnessAdapter(n_steps=115, learning_rate=0.2, loss="angular"),
}


def tiles(folder, n_train, seed, n_test=None):
    """Tiles without defects to learn from, drawn at random; the rest, its masks and defects.

    In the order of the set, tiles are sorted by how they were lit.
    """
    loader = runpy.run_path(str(folder / "load.py"))
    labels, _, classes = loader["labels_of"]("magnetic_tile")
    free = np.random.default_rng(seed).permutation(np.flatnonzero(labels == 0))
    train, rest = np.sort(free[:n_train]), np.setdiff1d(np.arange(len(labels)), free[:n_train])
    if n_test is not None:
        rest = rest[np.linspace(0, len(rest) - 1, n_test).astype(int)]
    images = [loader["load"]("magnetic_tile", indices)[0] for indices in (train, rest)]
    defects = [str(classes[label]) for label in labels[rest]]
    return *images, loader["load_masks"]("magnetic_tile", rest), np.array(defects)


def measure(detector, train, test, masks, defects):
    """Fit, score, and compare with the truth."""
    times = [time.perf_counter()]
    detector.fit(train)
    times.append(time.perf_counter())
    maps = detector.score_maps(test)
    times.append(time.perf_counter())
    scores, y = detector.score_samples(test), np.where(defects == "Free", 1, -1)
    lowest = np.array([one.min() for one in maps])
    table = region_table(masks, maps)
    found = {
        "image AUROC": auroc_score(y, scores),
        "image AUROC by the lowest pixel": auroc_score(y, lowest),
        "pixel AUROC": pixel_auroc_score(masks, maps),
        "pixel AP": pixel_average_precision_score(masks, maps),
        "PRO": pro_score(masks, maps),
    }
    by_defect = {}
    for defect in np.unique(defects[y == -1]):
        here = np.flatnonzero((defects == defect) | (y == 1))
        some_masks, some_maps = [masks[i] for i in here], [maps[i] for i in here]
        regions = defects[table["image"]] == defect
        by_defect[defect] = {
            "images": int((defects == defect).sum()),
            "image AUROC": auroc_score(y[here], scores[here]),
            "pixel AUROC": pixel_auroc_score(some_masks, some_maps),
            "overlap": float(table["overlap"][regions].mean()),
        }
    masks = [one < detector.pixel_offset_ for one, label in zip(maps, y) if label == 1]
    flagged = {
        "pixels": float(np.mean([mask.mean() for mask in masks])),
        "images": float(np.mean([mask.any() for mask in masks])),
    }
    return maps, {
        "found": {name: round(100 * value, 2) for name, value in found.items()},
        "by_defect": {
            defect: {n: v if n == "images" else round(100 * v, 2) for n, v in row.items()}
            for defect, row in by_defect.items()
        },
        "normal_flagged": {name: round(100 * share, 2) for name, share in flagged.items()},
        "fit_seconds": round(times[1] - times[0], 1),
        "seconds_an_image": round((times[2] - times[1]) / len(test), 4),
    }


def draw(folder, name, test, maps, masks, threshold):
    """Pictures of the five images whose defects are told best, and worst."""
    import matplotlib

    matplotlib.use("Agg")
    from skad.displays import AnomalyMapDisplay

    told = {
        i: pixel_auroc_score([mask], [one])
        for i, (mask, one) in enumerate(zip(masks, maps))
        if mask.any() and not mask.all()
    }
    order = sorted(told, key=told.get)
    for kind, chosen in (("best", order[:-6:-1]), ("worst", order[:5])):
        print(kind, {i: round(told[i], 3) for i in chosen})
        parts = [[of[i] for i in chosen] for of in (test, maps, masks)]
        display = AnomalyMapDisplay.from_predictions(
            *parts[:2], masks=parts[2], threshold=threshold
        )
        display.figure_.savefig(folder / f"{name}_{kind}.png", dpi=80, bbox_inches="tight")


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="tiny", help="tiny or mobilenetv2")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--n-neighbors", type=int, default=50)
    parser.add_argument("--metric", default="euclidean")
    parser.add_argument("--fusion", default="joined")
    parser.add_argument("--n-neighbor-pixels", type=int, default=1)
    parser.add_argument("--n-centroids", type=int)
    parser.add_argument("--centroids-of", default="all")
    parser.add_argument("--coreset-share", type=float)
    parser.add_argument("--adapter", choices=list(ADAPTERS))
    parser.add_argument("--learning-rate", type=float, help="of MSC; 1e-4 or, for tiny, 5e-3")
    parser.add_argument("--n-train", type=int, default=600, help="of 952 tiles without a defect")
    parser.add_argument("--n-test", type=int, help="of the rest, evenly spaced; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of training tiles")
    parser.add_argument("--pictures", type=Path, help="folder for the best and the worst cases")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=TARGET)
    return parser.parse_args()


# What decides a run.
KEY = ("network", "image_size", "n_neighbors", "metric", "fusion", "n_neighbor_pixels")
KEY += ("n_centroids", "centroids_of", "coreset_share")
KEY += ("adapter", "learning_rate", "n_train", "n_test", "seed")


def main():
    """Measure what the command line says."""
    arguments = parse()
    run = {name: getattr(arguments, name) for name in KEY}
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    known = any({n: json.loads(line).get(n) for n in KEY} == run for line in lines)
    if known and arguments.pictures is None:
        return
    network = {}
    if arguments.network == "mobilenetv2":
        network = shared_mobilenet(arguments.shared / "weights")
        network["precision"] = "float32"
    names = ("image_size", "n_neighbors", "metric", "fusion", "n_neighbor_pixels")
    names += ("n_centroids", "centroids_of", "coreset_share")
    parameters = network | {name: run[name] for name in names}
    if arguments.adapter:
        rate = arguments.learning_rate or (5e-3 if arguments.network == "tiny" else 1e-4)
        parameters["adapter"] = ADAPTERS[arguments.adapter](rate)
    data = tiles(arguments.shared / "data", arguments.n_train, arguments.seed, arguments.n_test)
    detector = SPADE(**parameters)
    maps, found = measure(detector, *data)
    line = run | found
    line |= {
        "n_tested": len(maps),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(line, indent=1), flush=True)
    if not known:
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
    if arguments.pictures is not None:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        name = f"{arguments.network}_{arguments.image_size}"
        draw(arguments.pictures, name, data[1], maps, data[2], detector.pixel_offset_)


if __name__ == "__main__":
    main()
