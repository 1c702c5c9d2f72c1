"""What adapters share that train a whole network, from random weights."""

import math

from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..training._order import n_batches
from ._base import BaseAdapter


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
