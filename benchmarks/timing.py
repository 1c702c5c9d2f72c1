"""Two times, or two peaks of memory, in the same run."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def paired_times(yardstick, ours, repeats):
    """Median seconds of both, run in turn so that both see the same machine."""
    times = []
    for _ in range(repeats + 1):
        pair = []
        for task in (yardstick, ours):
            start = time.perf_counter()
            task()
            pair.append(time.perf_counter() - start)
        times.append(pair)
    return np.median(times[1:], axis=0)  # the first pair warms up


def seconds(task):
    """Seconds of one run."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def each(task, items, repeats=3):
    """Median seconds for each item of what a task does with all of them."""
    task(items[:8])
    return np.median([seconds(lambda: task(items)) for _ in range(repeats)]) / len(items)


def peak_memory(code):
    """Peak resident MiB of a process that runs a piece of code."""
    # Not resource.ru_maxrss, which a process takes over from the one that started it.
    code += "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) / 1024


def measured(task):
    """Seconds of one run, and by how many MiB this process grew at its peak.

    What is imported and read before is not counted.
    """
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _mebibytes(status, "VmRSS")
    taken = seconds(task)
    return taken, _mebibytes(status, "VmHWM") - before


def _mebibytes(status, name):
    return float(status.read_text().split(f"{name}:")[1].split()[0]) / 1024


def run_tasks(tasks, description, n=None, argv=None):
    """Run those that the command line names, print their figures, and append them to a file.

    Where there is an `n`, ``--n`` is another, and each task is given it.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("tasks", nargs="*", default=list(tasks), help=f"of {', '.join(tasks)}")
    parser.add_argument("--out", type=Path, help="file to which a line of JSON is appended")
    if n is not None:
        parser.add_argument("--n", type=int, default=n, help="how many, at the most")
    arguments = parser.parse_args(argv)
    figures, given = {}, () if n is None else (arguments.n,)
    for name in arguments.tasks:
        for label, value in tasks[name](*given).items():
            figures[label] = round(float(value), 3)
            print(f"{label}: {value:.3f}", flush=True)
    if arguments.out:
        line = {
            "figures": figures,
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
