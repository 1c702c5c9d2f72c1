"""Scores by several processes, and by the model of them; the task ``workers`` of ``scale.py``."""

import os
import pickle
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skad import DN2

from .cluster_model import Cluster, Work, simulate
from .timing import seconds

# Side of the pictures, JPEGs of about 4 kB, and how many different ones there are.
SIDE, N_FILES = 128, 200


def write_pictures(folder, n_files, side):
    """JPEG files of patches and noise; their paths."""
    from PIL import Image

    rng, paths = np.random.default_rng(0), []
    for i in range(n_files):
        patches = rng.integers(0, 200, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
        picture = (patches + rng.integers(0, 30, patches.shape)).astype(np.uint8)
        paths.append(str(Path(folder, f"{side}-{i}.jpg")))
        Image.fromarray(picture).save(paths[-1], quality=85)
    return paths


@cache
def _detector(path):
    """A fitted detector, loaded once in each process."""
    import torch

    import skad

    torch.set_num_threads(1)
    return skad.load(path)


def _score_block(model, paths):
    return _detector(model).score_samples(paths)


def _nothing(_):
    return None


def workers(n, block=64):
    """Pictures a second of 1, 2 and 4 processes, and what the model says of them."""
    import torch

    import skad

    torch.set_num_threads(1)
    n_blocks = max(8, n // block)
    with TemporaryDirectory() as folder:
        files = write_pictures(folder, N_FILES, SIDE)
        model = str(Path(folder, "model.skad"))
        skad.save(DN2(n_jobs=1).fit(files), model)
        blocks = list(np.resize(np.array(files), n_blocks * block).reshape(n_blocks, block))
        _score_block(model, blocks[0])
        some = blocks[: max(4, n_blocks // 4)]
        cost = seconds(lambda: [_score_block(model, one) for one in some]) / len(some) / block
        size = float(np.mean([os.path.getsize(path) for path in files]))
        sent, back = (len(pickle.dumps(one)) for one in (blocks[0], np.zeros(block)))
        work = Work(n_blocks, block, cost, size, sent, back)
        figures = {
            "load of the machine, with this process": os.getloadavg()[0],
            "milliseconds: a picture, paths to scores": 1e3 * cost,
            "pictures in a block": block,
            "bytes: a picture's file": size,
            "bytes: a block's paths": sent,
            "bytes: a block's scores": back,
        }
        for n_workers in (1, 2, 4):
            figures |= _measured_and_said(n_workers, model, blocks, work)
    return figures


def _measured_and_said(n_workers, model, blocks, work):
    """Pictures a second of so many processes, and by the model."""
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=n_workers)
    try:
        # Each has its network before the clock starts.
        for _ in range(2):
            list(executor.map(partial(_score_block, model), blocks[: 2 * n_workers]))
        dispatch = seconds(lambda: list(executor.map(_nothing, range(500)))) / 500
        took = seconds(lambda: list(executor.map(partial(_score_block, model), blocks)))
    finally:
        executor.shutdown(wait=True)
    # Files are in memory here, so that the store is no limit.
    cluster = Cluster(n_workers, len(os.sched_getaffinity(0)), dispatch, store=float("inf"))
    measured, said = work.n_pictures / took, simulate(cluster, work).rate
    name = f"{n_workers} worker" + "s" * (n_workers > 1)
    return {
        f"pictures a second: {name}, measured": measured,
        f"pictures a second: {name}, by the model": said,
        f"model / measured: {name}": said / measured,
        f"microseconds: dispatch, {name}": 1e6 * dispatch,
    }
