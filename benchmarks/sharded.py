"""One index against four shards: neighbours, scores, time, memory; in one process and in workers.

    python -m benchmarks.sharded --out benchmarks/sharded.jsonl
    python -m benchmarks.sharded exact --n 100000

The rows are blobs, the same for every run. Each build and search is a process of its own, which
maps them from a file; by how much it grew beyond them is its memory, while a worker's peak is all
that it holds and maps. What one index of the kind finds is held against four shards, in turn and by
two workers of loky; recall is of the neighbours that "exact" finds. A graph of 1e6 rows takes a
quarter of an hour and more to build, three times: ``hnsw --n 100000`` is enough.
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

from skad import KNNScorer

from .timing import measured

KINDS = ("exact", "ivf", "hnsw")
WAYS = {"one index": (1, 1), "four shards": (4, 1), "four shards, two workers": (4, 2)}
N_NEIGHBORS, N_FEATURES, N_BLOBS = 5, 256, 2000


def blobs(n_rows, seed):
    """Rows around centres that do not depend on the seed, in blocks."""
    centers = np.random.default_rng(0).normal(size=(N_BLOBS, N_FEATURES)).astype(np.float32)
    rng, rows = np.random.default_rng(seed), np.empty((n_rows, N_FEATURES), np.float32)
    for start in range(0, n_rows, 10_000):
        some = rows[start : start + 10_000]
        some[:] = rng.normal(size=some.shape).astype(np.float32)
        some *= 0.7
        some += centers[rng.integers(N_BLOBS, size=len(some))]
    return rows


def run_alone(folder, kind, way):
    """Build and search in this process; print the figures, and write what was found."""
    import faiss  # noqa: F401 - so that no import is measured
    import joblib
    import sklearn.neighbors  # noqa: F401

    n_shards, n_workers = WAYS[way]
    rows, queries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("rows", "queries"))
    rows.max()  # so that all of them are in memory
    scorer = KNNScorer(N_NEIGHBORS, metric="euclidean", index=kind, n_shards=n_shards)
    with joblib.parallel_config("loky", n_jobs=n_workers):
        joblib.Parallel()(joblib.delayed(_ready)() for _ in range(2 * n_workers))

        def build():
            scorer._fit_rows(rows)  # without the threshold, which would search for all rows
            scorer._index.search(queries[:300], 1)  # exact shards are built when they are needed

        scorer.offset_, scorer.n_features_in_ = 0.0, N_FEATURES
        built, build_memory = measured(build)
        searched, search_memory = measured(lambda: scorer.score_samples(queries))
        distances, indices = scorer.kneighbors(queries)
        scores = scorer.score_samples(queries)
        workers = joblib.Parallel()(joblib.delayed(_peak)() for _ in range(4 * n_workers))
    np.savez(folder / f"{kind} {way}.npz", distances=distances, indices=indices, scores=scores)
    of_workers = max(workers) if n_workers > 1 else None
    figures = {"build s": built, "search s": searched, "build MiB": build_memory}
    print(json.dumps(figures | {"search MiB": search_memory, "a worker's peak MiB": of_workers}))


def _ready():
    """Import in a worker, so that it is not measured."""
    import faiss  # noqa: F401
    import sklearn.neighbors  # noqa: F401


def _peak():
    """Most resident MiB of a worker so far, with the pages that it maps."""
    told = Path("/proc/self/status").read_text()
    return float(told.split("VmHWM:")[1].split()[0]) / 1024


def compared(folder, kind, way):
    """Shares that are the same to the bit as with one index, and recall of exact neighbours."""
    found = np.load(folder / f"{kind} {way}.npz")
    one, exact = (np.load(folder / f"{name} one index.npz") for name in (kind, "exact"))
    same = {f"same {name}": np.mean(found[name] == one[name]) for name in found.files}
    pairs = zip(found["indices"], exact["indices"])
    return same | {"recall": np.mean([np.isin(a, b).mean() for a, b in pairs])}


def run_kind(kind, n_rows, n_queries):
    """Figures of one kind of index by each way, a line at a time."""
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "rows.npy", blobs(n_rows, 1))
        np.save(Path(folder) / "queries.npy", blobs(n_queries, 2))
        if kind != "exact":
            _in_a_process(folder, "exact", "one index")
        for way in WAYS:
            figures = _in_a_process(folder, kind, way) | compared(Path(folder), kind, way)
            yield {"index": kind, "way": way, "n": n_rows, "queries": n_queries, **figures}


def _in_a_process(folder, kind, way):
    command = [sys.executable, "-m", "benchmarks.sharded", kind, "--alone", folder, way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Run those kinds that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--n", type=int, default=1_000_000, help="rows of the gallery")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--out", type=Path, help="file to which lines of JSON are appended")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        run_alone(Path(arguments.alone[0]), arguments.kinds[0], arguments.alone[1])
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    for kind in arguments.kinds:
        for line in run_kind(kind, arguments.n, arguments.queries):
            line |= {"date": datetime.date.today().isoformat(), "machine": machine}
            line = {k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}
            print(json.dumps(line), flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
