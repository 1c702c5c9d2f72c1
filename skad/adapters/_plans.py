"""Plans of two kinds of training: stages of a pretrained network, or all of one from scratch."""

import math
from functools import partial

import torch

from ..training._order import n_batches
from ..training._plan import Plan

# Parameters of an adapter that its plan takes as they are, where the adapter has them.
_SHARED = (
    *("batch_size", "trainable", "clip_norm", "collapse_limit", "stop_at_collapse"),
    *("memory_limit", "checkpoint", "compile", "verbose"),
)


def fine_tuning(adapter, n_steps, **others):
    """Plan of stochastic gradient descent on stages of a pretrained network."""
    momentum = {"momentum": adapter.momentum, "weight_decay": adapter.weight_decay}
    optimizer = partial(torch.optim.SGD, lr=adapter.learning_rate, **momentum)
    given = {"make_optimizer": optimizer, "rate": constant(adapter.learning_rate)} | others
    return Plan(n_steps=n_steps, **shared(adapter) | given)


def from_scratch(adapter, n_steps, **others):
    """Plan of training a whole network, BatchNorm in training mode, by Adam."""
    decay = shared(adapter, "weight_decay")
    optimizer = partial(torch.optim.Adam, lr=adapter.learning_rate, **decay)
    given = {"make_optimizer": optimizer, "rate": constant(adapter.learning_rate)}
    return Plan(n_steps=n_steps, **shared(adapter) | given | {"from_scratch": True} | others)


def shared(adapter, *names):
    """Parameters by name, of those that the adapter has."""
    own = adapter.get_params(deep=False)
    return {name: own[name] for name in names or _SHARED if name in own}


def steps_of_epochs(n_epochs, n_images, batch_size, fewest=1):
    """Steps of so many passes over the images."""
    return n_epochs * n_batches(n_images, batch_size, fewest)


def constant(rate):
    """The same learning rate at every step."""
    return lambda step: rate


def cosine_decay(rate, n_steps, last=0.0):
    """From `rate` to `last` along half a cosine."""
    return lambda step: last + (rate - last) * (1 + math.cos(math.pi * step / n_steps)) / 2


def step_decay(rate, n_steps, milestone):
    """`rate`, and a tenth of it beyond a share of the steps."""
    return lambda step: rate if step < round(milestone * n_steps) else rate / 10
