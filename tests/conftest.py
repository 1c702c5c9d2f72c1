"""Shared images, and one thread for torch: small networks run several times faster so."""

import os
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(os.environ.get("SKAD_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def shared():
    """Folder of the shared image sets and weights."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no image sets in {SHARED}; set SKAD_SHARED to the folder that has them")
    return SHARED


@pytest.fixture(scope="session")
def tiles():
    """Real photographs: 24 tiles (48 x 48 RGB) each of a temple and of a flower, uint8."""
    return photo_tiles(24)


def photo_tiles(n_each, side=48):
    from sklearn.datasets import load_sample_images

    found = []
    for photo in load_sample_images().images:
        rows, columns = photo.shape[0] // side, photo.shape[1] // side
        grid = photo[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
        grid = grid.swapaxes(1, 2).reshape(-1, side, side, 3)
        found.append(grid[np.linspace(0, len(grid) - 1, n_each).astype(int)])
    return np.concatenate(found)
