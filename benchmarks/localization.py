"""Which picture, and where in it: detectors of inspection on tiles, circuit boards, solar cells.

Each run appends one line of JSON to ``benchmarks/localization.jsonl``, and is left out when asked
for again; ``benchmarks/report`` makes tables of ``doc/results`` of the lines.

    python -m benchmarks.localization
    python -m benchmarks.localization --detector PatchCore --data pcb --image-size 128
    python -m benchmarks.localization --network mobilenetv2 --image-size 128 --set n_centroids=50
    python -m benchmarks.localization --data cells --network lite0 --weights lite0.safetensors
    python -m benchmarks.localization --pictures folder
"""

import argparse
import ast
import datetime
import json
import os
import platform
from functools import partial
from pathlib import Path

import numpy as np

import skad
from skad.metrics import (
    auroc_score,
    pixel_auroc_score,
    pixel_average_precision_score,
    pro_score,
    region_table,
)

from . import lite0
from .accuracy import HERE, SHARED, shared_mobilenet, versions
from .inspection_data import READERS, read
from .timing import measured, seconds

TARGET = HERE / "localization.jsonl"

DETECTORS = {
    "DN2": partial(skad.DN2, metric="cosine"),  # of all networks
    "SPADE": skad.SPADE,
    "PatchCore": skad.PatchCore,
    "PaDiM": skad.PaDiM,
}

# Trainings of the network before its maps are compared, at the settings of the accuracy tables.
ADAPTERS = {
    "MSC": lambda rate: skad.MeanShiftedContrastive(n_epochs=3, learning_rate=rate),
    "PANDA": lambda rate: skad.CompactnessAdapter(n_steps=115, learning_rate=0.2, loss="angular"),
}


def measure(detector, data):
    """Fit, score, and compare with the truth; maps, and what a line says."""
    import faiss  # noqa: F401 - so that no import is measured
    import timm  # noqa: F401

    found, maps = {}, None
    fit_seconds, fit_memory = measured(lambda: detector.fit(data.train))
    line = {"fit_seconds": round(fit_seconds, 2), "fit_memory": round(fit_memory, 1)}

    def score():
        found["scores"] = detector.score_samples(data.test)

    def score_maps():
        found["maps"] = detector.score_maps(data.test)

    line["images_a_second"] = round(len(data.test) / seconds(score), 2)
    if hasattr(detector, "score_maps"):
        taken = seconds(score_maps)
        line["maps_a_second"] = round(len(data.test) / taken, 2)
        line["seconds_an_image"] = round(taken / len(data.test), 4)
        maps = found["maps"]
    return maps, compare(detector, data, found["scores"], maps) | line


def compare(detector, data, scores, maps):
    """Images, pixels and defects against the truth, in percent."""
    y = np.where(data.defects == "Free", 1, -1)
    line = {"found": {"image AUROC": _percent(auroc_score(y, scores))}}
    if maps is None:
        return line
    lowest = np.array([one.min() for one in maps])
    line["found"]["image AUROC by the lowest pixel"] = _percent(auroc_score(y, lowest))
    flagged = [one < detector.pixel_offset_ for one, label in zip(maps, y) if label == 1]
    line["normal_flagged"] = {
        "pixels": _percent(np.mean([mask.mean() for mask in flagged])),
        "images": _percent(np.mean([mask.any() for mask in flagged])),
    }
    if data.masks is None:
        return line
    line["found"] |= {
        "pixel AUROC": _percent(pixel_auroc_score(data.masks, maps)),
        "pixel AP": _percent(pixel_average_precision_score(data.masks, maps)),
        "PRO": _percent(pro_score(data.masks, maps)),
    }
    kinds = np.unique(data.defects[y == -1])
    if len(kinds) > 1:
        line["by_defect"] = _by_defect(kinds, data, y, scores, maps)
    return line


def _by_defect(kinds, data, y, scores, maps):
    """Those with one kind of defect against those without any."""
    table, rows = region_table(data.masks, maps), {}
    for defect in kinds:
        here = np.flatnonzero((data.defects == defect) | (y == 1))
        masks, some_maps = [data.masks[i] for i in here], [maps[i] for i in here]
        regions = data.defects[table["image"]] == defect
        rows[str(defect)] = {
            "images": int((data.defects == defect).sum()),
            "image AUROC": _percent(auroc_score(y[here], scores[here])),
            "pixel AUROC": _percent(pixel_auroc_score(masks, some_maps)),
            "overlap": _percent(table["overlap"][regions].mean()),
        }
    return rows


def _percent(share):
    return round(100 * float(share), 2)


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


def setting(text):
    """Name and value of "name=value"; what is no literal of Python is a string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def network_parameters(name, weights, shared):
    """Parameters of a detector for a network by its name."""
    if name == "mobilenetv2":
        return shared_mobilenet(shared / "weights") | {"precision": "float32"}
    if name.startswith("lite"):
        return lite0.parameters(name, weights)
    return {"backbone": name} | ({"weights": str(weights)} if weights else {})


def parse(options=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--detector", choices=list(DETECTORS), default="SPADE")
    parser.add_argument("--data", choices=list(READERS), default="tiles")
    parser.add_argument(
        "--network",
        default="tiny",
        help="mobilenetv2, lite0 to lite2 (with --weights), or what `backbone` takes",
    )
    parser.add_argument("--weights", type=Path, help="file; for lite0, one of benchmarks.lite0")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument(
        "--set",
        dest="settings",
        type=setting,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="parameters of the detector",
    )
    parser.add_argument("--adapter", choices=list(ADAPTERS))
    parser.add_argument("--learning-rate", type=float, help="of MSC; 1e-4 or, for tiny, 5e-3")
    parser.add_argument("--n-train", type=int, help="all by default, of tiles 600 of 952")
    parser.add_argument("--n-test", type=int, help="evenly spaced; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images, and of skad")
    parser.add_argument("--pictures", type=Path, help="folder for the best and the worst cases")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args(options)
    arguments.settings = dict(arguments.settings)
    if arguments.network.startswith("lite") and arguments.weights is None:
        parser.error("--network lite0 needs --weights, a file of benchmarks.lite0")
    if arguments.pictures and (arguments.detector == "DN2" or arguments.data == "cells"):
        parser.error("--pictures needs a detector with maps, and data with masks")
    return arguments


# What decides a run. Older lines, all of SPADE on tiles, name its parameters instead.
KEY = ("detector", "data", "network", "image_size", "settings", "adapter", "learning_rate")
KEY += ("n_train", "n_test", "seed")


def key(line):
    """What decides a run, as text."""
    return json.dumps({name: line.get(name) for name in KEY}, sort_keys=True)


def make(arguments):
    """The detector that the command line names."""
    parameters = network_parameters(arguments.network, arguments.weights, arguments.shared)
    parameters |= {"image_size": arguments.image_size, "random_state": arguments.seed}
    parameters |= arguments.settings
    if arguments.adapter:
        rate = arguments.learning_rate or (5e-3 if arguments.network == "tiny" else 1e-4)
        parameters["adapter"] = ADAPTERS[arguments.adapter](rate)
    return DETECTORS[arguments.detector](**parameters)


def main(options=None):
    """Measure what the command line says."""
    arguments = parse(options)
    data = read(
        arguments.shared / "data",
        arguments.data,
        arguments.n_train,
        arguments.n_test,
        arguments.seed,
    )
    run = {name: getattr(arguments, name) for name in KEY} | {"n_train": len(data.train)}
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    known = key(run) in map(key, map(json.loads, lines))
    if known and arguments.pictures is None:
        return
    detector = make(arguments)
    maps, found = measure(detector, data)
    line = run | found
    line |= {
        "n_tested": len(data.test),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    print(json.dumps(line, indent=1), flush=True)
    if not known:
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
    if arguments.pictures is not None:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        name = f"{arguments.network}_{arguments.image_size}"
        draw(arguments.pictures, name, data.test, maps, data.masks, detector.pixel_offset_)


if __name__ == "__main__":
    main()
