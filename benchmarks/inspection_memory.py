"""Peak memory of fitting PatchCore to few pictures and to many, under one limit.

    python -m benchmarks.inspection_memory --out benchmarks/speed.jsonl

Pictures are coarse patches with fine noise. Each fit is a process of its own, and what it grows by
is measured: neither imports nor pictures.
"""

import subprocess
import sys

from .timing import run_tasks

SIDE, LIMIT = 128, 16

CODE = """
import faiss, timm
import numpy as np
from skad import PatchCore
from benchmarks.speed_maps import pictures
from benchmarks.timing import measured
images = np.empty(({n_images}, {side}, {side}), dtype=np.uint8)
for i in range(0, {n_images}, 50):
    images[i : i + 50] = pictures(50, seed=i)[..., 0]
settings = dict(memory_limit={limit}, image_size={side}, n_threshold_images=5)
detector = PatchCore(coreset_share=0.001, **settings)
print(measured(lambda: detector.fit(images))[1])
"""


def _growth(n_images):
    """MiB by which a process grows while it fits so many pictures."""
    code = CODE.format(n_images=n_images, side=SIDE, limit=LIMIT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def patch_core():
    """Fits to 200 and to 2 000 pictures."""
    few, many = _growth(200), _growth(2_000)
    what = f"PatchCore, {SIDE} px, 0.1 %, limit of {LIMIT} MiB: growth in a fit"
    return {
        f"{what}, MiB, 200 images": few,
        f"{what}, MiB, 2 000 images": many,
        f"{what}, 2 000 / 200 images": many / few,
    }


if __name__ == "__main__":
    run_tasks({"patch_core": patch_core}, __doc__)
