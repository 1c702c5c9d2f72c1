"""Shared images, the device, and one thread for torch: small networks run several times faster so.

``--device`` says where networks compute in all tests that do not choose a device themselves:

``cpu`` (default)
    Any GPU is hidden, from the tests and from the processes that they start.
``cuda``
    Where ``device="auto"`` goes anyway; an error if there is no GPU. cuDNN is told to repeat its
    bits.
``far``
    The pretend device of ``tests/devices``, in the place of a GPU: it finds tests, and code, that
    take it for granted that networks are on the CPU.

Tests marked ``bits`` are skipped on all but the CPU: what they compare bit by bit was computed in
batches of other sizes, or trained twice, which on a device gives other roundings.
"""

import os
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(os.environ.get("SKAD_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_addoption(parser):
    parser.addoption("--device", choices=["cpu", "cuda", "far"], default="cpu", help=__doc__)


def pytest_configure(config):
    device = config.getoption("--device")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    from tests.devices import far

    # torch counts its devices when it first computes a gradient, in whatever test that is.
    far.register()
    if device == "cuda":
        if not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda: torch finds no CUDA device.")
        torch.backends.cudnn.deterministic = True
    if device == "far":
        from skad.networks import _device

        _device.AUTO.insert(0, far.NAME)


def pytest_collection_modifyitems(config, items):
    device = config.getoption("--device")
    if device != "cpu":
        skip = pytest.mark.skip(reason=f"compares bits; roundings on {device} are not the CPU's")
        for item in items:
            if "bits" in item.keywords:
                item.add_marker(skip)


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


@pytest.fixture
def watched(monkeypatch):
    """Steps of the trainings of an estimator; `then` is called with the Training after each.

    A fit may be broken off once.
    """
    from skad.training._run import Training

    def of(kind, *, break_at=None, then=None):
        steps, broken, make = [], [], Training.__init__

        def init(training, task, *others):
            make(training, task, *others)
            if training.owner != kind.__name__:
                return
            after_step = task.after_step

            def spy(step):
                ends = after_step(step)
                steps.append(step)
                if then is not None:
                    then(training, step)
                if step == break_at and not broken:
                    broken.append(step)
                    raise KeyboardInterrupt
                return ends

            task.after_step = spy

        monkeypatch.setattr(Training, "__init__", init)
        return steps

    return of


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
