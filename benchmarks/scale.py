"""What a picture costs at each stage, how costs grow, and what workers do to them.

    python -m benchmarks.scale --out benchmarks/scale.jsonl
    python -m benchmarks.scale stages workers --n 500

Tasks: ``stages`` (seconds of a picture: reading, decoding, reducing, preprocessing, network),
``search`` (in galleries of 1e4 to ``n`` rows), ``transfer`` (a block between two processes),
``growth`` (fit and score of 1e3 to ``n`` pictures), ``workers`` (1, 2 and 4 processes, measured
and by ``cluster_model.py``). ``--n`` bounds pictures and rows for a trial; for galleries of 1e6 it
is ``--n 1000000``. Everything has one thread: run it with ``OMP_NUM_THREADS=1`` on an idle machine.
``report_scale.py`` makes ``doc/to_a_billion.rst`` of the lines.
"""

import io
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skad import DN2, FeatureExtractor, GaussianScorer, ImageDetector, KNNScorer

from .accuracy import SHARED, shared_mobilenet
from .scale_transfer import transfer
from .scale_workers import SIDE, workers, write_pictures
from .speed_scorers import rows_like_features, unfitted_threshold
from .timing import each, run_tasks, seconds

# Pictures that are reduced, and files of which all are.
LARGE, N_FILES = 1024, 200
WIDTH = 288  # features of "tiny"


def networks():
    """Extractors with one thread that decodes, by name."""
    found = {"tiny, 64 px": FeatureExtractor(n_jobs=1)}
    if (SHARED / "weights").is_dir():
        mobilenet = shared_mobilenet(SHARED / "weights") | {"precision": "float32"}
        found["MobileNetV2, 128 px"] = FeatureExtractor(**mobilenet, n_jobs=1)
    return found


def stages(n):
    """Milliseconds of a picture at each stage, one thread."""
    from skad.images._decode import decode_file
    from skad.images._door import check_images
    from skad.images._reading import Reading
    from skad.images._reduce import choose_box, reduce_pixels

    n_files = min(N_FILES, n)
    figures = {}
    with TemporaryDirectory() as folder:
        paths = write_pictures(folder, n_files, SIDE)
        large = write_pictures(folder, min(10, n_files), LARGE)
        for side, files in ((SIDE, paths), (LARGE, large)):
            figures[f"bytes of a picture, {side} px"] = np.mean([*map(os.path.getsize, files)])
        contents = [Path(path).read_bytes() for path in paths]

        def decode(contents):
            return [decode_file(io.BytesIO(one), Reading(), None)[0] for one in contents]

        figures["milliseconds: read the file (cached)"] = 1e3 * each(
            lambda some: [Path(path).read_bytes() for path in some], paths
        )
        figures[f"milliseconds: decode, {SIDE} px"] = 1e3 * each(decode, contents)
        big = [Path(path).read_bytes() for path in large]
        figures[f"milliseconds: decode, {LARGE} px"] = 1e3 * each(decode, big)
        for name, extractor in networks().items():
            fitted = extractor.fit(paths[:8]).fitted_network_
            detail, pixels = fitted.preprocessing.detail, decode(big)
            figures[f"milliseconds: reduce, {LARGE} px, for {name}"] = 1e3 * each(
                lambda some, d=detail: [
                    reduce_pixels(one, choose_box(one.shape[1:], d)) for one in some
                ],
                pixels,
            )
            source = check_images(extractor, paths)
            batch = source.read(0, 64, 1, detail)
            prepared = fitted.prepare(batch)
            for what, task in (
                ("preprocess", lambda f=fitted, b=batch: f.prepare(b)),
                ("network", lambda f=fitted, x=prepared: f.features(x)),
            ):
                task()
                took = np.median([seconds(task) for _ in range(5)]) / len(batch)
                figures[f"milliseconds: {what}, {name}"] = 1e3 * took
            figures[f"milliseconds: paths to features, {name}"] = 1e3 * each(
                extractor.transform, paths
            )
    return figures


def search(n):
    """Milliseconds of a search, and bytes of the index, by the rows of the gallery."""
    import faiss

    rng, figures = np.random.default_rng(0), {}
    queries = rows_like_features(512, rng, WIDTH)
    for size in [size for size in (10_000, 100_000, 1_000_000) if size <= max(n, 10_000)]:
        gallery = rows_like_features(size, rng, WIDTH)
        for index in ("exact", "ivf", "hnsw"):
            scorer = KNNScorer(metric="euclidean", index=index)
            built = seconds(lambda s=scorer, g=gallery: unfitted_threshold(s, g))
            took = each(scorer.score_samples, queries)
            what = f"{index}, {size} x {WIDTH}"
            figures[f"milliseconds: search, {what}"] = 1e3 * took
            figures[f"seconds: build, {what}"] = built
            written = faiss.serialize_index(scorer._index._index).nbytes
            figures[f"bytes of a row: index, {what}"] = written / size
    return figures


def growth(n):
    """Milliseconds of a picture in fit and score, among few and among many."""
    few = min(1000, max(n // 10, 10))
    gaussian = ImageDetector(FeatureExtractor(n_jobs=1), scorer=GaussianScorer())
    with TemporaryDirectory() as folder:
        files = write_pictures(folder, min(N_FILES, n), SIDE)
        paths = np.resize(np.array(files), max(n, few))
        figures = _growth(gaussian.fit, "fit, GaussianScorer", paths, few)
        figures |= _growth(partial(_score_all, gaussian), "score, GaussianScorer", paths, few)
        neighbors = DN2(n_jobs=1).fit(paths[:few])
        name = f"score, DN2 of {few}"
        return figures | _growth(partial(_score_all, neighbors), name, paths, few)


def _growth(task, name, paths, few):
    """Milliseconds of a picture among few, before and after, and among all; their ratio."""
    task(paths[:few])  # warms up
    counts = (few, len(paths), few)
    took = [1e3 * seconds(lambda n=n: task(paths[:n])) / n for n in counts]
    first, last = (took[0] + took[2]) / 2, took[1]
    return {
        f"milliseconds: {name}, {few} pictures": first,
        f"milliseconds: {name}, {len(paths)} pictures": last,
        f"{name}: a picture of {len(paths)} / of {few} (1)": last / first,
    }


def _score_all(detector, paths):
    for _ in detector.iter_scores(paths):
        pass


TASKS = {
    "stages": stages,
    "search": search,
    "transfer": transfer,
    "growth": growth,
    "workers": workers,
}


if __name__ == "__main__":
    run_tasks(TASKS, __doc__, n=100_000)
