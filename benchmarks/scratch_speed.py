"""Images a second of training from scratch, against the network's bare forward and backward pass.

    python -m benchmarks.scratch_speed
    python -m benchmarks.scratch_speed simsiam --out benchmarks/speed.jsonl

The yardstick runs the same network and heads on batches of as many views that lie in memory, in the
same precision, and steps the same optimiser.
"""

import time
from functools import partial

import numpy as np
import torch

from skad import FeatureExtractor, SelfSupervisedAdapter
from skad.backbones import cifar_resnet18, small_cnn
from skad.training import _run as _run

from .accuracy import SHARED, load_images
from .timing import run_tasks

N_STEPS = 12
NETWORKS = {"ResNet-18": cifar_resnet18, "small CNN": partial(small_cnn, width=32)}


class Timed(SelfSupervisedAdapter):
    """A training that notes when each step ends, and its bare passes on views kept in memory."""

    _times: list

    def _after_step(self, run, step):
        super()._after_step(run, step)
        self._times.append(time.perf_counter())
        if step < N_STEPS:
            return
        # With the same modules and optimiser, but without reading, augmenting and watching.
        images = run.images.view_images(step, run.augmentation, self._n_turns)
        run.images.view_images = lambda *_: images
        for _ in range(N_STEPS):
            start = time.perf_counter()
            run.optimizer.zero_grad(set_to_none=True)
            run._loss_in_training(partial(self._loss, run), step).backward()
            run.optimizer.step()
            if run.device.type == "cuda":  # steps of training wait for the loss
                torch.cuda.synchronize()
            self._bare.append(time.perf_counter() - start)


def shares(objective, precision="float32"):
    """Speed of training as a share of the bare passes, for each network."""
    images = load_images(SHARED / "data", "cifar10", 500, 1)
    X = images.X_train[images.y_train == 0]
    found = {}
    for name, network in NETWORKS.items():
        adapter = Timed(
            FeatureExtractor(network, weights=None, precision=precision),
            objective=objective,
            n_steps=N_STEPS,
            batch_size=64,
        )
        adapter._times, adapter._bare = [], []
        adapter.fit(X)
        steps = np.diff(adapter._times)
        label = (
            f"from scratch, {objective}, {name}, {precision}: images/s / bare passes (aim >= 0.85)"
        )
        found[label] = np.median(adapter._bare[2:]) / np.median(steps[2:])
    return found


TASKS = {
    "simsiam": partial(shares, "simsiam"),
    "simclr": partial(shares, "simclr"),
    "byol": partial(shares, "byol"),
    "simsiam_bfloat16": partial(shares, "simsiam", "bfloat16"),
}


if __name__ == "__main__":
    # No look at the features within the steps that are timed; one costs as much as a few steps.
    _run.FEWEST_STEPS = N_STEPS
    run_tasks(TASKS, __doc__)
