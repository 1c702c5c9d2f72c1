"""What adapters share that train a whole network, from random weights."""

import math
import os
from numbers import Integral, Real

from .._compat import HasMethods, Interval
from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..training._order import n_batches
from ._base import NOT_NEGATIVE, BaseAdapter

SCRATCH_CONSTRAINTS = {
    "extractor": [HasMethods(["fit", "transform"]), None],
    "n_epochs": [Interval(Integral, 1, None, closed="left")],
    "n_steps": [Interval(Integral, 1, None, closed="left"), None],
    "batch_size": [Interval(Integral, 2, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [NOT_NEGATIVE],
    "collapse_limit": [Interval(Real, 0, 1, closed="left")],
    "stop_at_collapse": ["boolean"],
    "memory_limit": [NOT_NEGATIVE],
    "checkpoint": [str, os.PathLike, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class ScratchAdapter(BaseAdapter):
    """Train a whole network, BatchNorm in training mode, by Adam."""

    _from_scratch = True

    # What adapters of pretrained networks have as parameters.
    trainable, clip_norm = "all", None

    def _default_extractor(self):
        return FeatureExtractor(cifar_resnet18, weights=None)

    def _make_optimizer(self, parameters):
        import torch

        return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)

    def _epochs(self):
        """Passes over the images."""
        return self.n_epochs

    def _count_steps(self, n_images):
        steps = self._epochs() * n_batches(n_images, self._images_in_step, self._fewest)
        return self.n_steps or steps


def cosine_decay(rate, step, n_steps, last=0.0):
    """From `rate` to `last` along half a cosine."""
    return last + (rate - last) * (1 + math.cos(math.pi * step / n_steps)) / 2


def step_decay(rate, step, n_steps, milestone):
    """`rate`, and a tenth of it beyond a share of the steps."""
    return rate if step < round(milestone * n_steps) else rate / 10
