"""Images a second of training from scratch, against the network's bare forward and backward pass.

    python -m benchmarks.scratch_speed
    python -m benchmarks.scratch_speed simsiam --out benchmarks/speed.jsonl

The yardstick runs the same network and heads on batches of as many views that lie in memory, in the
same precision, and steps the same optimiser.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from skad import FeatureExtractor, SelfSupervisedAdapter
from skad.backbones import cifar_resnet18, small_cnn
from skad.training import _run
from skad.training._run import Training

from .accuracy import SHARED, load_images
from .timing import run_tasks

N_STEPS = 12
NETWORKS = {"ResNet-18": cifar_resnet18, "small CNN": partial(small_cnn, width=32)}


class Timed(SelfSupervisedAdapter):
    """A training that notes when each step ends, and its bare passes on views kept in memory."""

    def _task(self, start):
        task = super()._task(start)
        self._times, plain = [], task.after_step

        def after_step(step):
            plain(step)
            self._times.append(time.perf_counter())

        task.after_step = after_step
        return task

    def _learn(self, task, outcome):
        super()._learn(task, outcome)
        # With the same modules and optimiser, but without reading, augmenting and watching.
        n_turns = 4 if self.negatives == "rotation" else 1
        task.images._reader = ThreadPoolExecutor(1)  # that of the training has ended with it
        images = task.images.view_images(0, task.augmentation, n_turns)
        task.images.view_images = lambda *_: images
        task.requires_grad_(True)
        if self.objective == "byol":
            task.target.requires_grad_(False)
        bare = Training(task, task.start.plan, task.start, self.get_params())
        self._bare = []
        for step in range(N_STEPS):
            start = time.perf_counter()
            bare.optimizer.zero_grad(set_to_none=True)
            bare._loss(step).backward()
            bare.optimizer.step()
            if task.start.device.type == "cuda":  # steps of training wait for the loss
                torch.cuda.synchronize()
            self._bare.append(time.perf_counter() - start)
        task.requires_grad_(False)


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
