"""Losses that predict one view from another."""

import numpy as np
import pytest
import torch

from skad.losses import (
    byol_loss,
    negative_cosine_loss,
    reconstruction_loss,
    simsiam_loss,
    soft_boundary_loss,
)
from tests.losses.oracles import N_TARGETS, assert_near, draw, split_targets

PREDICTIVE = [simsiam_loss, byol_loss]


# Losses that are a mean over images.
each_mean = pytest.mark.parametrize(
    ("loss", "n_batches", "shapes"),
    [
        (negative_cosine_loss, 2, [(6, 4)] * 2),
        (simsiam_loss, 4, [(6, 4)] * 4),
        (byol_loss, 4, [(6, 4)] * 4),
        (lambda *tensors: soft_boundary_loss(*tensors, radius=2.5), 1, [(6, 4), (4,)]),
        (reconstruction_loss, 2, [(6, 2, 3, 4)] * 2),
    ],
    ids=["negative_cosine", "simsiam", "byol", "soft_boundary", "reconstruction"],
)


@each_mean
def test_batches_of_one_average_to_the_batch(loss, n_batches, shapes):
    tensors = draw(*shapes)
    batches, others = tensors[:n_batches], tensors[n_batches:]
    alone = [loss(*(batch[i : i + 1] for batch in batches), *others) for i in range(6)]
    assert all(value.shape == () for value in alone)
    assert np.ptp([float(value) for value in alone]) > 1e-3
    assert_near(loss(*tensors), sum(alone) / 6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1e-6, 1.0, 1e4])
def test_cosines_at_their_ends(dtype, length):
    # Of powers of 2, whose direction is exact in any precision.
    rows = torch.tensor([[1, 1, -1, 1], [0, -4, 0, 0], [2, -2, 2, 2]], dtype=dtype)
    scaled = length * rows
    assert negative_cosine_loss(scaled, rows) == -1
    assert negative_cosine_loss(scaled, -rows) == 1
    assert negative_cosine_loss(torch.zeros_like(rows), rows) == 0
    assert negative_cosine_loss(rows, torch.zeros_like(rows)) == 0
    assert simsiam_loss(scaled, rows, rows, scaled) == -1
    assert simsiam_loss(rows, -rows, rows, rows) == 0
    assert simsiam_loss(rows, rows, -rows, -scaled) == 1
    assert byol_loss(scaled, rows, rows, scaled) == 0
    assert byol_loss(rows, -rows, rows, rows) == 4
    assert byol_loss(rows, rows, -rows, -scaled) == 8


def test_negative_cosine_is_a_squared_distance():
    predictions, targets = draw((9, 5), (9, 5))
    p, z = (rows / rows.norm(dim=1, keepdim=True) for rows in (predictions, targets))
    distance = ((p - z) ** 2).sum(dim=1).mean()
    assert_near(2 + 2 * negative_cosine_loss(predictions, targets), distance)


def test_simsiam_and_byol_are_the_same_but_for_scale():
    tensors = draw(*[(9, 5)] * 4)
    p1, p2, z1, z2 = tensors
    both = negative_cosine_loss(p1, z2) + negative_cosine_loss(p2, z1)
    assert_near(simsiam_loss(*tensors), both / 2)
    assert_near(byol_loss(*tensors), 4 + 4 * simsiam_loss(*tensors))


@pytest.mark.parametrize("loss", PREDICTIVE)
def test_predictive_losses_pair_either_view_with_the_other(loss):
    p1, p2, z1, z2 = draw(*[(9, 5)] * 4)
    expected = loss(p1, p2, z1, z2)
    assert_near(loss(p2, p1, z2, z1), expected)
    order = torch.tensor([3, 0, 8, 6, 2, 5, 1, 7, 4])
    assert_near(loss(p1[order], p2[order], z1[order], z2[order]), expected)
    assert abs(loss(p1, p2, z2, z1) - expected) > 1e-3
    assert abs(loss(p1, p2, z1[order], z2) - expected) > 1e-3


@pytest.mark.parametrize("loss", N_TARGETS)
def test_targets_are_constants_even_if_predictions_come_from_them(loss):
    n = N_TARGETS[loss]
    weights, *projections = draw((5, 5), *[(6, 5)] * n, requires_grad=True)
    loss(*(rows @ weights for rows in projections), *projections).backward()
    gradients = [rows.grad for rows in projections]
    # The same with copies for targets: all of the gradient goes through the predictor.
    copies = [rows.detach().clone() for rows in projections]
    inputs = [rows.detach().requires_grad_() for rows in projections]
    loss(*(rows @ weights.detach() for rows in inputs), *copies).backward()
    for gradient, rows in zip(gradients, inputs):
        assert gradient.any()
        assert torch.equal(gradient, rows.grad)


@pytest.mark.parametrize("loss", N_TARGETS)
def test_gradients_leave_the_length_of_predictions(loss):
    tensors = draw(*[(6, 5)] * (2 * N_TARGETS[loss]), requires_grad=True)
    loss(*tensors).backward()
    for rows in split_targets(loss, tensors)[0]:
        assert rows.grad.any(dim=1).all()
        assert_near((rows.grad * rows.detach()).sum(dim=1), 0)


def predict(loss, first, second, weights, bias, normalise):
    """The loss of two outputs of a projector, by a linear predictor."""
    if normalise:
        first, second = (rows / rows.norm(dim=1, keepdim=True) for rows in (first, second))
    return loss(first @ weights + bias, second @ weights + bias, first, second)


@pytest.mark.parametrize("loss", PREDICTIVE)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_projections_of_unit_length_free_the_length_of_the_projector(loss, seed):
    first, second, weights, bias = draw((6, 5), (6, 5), (5, 5), (5,), seed=seed)
    projections = first.requires_grad_(), second.requires_grad_()
    value = predict(loss, *projections, weights, bias, normalise=True)
    value.backward()
    for rows in projections:
        assert rows.grad.any(dim=1).all()
        assert_near((rows.grad * rows.detach()).sum(dim=1), 0)
    lengths = torch.tensor([1e-3, 0.1, 1.0, 2.0, 10.0, 1e4], dtype=torch.float64)[:, None]
    scaled = predict(loss, first * lengths, second / lengths, weights, bias, normalise=True)
    assert_near(scaled, value)


@pytest.mark.parametrize("loss", PREDICTIVE)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_bias_ties_the_loss_to_the_length_of_the_projector(loss, seed):
    first, second, weights, bias = draw((6, 5), (6, 5), (5, 5), (5,), seed=seed)
    projections = first.requires_grad_(), second.requires_grad_()
    value = predict(loss, *projections, weights, bias, normalise=False)
    for rows, gradient in zip(projections, torch.autograd.grad(value, projections)):
        assert ((gradient * rows.detach()).sum(dim=1).abs() > 1e-5).all()
    assert (
        abs(predict(loss, 10 * first, 10 * second, weights, bias, normalise=False) - value) > 1e-3
    )
    # Without bias a linear predictor passes lengths on.
    value = predict(loss, *projections, weights, 0 * bias, normalise=False)
    for rows, gradient in zip(projections, torch.autograd.grad(value, projections)):
        assert_near((gradient * rows.detach()).sum(dim=1), 0)
