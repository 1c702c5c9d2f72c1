"""All that a card is to show, on one card, within eight minutes: a table, and lines of JSON.

    python -m benchmarks.gpu --out gpu.jsonl
    python -m benchmarks.gpu extraction panda --budget 3
    python -m benchmarks.gpu --device cpu --small

Sections by name, all by default: ``devices`` (a few estimators, CPU against card), ``extraction``
(ResNet-50, 224 px, against the bare loop), ``one_picture``, ``panda``, ``msc``, ``nsa``,
``deepsvdd``, ``scan`` (trainings against plain loops, as published codes have them, and against
bare passes), ``agreement`` (scores, CPU against card), ``memory`` (of the device, at its peak),
``faiss`` (on the card against the CPU). Networks have random weights, pictures are random, nothing
is fetched.

A section that would not fit into what is left of ``--budget`` is left out, and one that fails is
told of in its row; the others go on. The exit status is 1 where any failed.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path

from . import gpu_features, gpu_training

SECTIONS = {
    "devices": gpu_features.devices,
    "extraction": gpu_features.extraction,
    "one_picture": gpu_features.one_picture,
    "panda": gpu_training.panda,
    "msc": gpu_training.msc,
    "nsa": gpu_training.nsa,
    "deepsvdd": gpu_training.deep_svdd,
    "scan": gpu_training.scan,
    "agreement": gpu_features.agreement,
    "memory": gpu_features.memory,
    "faiss": gpu_features.faiss_on_card,
}

# Minutes that a section takes on an H100, rather more than less.
MINUTES = {"devices": 0.4, "extraction": 0.7, "one_picture": 0.2, "panda": 2.0, "msc": 1.0}
MINUTES |= {"nsa": 0.6, "deepsvdd": 0.4, "scan": 0.5, "agreement": 0.4, "memory": 0.6, "faiss": 0.5}


def parse(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="by default all")
    parser.add_argument("--out", type=Path, help="file to which lines of JSON are appended")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=8.0, metavar="MINUTES")
    parser.add_argument("--small", action="store_true", help="tiny networks, few pictures: a trial")
    arguments = parser.parse_args(argv)
    arguments.sections = arguments.sections or list(SECTIONS)
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return arguments


def run_section(name, arguments, minutes_left):
    """Figures of a section, or why there are none.

    Returns
    -------
    line : dict
        `figures`, or `skipped` with the reason, or `error` with its `traceback`.
    """
    needed = 0.0 if arguments.small else MINUTES[name]
    if needed > minutes_left:
        left = f"{max(minutes_left, 0):.1f}"
        return {"skipped": f"takes about {needed} minutes, and {left} are left of the budget"}
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # random networks collapse, and fits are short
            found = SECTIONS[name](arguments.device, arguments.small)
    except Exception as error:
        where = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        return where | {"seconds": round(time.perf_counter() - start, 1)}
    found = {"skipped": found} if isinstance(found, str) else {"figures": rounded(found)}
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def rounded(figures):
    """Figures of four digits."""
    return {label: float(f"{value:.4g}") for label, value in figures.items()}


def rows_of(name, line):
    """A section in the table."""
    for label, value in line.get("figures", {}).items():
        yield f"{name:12} {value:>10.4g}  {label}"
    for kind in ("skipped", "error"):
        if kind in line:
            yield f"{name:12} {kind:>10}  {line[kind].splitlines()[0]}"


def machine(device):
    """What it was measured on."""
    import torch

    has_card = device.startswith("cuda") and torch.cuda.is_available()
    card = torch.cuda.get_device_name(device) if has_card else "no card"
    names = ("skad", "torch", "timm", "faiss-cpu", "faiss-gpu-cu12", "numpy", "scikit-learn")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except ImportError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"machine": f"{card}; {platform.machine()}, {cores} cores", "versions": versions}


def main(argv=None):
    """Run the sections; 1 where any failed."""
    arguments = parse(argv)
    where, start = machine(arguments.device), time.perf_counter()
    print(where["machine"], flush=True)
    failed = False
    for name in arguments.sections:
        line = run_section(name, arguments, arguments.budget - (time.perf_counter() - start) / 60)
        failed |= "error" in line
        for row in rows_of(name, line):
            print(row, flush=True)
        if arguments.out:
            told = {"section": name, "small": arguments.small, "device": arguments.device}
            told |= where | {"date": datetime.date.today().isoformat()} | line
            with arguments.out.open("a") as file:
                file.write(json.dumps(told) + "\n")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
