"""Pictures dealt out to workers, over one worker, and what it costs as there are more pictures.

    python -m benchmarks.clusters --out benchmarks/speed.jsonl
    python -m benchmarks.clusters dask --n 20000

Each worker has one thread for torch and one that decodes. Files are small JPEGs of noise.
"""

import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from .timing import run_tasks, seconds

N_FILES = int(sys.argv.pop(sys.argv.index("--n") + 1)) if "--n" in sys.argv else 100_000
if "--n" in sys.argv:
    sys.argv.remove("--n")


def small_files(folder, n_distinct=1000):
    """Paths of so many files, as many of them distinct as there are images."""
    from PIL import Image

    rng = np.random.RandomState(0)
    for i in range(n_distinct):
        image = rng.randint(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(image).resize((96, 96)).save(Path(folder, f"{i}.jpg"))
    return [str(Path(folder, f"{i % n_distinct}.jpg")) for i in range(N_FILES)]


def resident(pids):
    """Resident MiB of each process."""
    found = []
    for pid in pids:
        text = Path(f"/proc/{pid}/status").read_text()
        found.append(float(text.split("VmHWM:")[1].split()[0]) / 1024)
    return found


@contextmanager
def dask_workers(n_workers):
    """Dask, of so many processes."""
    import joblib
    from distributed import Client, LocalCluster

    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=n_workers, **options) as cluster,
        Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        yield lambda: list(client.run(os.getpid).values())


@contextmanager
def loky_workers(n_workers):
    """joblib's own processes."""
    import joblib

    def pids():
        found = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(8 * n_workers))
        return sorted(set(found))

    with joblib.parallel_config("loky", n_jobs=n_workers, inner_max_num_threads=1):
        yield pids


@contextmanager
def ray_workers(n_workers):
    """Ray, of so many processes."""
    import joblib
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
    register_ray()
    with joblib.parallel_config("ray", n_jobs=n_workers):
        yield lambda: list(filter(of_ray, map(int, filter(str.isdigit, os.listdir("/proc")))))
    ray.shutdown()


def of_ray(pid):
    """Whether a process is one of Ray's workers at work."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::PoolActor")
    except OSError:  # it has ended
        return False


def scores_of(detector, paths):
    """Scores, in a process of a pool."""
    import torch

    torch.set_num_threads(1)
    return detector.score_samples(paths)


def limit():
    """Images a second of two processes without a cluster, over one: what there is to be had."""
    from skad import DN2

    with tempfile.TemporaryDirectory() as folder:
        paths = small_files(folder)
        detector = DN2(n_jobs=1).fit(paths[:200])
        alone = seconds(lambda: detector.score_samples(paths[: N_FILES // 2]))
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:

            def both(n):
                list(pool.map(scores_of, [detector] * 2, [paths[:n]] * 2))

            both(500)
            taken = seconds(lambda: both(N_FILES // 2))
    return {"two processes without a cluster, images a second / one": 2 * alone / taken}


def throughput(name, workers):
    """Images a second of two workers over those of one, and the memory of either."""
    from skad import DN2

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = small_files(folder)
        detector = DN2(n_jobs=1).fit(paths[:200])
        alone = detector.score_samples(paths[:2000])
        # One worker through the same backend would not be dealt out to: here that is this process.
        few = seconds(lambda: detector.score_samples(paths[: N_FILES // 2]))
        with workers(2) as pids:
            warm = detector.score_samples(paths[:2000])
            assert np.array_equal(warm, alone), "other bits"
            memory = []
            for n_files in (N_FILES // 10, N_FILES):
                taken = seconds(lambda n=n_files: detector.score_samples(paths[:n]))
                memory.append(max(resident(pids()), default=np.nan))
            own = resident([os.getpid()])[0]
        figures[f"{name}, images a second of two workers / one ({N_FILES} files; >= 1.7)"] = (
            few * 2 / taken
        )
        figures[f"{name}, images a second of two workers"] = N_FILES / taken
        figures[f"{name}, peak MiB of a worker, {N_FILES} / {N_FILES // 10} files"] = (
            memory[1] / memory[0]
        )
        figures[f"{name}, peak MiB of a worker"] = memory[1]
        figures[f"{name}, peak MiB of the process that deals out"] = own
    return figures


def growth():
    """Seconds a picture in fit and in score, among many over among few."""
    from skad import DN2

    with tempfile.TemporaryDirectory() as folder:
        paths, found = small_files(folder), {}
        for n_files in (1000, N_FILES // 10, N_FILES):
            detector = DN2(n_jobs=1)
            fit = seconds(lambda d=detector, n=n_files: d.fit(paths[:n])) / n_files
            score = seconds(lambda d=detector: d.score_samples(paths[:1000])) / 1000
            found[n_files] = (fit, score)
    few, many = found[1000], found[N_FILES]
    return {
        f"DN2, seconds a picture in fit, {N_FILES} / 1000 pictures (1)": many[0] / few[0],
        f"DN2, seconds a picture in score after that, {N_FILES} / 1000 (1)": many[1] / few[1],
        "DN2, milliseconds a picture in fit": 1000 * many[0],
    }


TASKS = {
    "limit": limit,
    "dask": lambda: throughput("dask", dask_workers),
    "loky": lambda: throughput("loky", loky_workers),
    "ray": lambda: throughput("ray", ray_workers),
    "growth": growth,
}


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    run_tasks(TASKS, __doc__)
