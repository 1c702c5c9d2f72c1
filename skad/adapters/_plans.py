"""Plans of two kinds of training: stages of a pretrained network, or all of one from scratch."""

import math
from functools import partial

import torch

from ..networks._budget import own_budget
from ..training._order import n_batches
from ..training._plan import Plan

# Parameters of an adapter that its plan takes as they are, where the adapter has them.
_SHARED = (
    *("batch_size", "trainable", "clip_norm", "collapse_limit", "stop_at_collapse"),
    *("accept", "memory_limit", "checkpoint", "max_minutes", "compile", "verbose"),
)


# Training images of a class of CIFAR-10, for which numbers of epochs are published.
IMAGES_OF_A_CLASS = 5000


def settled(adapter, network, objective, published):
    """What an adapter's parameters are that were left open.

    Parameters
    ----------
    adapter : adapter
    network : torch.nn.Module
        To be trained.
    objective : str
        By which its metadata may have a budget.
    published : dict of str to object
        What holds for networks that say nothing.

    Returns
    -------
    parameters : dict of str to object
    """
    given = {name: getattr(adapter, name) for name in published}
    own = published | own_budget(network, objective)
    return {name: own[name] if value is None else value for name, value in given.items()}


def check_output(adapter):
    """Refuse outputs of a head where the network may be kept that no head was trained for."""
    if adapter.accept == "if_better" and adapter.output != "features":
        raise ValueError(
            f"{type(adapter).__name__}: accept='if_better' compares features, and the frozen "
            f"network has no trained head; got output={adapter.output!r}. Set output='features', "
            "or accept='always'."
        )


def fine_tuning(adapter, n_steps, learning_rate=None, **others):
    """Plan of stochastic gradient descent on stages of a pretrained network."""
    rate = adapter.learning_rate if learning_rate is None else learning_rate
    momentum = {"momentum": adapter.momentum, "weight_decay": adapter.weight_decay}
    optimizer = partial(torch.optim.SGD, lr=rate, **momentum)
    given = {"make_optimizer": optimizer, "rate": constant(rate)} | others
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


def epochs_of_few(published, n_images):
    """Passes over the images: as many as published for a class of CIFAR-10, of fewer fewer.

    In proportion, but for a tenth at the least.
    """
    share = min(max(n_images / IMAGES_OF_A_CLASS, 0.1), 1)
    return max(1, round(published * share))


def constant(rate):
    """The same learning rate at every step."""
    return lambda step: rate


def cosine_decay(rate, n_steps, last=0.0):
    """From `rate` to `last` along half a cosine."""
    return lambda step: last + (rate - last) * (1 + math.cos(math.pi * step / n_steps)) / 2


def step_decay(rate, n_steps, milestone):
    """`rate`, and a tenth of it beyond a share of the steps."""
    return lambda step: rate if step < round(milestone * n_steps) else rate / 10
