"""Scores of every estimator on small real images, to the bit.

    python -m benchmarks.scores --out benchmarks/scores.jsonl
    python -m benchmarks.scores --against benchmarks/scores.jsonl

What a change of the code alone must not change: one line of JSON for each result of each estimator,
with a digest of its bytes. The last bits are those of one kind of processor and one set of
versions, so to compare two states of the code run both on one machine, with OMP_NUM_THREADS=1 (what
numpy's linear algebra gives depends on its threads).
"""

import argparse
import hashlib
import json
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from .score_cases import cases

# What is asked of a fitted estimator, where it has it.
METHODS = ["score_samples", "score_maps", "transform", "predict_proba", "feature_maps"]
ATTRIBUTES = ["offset_", "pixel_offset_", "labels_"]


def describe(estimator):
    """An estimator by those of its parameters that are not the default, in full."""
    return " ".join(estimator.__repr__(N_CHAR_MAX=10**6).split())


def readings(estimator, images):
    """Names and arrays of all that a fitted estimator gives."""
    for name in METHODS:
        if hasattr(estimator, name):
            try:
                found = getattr(estimator, name)(images)
            except ValueError as error:
                if name != "feature_maps" or "no map" not in str(error):
                    raise
                continue
            for part, value in found.items() if isinstance(found, dict) else [("", found)]:
                yield f"{name} {part}".strip(), value
    for name in ATTRIBUTES:
        if hasattr(estimator, name):
            yield name, getattr(estimator, name)
    if hasattr(estimator, "training_curve_"):
        yield "training_curve_ loss", estimator.training_curve_["loss"][1:]  # before it, no loss


def line_of(name, result, values):
    """One result as a line of the table."""
    values = np.ascontiguousarray(values)
    return {
        "estimator": name,
        "result": result,
        "digest": hashlib.sha256(values.tobytes()).hexdigest()[:16],
        "array": f"{values.dtype} {values.shape}",
        "first": [repr(value) for value in values.ravel()[:3].tolist()],
    }


def measure(pattern):
    """Lines of all cases whose name fits a regular expression."""
    lines, names, start = [], set(), time.perf_counter()
    for case in cases():
        name = f"{case.images}: {describe(case.estimator)}{case.remark}"
        if name in names or not re.search(pattern, name):
            continue
        names.add(name)
        before = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                lines += [line_of(name, *one) for one in readings(case.fit(), case.new)]
            except Exception as error:  # the others are to be compared all the same
                print(f"raises: {name}: {error!r}", file=sys.stderr)
        print(f"{time.perf_counter() - before:6.2f} s  {name}", file=sys.stderr, flush=True)
    print(f"{time.perf_counter() - start:6.1f} s in all", file=sys.stderr)
    return lines


def difference(new, old):
    """Largest difference of the values that a table keeps, over the largest of them."""
    new, old = (np.array([float(value) for value in line["first"]]) for line in (new, old))
    return np.abs(new - old).max() / np.abs(old).max()


def compare(lines, table):
    """Print what differs from a table, and how far; True if nothing does."""
    new, old = (
        {(line["estimator"], line["result"]): line for line in some} for some in (lines, table)
    )
    common = [key for key in new if key in old]
    differing = [key for key in common if new[key]["digest"] != old[key]["digest"]]
    for name, result in differing:
        key = name, result
        if new[key]["array"] != old[key]["array"]:
            what = f"{old[key]['array']} has become {new[key]['array']}"
        else:
            what = f"first values differ by {difference(new[key], old[key]):.1e}"
        print(f"differs: {name} {result}: {what}")
    for title, some in (
        ("new", [key for key in new if key not in old]),
        ("gone", [key for key in old if key not in new]),
    ):
        for name, result in some:
            print(f"{title}: {name} {result}")
    print(f"{len(common) - len(differing)} of {len(common)} results are equal to the bit.")
    return not differing


def main():
    """Measure, then write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="file to write the table to")
    parser.add_argument("--against", type=Path, help="file of a table to compare with")
    parser.add_argument("--only", default="", help="regular expression that a name must match")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    lines = measure(arguments.only)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if arguments.against:
        table = [json.loads(line) for line in arguments.against.read_text().splitlines()]
        asked = [line for line in table if re.search(arguments.only, line["estimator"])]
        sys.exit(not compare(lines, asked))


if __name__ == "__main__":
    main()
