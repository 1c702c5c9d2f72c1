"""Ratios of speed and memory of SPADE's maps; tasks of ``benchmarks/speed.py``."""

import numpy as np

from skad import SPADE

from .timing import paired_times, peak_memory

SIDE = 128


def pictures(n_images, seed=0):
    """Images of coarse patches and fine noise, uint8."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 200, (n_images, 8, 8, 3)).repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    return (patches + rng.integers(0, 56, patches.shape)).astype(np.uint8)


def maps():
    """Maps by k-means, over those of whole galleries, and over the bare network."""
    import torch

    train, test = pictures(100), pictures(32, seed=1)
    full = SPADE(n_threshold_images=1).fit(train)
    figures = {}
    for centroids_of in ("all", "each"):
        quick = SPADE(n_centroids=50, centroids_of=centroids_of, n_threshold_images=1).fit(train)
        slow, fast = paired_times(
            lambda: full.score_maps(test[:4]), lambda q=quick: q.score_maps(test[:4]), repeats=3
        )
        figures[f"maps a second, 50 centroids of {centroids_of} / 50 whole images"] = slow / fast
        extractor = quick.pipeline_["extractor"]
        x = torch.rand(len(test), 3, 64, 64).to(memory_format=torch.channels_last)

        def forward(network=extractor.network_, x=x):
            with torch.inference_mode():
                network(x)

        bare, whole = paired_times(forward, lambda q=quick: q.score_maps(test), repeats=10)
        figures[f"forward pass / maps by 50 centroids of {centroids_of}"] = bare / whole
    few, many = (SPADE(n_neighbors=20, n_threshold_images=1).fit(pictures(n)) for n in (50, 500))
    little, much = paired_times(
        lambda: few.score_maps(test[:4]), lambda: many.score_maps(test[:4]), repeats=3
    )
    figures["time of a map, 500 / 50 training images, 20 retrieved (1)"] = much / little
    return figures


def _peak_memory(n_images):
    """Peak resident MiB of a process that fits so many images under a limit, and makes maps."""
    return peak_memory(
        "import numpy as np; from skad import SPADE;"
        f"images = np.random.default_rng(0).integers(0, 256, ({n_images}, 32, 32), dtype='uint8');"
        "SPADE(memory_limit=16, n_neighbors=10, n_threshold_images=5)"
        ".fit(images).score_maps(images[:5])"
    )


def map_memory():
    """Peak memory of fitting 2 000 images and making maps, over that of 200, one limit for both."""
    few, many = _peak_memory(200), _peak_memory(2_000)
    return {
        "peak memory of SPADE, 2 000 / 200 images, limit of 16 MiB (<= 1.15)": many / few,
        "peak memory of SPADE, MiB, 200 images": few,
    }
