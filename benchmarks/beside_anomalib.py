"""PatchCore of anomalib beside skad's: the same solar cells, network, threads and share of patches.

anomalib lives in an environment of its own; both sides run as processes of their own, in turn.
Appends one line of JSON to ``benchmarks/beside_anomalib.jsonl``, with ratios of skad to anomalib.

    python -m venv folder && folder/bin/pip install anomalib
    python -m benchmarks.beside_anomalib --anomalib-python folder/bin/python \
        --weights lite0.safetensors --image-size 128 --repeats 3
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skad.metrics import auroc_score

from .accuracy import HERE, SHARED, versions
from .inspection_data import read

TARGET = HERE / "beside_anomalib.jsonl"
MEASURES = ("fit_seconds", "fit_memory", "images_a_second", "maps_a_second")


def run_side(python, side, job, threads):
    """What one side measured, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {f"{of}_NUM_THREADS": str(threads) for of in ("OMP", "MKL", "OPENBLAS")}
    command = [str(python), "-m", "benchmarks.patchcore_sides", side, str(job)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs, y):
    """Medians of what the runs of one side measured, and the mean AUROC."""
    figures = {name: float(np.median([run[name] for run in runs])) for name in MEASURES}
    figures["image_auroc"] = 100 * float(np.mean([auroc_score(y, run["scores"]) for run in runs]))
    return {name: round(value, 2) for name, value in figures.items()}


def compare(ours, theirs):
    """skad over anomalib; of AUROC the difference."""
    figures = {name: round(ours[name] / theirs[name], 3) for name in MEASURES}
    return figures | {"image_auroc": round(ours["image_auroc"] - theirs["image_auroc"], 2)}


def anomalib_versions(python):
    """Versions in the environment of anomalib."""
    code = "import importlib.metadata as m; print(*map(m.version, ('anomalib', 'torch', 'timm')))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(("anomalib", "torch", "timm"), done.stdout.split()))


def main():
    """Run both sides, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--anomalib-python", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="of benchmarks.lite0")
    parser.add_argument("--network", default="lite0")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--share", type=float, default=0.01, help="of the patches that are kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1, help="each with a seed of its own")
    parser.add_argument("--n-train", type=int, help="of 300 cells")
    parser.add_argument("--n-test", type=int, help="of 300 cells")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of images")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    data = read(arguments.shared / "data", "cells", arguments.n_train, arguments.n_test)
    y = np.where(data.defects == "Free", 1, -1)
    pythons = {"anomalib": arguments.anomalib_python, "skad": sys.executable}
    run = {
        "data": "cells",
        "network": arguments.network,
        "image_size": arguments.image_size,
        "share": arguments.share,
        "threads": arguments.threads,
    }
    found = {side: [] for side in pythons}
    with TemporaryDirectory() as folder:
        images, job = Path(folder, "images.npz"), Path(folder, "job.json")
        np.savez(images, train=data.train, test=data.test)
        for seed in range(arguments.repeats):
            files = {"images": str(images), "weights": str(arguments.weights.resolve())}
            job.write_text(json.dumps(run | files | {"seed": seed}))
            for side, python in pythons.items():
                found[side].append(run_side(python, side, job, arguments.threads))
                print(side, {n: round(found[side][-1][n], 2) for n in MEASURES}, flush=True)
    figures = {side: summary(runs, y) for side, runs in found.items()}
    line = run | {
        "repeats": arguments.repeats,
        "n_train": len(data.train),
        "n_tested": len(data.test),
        **figures,
        "ratio": compare(figures["skad"], figures["anomalib"]),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "anomalib_versions": anomalib_versions(arguments.anomalib_python),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(line, indent=1))
    with arguments.out.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
