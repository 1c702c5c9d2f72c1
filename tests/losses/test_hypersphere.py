"""Losses of hyperspheres, and reconstruction."""

import math

import numpy as np
import pytest
import torch

from skad.losses import (
    compactness_loss,
    reconstruction_loss,
    soft_boundary_loss,
    soft_boundary_radius,
)
from tests.losses.oracles import N_TARGETS, assert_near, draw, slow_soft_boundary


def slow_radius(features, center, nu=0.1):
    distances = []
    for row in features:
        distances.append(math.sqrt(sum((value - c) ** 2 for value, c in zip(row, center))))
    distances.sort()
    rank = (1 - nu) * (len(distances) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(distances) - 1)
    return distances[low] + (rank - low) * (distances[high] - distances[low])


@pytest.mark.parametrize("nu", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("radius", [0.0, 1.0, 3.0, 3.5, 20.0])
def test_soft_boundary_by_radius(nu, radius):
    features, center = draw((9, 8), (8,))
    value = soft_boundary_loss(features, center, radius, nu)
    assert_near(value, slow_soft_boundary(features.numpy(), center.numpy(), radius, nu))
    # A radius of 64 bits must not widen the loss of narrow features.
    for number in (radius, np.float64(radius), torch.tensor(radius, dtype=torch.float64)):
        narrow = soft_boundary_loss(features.float(), center.float(), number, nu)
        assert narrow.dtype == torch.float32
        assert_near(narrow, value, rtol=1e-5)


@pytest.mark.parametrize("nu", [0.01, 0.1, 1.0])
def test_soft_boundary_at_its_ends(nu):
    features, center = draw((9, 8), (8,))
    one_class = ((features - center) ** 2).sum(dim=1).mean()
    assert_near(soft_boundary_loss(features, center, 0.0, nu), one_class / nu)
    assert_near(one_class, 8 * compactness_loss(features, center))
    features.requires_grad_()
    inside = soft_boundary_loss(features, center, 20.0, nu)
    assert inside == 400
    inside.backward()
    assert not features.grad.any()


def test_default_nu_is_that_of_deep_svdd():
    features, center = draw((9, 8), (8,))
    assert soft_boundary_loss(features, center, 3.0) == soft_boundary_loss(
        features, center, 3.0, nu=0.1
    )
    assert soft_boundary_radius(features, center) == soft_boundary_radius(features, center, nu=0.1)


@pytest.mark.parametrize("nu", [0.1, 0.5])
def test_soft_boundary_pulls_in_what_is_outside(nu):
    features, center = draw((20, 8), (8,))
    radius = soft_boundary_radius(features, center, nu).requires_grad_()
    features.requires_grad_()
    soft_boundary_loss(features, center, radius, nu).backward()
    difference = features.detach() - center
    outside = difference.norm(dim=1, keepdim=True) > radius.detach()
    assert outside.sum() == round(nu * 20)
    np.testing.assert_allclose(features.grad, outside * 2 * difference / (nu * 20), rtol=1e-12)
    # What a smaller radius saves, the features outside cost.
    assert_near(radius.grad, 0)


@pytest.mark.parametrize(("n_images", "nu"), [(10, 0.1), (10, 0.2), (20, 0.05), (8, 0.75), (7, 1)])
def test_no_radius_is_better_than_the_quantile(n_images, nu):
    features, center = draw((n_images, 6), (6,))
    best = soft_boundary_loss(features, center, soft_boundary_radius(features, center, nu), nu)
    others = [soft_boundary_loss(features, center, r, nu) for r in np.linspace(0, 8, 400)]
    assert best <= min(others) + 1e-12
    assert max(others) > best + 1


@pytest.mark.parametrize("n_images", [1, 2, 11, 64])
@pytest.mark.parametrize("nu", [1e-6, 0.01, 0.1, 0.37, 0.5, 1.0])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_radius_is_a_quantile(n_images, nu, dtype, rtol):
    features, center = draw((n_images, 5), (5,), dtype=dtype, requires_grad=True)
    radius = soft_boundary_radius(features, center, nu)
    assert radius.shape == ()
    assert radius.dtype == dtype
    assert not radius.requires_grad
    rows, middle = (tensor.detach().double().numpy() for tensor in (features, center))
    assert_near(radius, slow_radius(rows, middle, nu), rtol=rtol)
    distances = np.linalg.norm(rows - middle, axis=1)
    assert_near(radius, np.quantile(distances, 1 - nu), rtol=rtol)


def test_radius_of_known_distances():
    features = torch.diag(torch.tensor([4.0, 0.0, 2.0, 1.0, 3.0]))
    for nu, radius in [(1.0, 0.0), (0.75, 1.0), (0.5, 2.0), (0.25, 3.0), (0.125, 3.5)]:
        assert soft_boundary_radius(features, torch.zeros(5), nu) == radius


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_radius_in_half_precision(dtype):
    # The squares are beyond what 16 bits hold.
    features, center = 300 * torch.eye(4, dtype=dtype), torch.zeros(4, dtype=dtype)
    radius = soft_boundary_radius(features, center)
    assert radius.dtype == dtype
    assert radius == 300


def test_radius_keeps_its_device():
    features, center = (tensor.to("meta") for tensor in draw((6, 5), (5,)))
    assert soft_boundary_radius(features, center).device.type == "meta"


def test_reconstruction_sums_over_an_image():
    images, reconstructions = draw((5, 3, 4, 6), (5, 3, 4, 6))
    mean = ((images - reconstructions) ** 2).mean()
    assert_near(reconstruction_loss(images, reconstructions), 3 * 4 * 6 * mean)
    assert reconstruction_loss(images, images) == 0
    assert_near(reconstruction_loss(images, images + 0.5), 3 * 4 * 6 / 4)


@pytest.mark.parametrize("loss", N_TARGETS)
@pytest.mark.parametrize("wrong", [(3, 3), (4, 2), (3,), (4, 3, 1)])
def test_predictions_and_targets_must_match(loss, wrong):
    n = 2 * N_TARGETS[loss]
    names = "predictions and targets" if n == 2 else "first_predictions, .* and second_.*"
    for index in range(n):
        tensors = [torch.ones(wrong if k == index else (4, 3)) for k in range(n)]
        with pytest.raises(ValueError, match=f"{loss.__name__}: {names} must .*same shape"):
            loss(*tensors)
    with pytest.raises(ValueError, match=f"{loss.__name__}: .* must be matrices"):
        loss(*[torch.ones(3)] * n)


def soft_loss_of_radius_1(features, center, nu=0.1):
    return soft_boundary_loss(features, center, 1.0, nu)


each_sphere = pytest.mark.parametrize(
    ("loss", "name"),
    [
        (soft_loss_of_radius_1, "soft_boundary_loss"),
        (soft_boundary_radius, "soft_boundary_radius"),
    ],
)


@each_sphere
@pytest.mark.parametrize("nu", [0.0, -0.1, 1.001, math.nan, math.inf])
def test_nu_must_be_a_share(loss, name, nu):
    with pytest.raises(ValueError, match=rf"{name}: nu must be in \(0, 1\]; got {nu}"):
        loss(torch.ones(4, 3), torch.ones(3), nu)


@each_sphere
@pytest.mark.parametrize("shapes", [[(4, 3), (4,)], [(4, 3), (1, 3)], [(3,), (3,)], [(4, 3), ()]])
def test_center_must_match(loss, name, shapes):
    with pytest.raises(ValueError, match=f"{name}: features must be a matrix"):
        loss(*map(torch.ones, shapes))


@pytest.mark.parametrize("shape", [(1,), (4,), (1, 1)])
def test_radius_must_be_one_number(shape):
    with pytest.raises(ValueError, match="soft_boundary_loss: radius must be one number"):
        soft_boundary_loss(torch.ones(4, 3), torch.ones(3), torch.ones(shape))


@pytest.mark.parametrize(
    "shapes",
    [[(2, 3, 4, 4), (2, 1, 4, 4)], [(2, 3, 4, 4), (1, 3, 4, 4)], [(3, 4, 4)] * 2, [(2, 48)] * 2],
)
def test_reconstructions_must_match(shapes):
    with pytest.raises(ValueError, match="reconstruction_loss: .* same shape"):
        reconstruction_loss(*map(torch.ones, shapes))
