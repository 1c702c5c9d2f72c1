"""Losses of clusterings, slowly."""

import numpy as np
import pytest
import torch

SHAPES = [(1, 2), (7, 3), (12, 5), (4, 10)]
SEEDS = [0, 1, 2]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_seed = pytest.mark.parametrize("seed", SEEDS)
each_width = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)


def draw(*shapes, seed=0, scale=1.0, dtype=torch.float64, requires_grad=False):
    rng = np.random.RandomState(seed)
    tensors = [torch.tensor(scale * rng.normal(size=shape), dtype=dtype) for shape in shapes]
    return [tensor.requires_grad_(requires_grad) for tensor in tensors]


def assert_near(first, second, rtol=1e-12, atol=1e-13):
    first, second = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (first, second))
    np.testing.assert_allclose(first, second, rtol=rtol, atol=atol)


def arrays(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]
