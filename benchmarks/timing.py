"""Two times, or two peaks of memory, in the same run."""

import subprocess
import sys
import time

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


def peak_memory(code):
    """Peak resident MiB of a process that runs a piece of code."""
    # Not resource.ru_maxrss, which a process takes over from the one that started it.
    code += "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) / 1024
