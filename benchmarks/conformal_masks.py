"""Measure what ConformalMapDetector promises: images with false alarms, by pixels and by regions.

Appends a line of JSON for each set to ``benchmarks/conformal_masks.jsonl``:

    python -m benchmarks.conformal_masks
    python -m benchmarks.conformal_masks solar_cells --image-size 64

PatchCore is fitted once, to a fixed part of the normal images, and the maps of all others are
computed once; each split draws anew which of the normal ones calibrate, and which are tested.
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
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skad import ConformalMapDetector, PatchCore
from skad.conformal._ranks import p_values_of

from .accuracy import HERE, SHARED, versions
from .localization import tiles

RATES = (0.01, 0.05, 0.1)
DISCOVERY_RATE = 0.1
BOX = ("image", "top", "left", "bottom", "right", "p_value")
# Normal images to fit on; then of the others how many calibrate, and how many are tested.
PROTOCOL = {
    "magnetic_tile": {"n_fit": 400, "n_calibration": 250, "n_test": 150},
    "solar_cells": {"n_fit": 300, "n_calibration": 125, "n_test": 25},
}


class KeptMaps(BaseEstimator):
    """Gives maps that are known, by their numbers."""

    def __init__(self, maps):
        self.maps = maps

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def score_maps(self, X):
        return [self.maps[i] for i in np.ravel(X)]


def load(name, folder):
    """Images to fit on, and to test; whether these are normal; masks of defects, where known."""
    if name == "magnetic_tile":
        train, test, masks, defects = tiles(folder, PROTOCOL[name]["n_fit"], seed=0)
        # Of a few that are said to have a defect nobody drew it.
        kept = [i for i, mask in enumerate(masks) if defects[i] == "Free" or mask.any()]
        test, masks = ([of[i] for i in kept] for of in (test, masks))
        return train, test, defects[kept] == "Free", masks
    train, test, y = runpy.run_path(str(folder / "load.py"))["solar_cells"]()
    return train, test, y == 1, None


def calibrated(maps, places, seed):
    """The detector under test, of maps that are known."""
    frozen = FrozenEstimator(KeptMaps(maps))
    detector = ConformalMapDetector(
        frozen, false_alarm_rate=min(RATES), calibration_share=1.0, random_state=seed
    )
    return detector.fit(places[:, None])


def lowest_p_values(table, n_images):
    """Of the regions of each image; 1 without a region."""
    lowest = np.ones(n_images)
    np.minimum.at(lowest, table["image"], table["p_value"])
    return lowest


def alarms(by_pixels, by_regions):
    """Shares of images with an alarm, at each rate, by each of the ways."""
    found = np.array([[p <= rate for rate in RATES] for p in (by_pixels, by_regions)])
    return np.array([*found, found.any(axis=0)]).mean(axis=2)


def hits(detector, maps, masks, table):
    """Shares of images where what is flagged touches a true defect, at each rate."""
    lowest = np.array([one[mask].min() for one, mask in zip(maps, masks)])
    by_pixels = p_values_of(*detector.calibration_scores_, lowest)
    by_regions = np.ones(len(maps))
    for i, top, left, bottom, right, p in zip(*(table[name] for name in BOX)):
        box = slice(top, bottom), slice(left, right)
        if (masks[i][box] & (maps[i][box] < detector.region_offset_)).any():
            by_regions[i] = min(by_regions[i], p)
    return alarms(by_pixels, by_regions)


def split(maps, normal, masks, protocol, seed):
    """All figures of one random draw."""
    places = np.random.RandomState(seed).permutation(np.flatnonzero(normal))
    n_calibration, n_test = protocol["n_calibration"], protocol["n_test"]
    detector = calibrated(maps, places[:n_calibration], seed)
    test, defective = places[n_calibration : n_calibration + n_test], np.flatnonzero(~normal)
    found = {}
    for kind, some in (("false_alarms", test), ("found", defective)):
        table = detector.predict_regions(some[:, None])
        found[kind] = alarms(detector.p_values(some[:, None]), lowest_p_values(table, len(some)))
    if masks is not None:
        some_maps, some_masks = ([of[i] for i in defective] for of in (maps, masks))
        found["defects_hit"] = hits(detector, some_maps, some_masks, table)
    # As many of either kind, so that false ones may be found.
    n_test = min(n_test, 50)
    odd = np.random.RandomState(seed).permutation(defective)[:n_test]
    batch = np.concatenate([test[:n_test], odd])
    table = detector.predict_regions(batch[:, None], false_discovery_rate=DISCOVERY_RATE)
    flagged = np.zeros(len(batch), dtype=bool)
    flagged[table["image"][table["defect"]]] = True
    found["discoveries"] = np.array(
        [flagged[:n_test].sum() / max(1, flagged.sum()), flagged[n_test:].mean()]
    )
    return found


def summary(values):
    """Mean and standard error over splits, in percent."""
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.stack([100 * mean, 100 * error], axis=-1).round(2).tolist()


def run(name, arguments):
    """Measure one set, and give its line."""
    start = time.perf_counter()
    train, test, normal, masks = load(name, arguments.shared / "data")
    detector = PatchCore(image_size=arguments.image_size).fit(train)
    maps = list(detector.score_maps(test))
    protocol = PROTOCOL[name]
    print(f"{name}: {len(maps)} maps, {normal.sum()} of normal images", flush=True)
    each = [split(maps, normal, masks, protocol, seed) for seed in range(arguments.n_splits)]
    found = {key: summary(np.array([one[key] for one in each])) for key in each[0]}
    ways = ("pixels", "regions", "either")
    figures = {
        key: {
            way: {str(rate): pair for rate, pair in zip(RATES, rows)}
            for way, rows in zip(ways, found[key])
        }
        for key in found
        if key != "discoveries"
    }
    figures["false_discovery"] = {
        "asked": DISCOVERY_RATE,
        "normal_among_found": found["discoveries"][0],
        "found": found["discoveries"][1],
    }
    return {
        "estimator": f"ConformalMapDetector(PatchCore(image_size={arguments.image_size}))",
        "data": name,
        "protocol": protocol | {"n_defective": int((~normal).sum())},
        "seeds": f"0 to {arguments.n_splits - 1}",
        "figures": "mean and standard error over splits, in percent",
        "found": figures,
        "seconds": round(time.perf_counter() - start, 1),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main():
    """Read the command line, measure, append the lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="*", default=list(PROTOCOL), help=", ".join(PROTOCOL))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--n-splits", type=int, default=100)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images and weights")
    parser.add_argument("--out", type=Path, default=HERE / "conformal_masks.jsonl")
    arguments = parser.parse_args()
    for name in arguments.sets:
        line = run(name, arguments)
        print(json.dumps(line, indent=1), flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
