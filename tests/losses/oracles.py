"""Losses of features, slowly: one row, one term at a time."""

import numpy as np
import torch

from skad.losses import (
    byol_loss,
    negative_cosine_loss,
    simsiam_loss,
)


def slow_soft_boundary(features, center, radius, nu=0.1):
    total = radius**2
    for row in features:
        squared = sum((value - c) ** 2 for value, c in zip(row, center))
        total += max(0.0, squared - radius**2) / (nu * len(features))
    return total


# Losses whose last tensors, so many, are targets: they get no gradient.
N_TARGETS = {negative_cosine_loss: 1, simsiam_loss: 2, byol_loss: 2}


def draw(*shapes, seed=0, dtype=torch.float64, requires_grad=False):
    rng = np.random.RandomState(seed)
    tensors = [torch.tensor(rng.normal(size=shape), dtype=dtype) for shape in shapes]
    return [tensor.requires_grad_(requires_grad) for tensor in tensors]


def split_targets(loss, tensors):
    cut = len(tensors) - N_TARGETS.get(loss, 0)
    return tensors[:cut], tensors[cut:]


def assert_near(first, second, rtol=1e-12, atol=1e-13):
    first, second = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (first, second))
    np.testing.assert_allclose(first, second, rtol=rtol, atol=atol)
