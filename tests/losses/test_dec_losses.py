"""Losses of DEC against their slow versions."""

import math

import numpy as np
import pytest
import torch

from skad.losses import (
    dec_loss,
    scan_loss,
    self_labelling_loss,
    sharpened_targets,
    soft_assignments,
)
from tests.losses.clustering_oracles import (
    DTYPES,
    arrays,
    assert_near,
    draw,
    each_seed,
    each_shape,
    each_width,
)


def slow_assignments(codes, centers, alpha=1.0):
    rows = []
    for z in codes:
        powers = []
        for mu in centers:
            squared = sum((a - b) ** 2 for a, b in zip(z, mu))
            powers.append((1 + squared / alpha) ** (-(alpha + 1) / 2))
        rows.append([power / sum(powers) for power in powers])
    return np.array(rows)


def slow_targets(q):
    sizes = [sum(row[j] for row in q) for j in range(q.shape[1])]
    rows = []
    for row in q:
        weights = [share**2 / size if size else 0.0 for share, size in zip(row, sizes)]
        rows.append([weight / sum(weights) for weight in weights])
    return np.array(rows)


def slow_dec(q, p):
    total = 0.0
    for row, target in zip(q, p):
        total += sum(b * math.log(b / a) for a, b in zip(row, target) if b > 0)
    return total / len(q)


each_alpha = pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])


def draw_shares(shape, seed=0, dtype=torch.float64):
    (logits,) = draw(shape, seed=seed)
    return logits.softmax(dim=1).to(dtype)


@pytest.mark.parametrize(("n_codes", "n_clusters", "n_dims"), [(1, 2, 3), (9, 4, 2), (5, 1, 6)])
@each_seed
@each_alpha
@each_width
def test_assignments_are_their_slow_version(n_codes, n_clusters, n_dims, seed, alpha, dtype, rtol):
    tensors = draw((n_codes, n_dims), (n_clusters, n_dims), seed=seed, scale=2.0, dtype=dtype)
    q = soft_assignments(*tensors, alpha)
    assert q.shape == (n_codes, n_clusters)
    assert_near(q, slow_assignments(*arrays(*tensors), alpha), rtol=rtol)
    assert_near(q.sum(dim=1), np.ones(n_codes), rtol=rtol)


def test_default_degrees_of_freedom():
    codes, centers = draw((9, 4), (3, 4))
    assert torch.equal(soft_assignments(codes, centers), soft_assignments(codes, centers, 1.0))


def test_many_degrees_of_freedom_are_a_normal_distribution():
    codes, centers = draw((9, 4), (3, 4))
    squared = torch.cdist(codes, centers) ** 2
    assert_near(soft_assignments(codes, centers, 1e9), (-squared / 2).softmax(dim=1), rtol=1e-6)


@each_alpha
@pytest.mark.parametrize("far", [1e3, 1e8, 1e15])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_far_codes_have_shares(alpha, far, dtype):
    codes = far * torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=dtype)
    centers = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=dtype)
    codes, centers = codes.requires_grad_(), centers.requires_grad_()
    q = soft_assignments(codes, centers, alpha)
    assert_near(q, np.full((2, 2), 0.5), rtol=10 / far + 1e-5)
    q[:, 0].sum().backward()
    assert codes.grad.isfinite().all()
    assert centers.grad.isfinite().all()


def test_powers_that_vanish_still_have_shares():
    # (1 + d^2 / alpha)^(-(alpha + 1) / 2) is 0 in double precision for both.
    codes = torch.tensor([[1e3]], dtype=torch.float64)
    q = soft_assignments(codes, torch.tensor([[0.0], [1.0]], dtype=torch.float64), alpha=200.0)
    odds = ((1 + 999.0**2 / 200) / (1 + 1e6 / 200)) ** (201 / 2)
    assert_near(q, [[odds / (1 + odds), 1 / (1 + odds)]], rtol=1e-9)


@each_alpha
@pytest.mark.parametrize("dtype", DTYPES)
def test_codes_at_a_center(alpha, dtype):
    (centers,) = draw((3, 4), dtype=dtype)
    codes, centers = centers.clone().requires_grad_(), centers.requires_grad_()
    q = soft_assignments(codes, centers, alpha)
    assert q.dtype == dtype
    assert torch.equal(q.argmax(dim=1), torch.arange(3))
    dec_loss(q, sharpened_targets(q)).backward()
    assert codes.grad.isfinite().all()
    assert centers.grad.isfinite().all()


@each_shape
@each_seed
@each_width
def test_targets_are_their_slow_version(shape, seed, dtype, rtol):
    q = draw_shares(shape, seed, dtype).requires_grad_()
    p = sharpened_targets(q)
    assert not p.requires_grad
    assert p.dtype == dtype
    assert_near(p, slow_targets(*arrays(q)), rtol=rtol)
    assert_near(p.sum(dim=1), np.ones(shape[0]), rtol=rtol)


@each_seed
@pytest.mark.parametrize("n_clusters", [2, 3, 6])
def test_targets_are_surer(seed, n_clusters):
    # Each row with all its rotations: clusters of the same size.
    q = draw_shares((30, n_clusters), seed)
    q = torch.cat([q.roll(k, dims=1) for k in range(n_clusters)])
    p = sharpened_targets(q)
    assert (p.amax(dim=1) >= q.amax(dim=1)).all()
    entropies = [-(shares * shares.log()).sum(dim=1) for shares in (p, q)]
    assert (entropies[0] <= entropies[1]).all()
    assert entropies[0].mean() < entropies[1].mean() - 0.01
    assert torch.equal(p.argmax(dim=1), q.argmax(dim=1))


def test_targets_make_large_clusters_lighter():
    q = torch.tensor([[0.9, 0.1]] * 8 + [[0.5, 0.5]], dtype=torch.float64)
    p = sharpened_targets(q)
    assert p[-1, 1] > 0.5
    assert_near(p[-1, 1] / p[-1, 0], 7.7 / 1.3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cluster_without_images_keeps_none(dtype):
    q = draw_shares((6, 3), dtype=dtype)
    empty = torch.cat([q, torch.zeros(6, 1, dtype=dtype)], dim=1)
    p = sharpened_targets(empty)
    assert not p[:, 3].any()
    assert_near(p[:, :3], sharpened_targets(q), rtol=1e-6)
    empty.requires_grad_()
    value = dec_loss(empty, p)
    value.backward()
    assert_near(value, dec_loss(q, p[:, :3]), rtol=1e-5)
    assert empty.grad.isfinite().all()
    assert not empty.grad[:, 3].any()


def test_many_images_in_half_precision():
    # The sizes of the clusters are beyond what 16 bits hold.
    q = torch.tensor([0.75, 0.25]).half().expand(200_000, 2)
    p = sharpened_targets(q)
    assert p.dtype == torch.float16
    assert_near(p[0], [0.75, 0.25], rtol=1e-3)


@each_shape
@each_seed
@each_width
def test_dec_is_its_slow_version(shape, seed, dtype, rtol):
    q, p = draw_shares(shape, seed, dtype), draw_shares(shape, seed + 10, dtype)
    assert_near(dec_loss(q, p), slow_dec(*arrays(q, p)), rtol=rtol, atol=rtol / 10)


@each_shape
@each_seed
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dec_is_zero_at_the_targets_alone(shape, seed, dtype):
    q, p = draw_shares(shape, seed, dtype), draw_shares(shape, seed + 10, dtype)
    assert dec_loss(q, q) == 0
    assert dec_loss(q, p) > 1e-4
    assert dec_loss(p, q) > 1e-4


def test_hard_targets_are_a_cross_entropy():
    q, targets = draw_shares((6, 4)), torch.tensor([0, 1, 1, 3, 2, 0])
    p = torch.eye(4, dtype=torch.float64)[targets]
    q.requires_grad_()
    value = dec_loss(q, p)
    value.backward()
    assert_near(value, -q.detach()[range(6), targets].log().mean())
    assert_near(q.grad, -p / q.detach() / 6)
    assert dec_loss(p, p) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_assignments_of_zero_stay_finite(dtype):
    q = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=dtype, requires_grad=True)
    value = dec_loss(q, torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=dtype))
    value.backward()
    assert value.isfinite()
    assert value > 10
    assert q.grad.isfinite().all()


@pytest.mark.parametrize(("n_codes", "n_clusters", "n_dims"), [(1, 2, 3), (9, 4, 2), (30, 3, 10)])
@each_seed
@each_alpha
def test_gradient_is_that_of_the_paper(n_codes, n_clusters, n_dims, seed, alpha):
    codes, centers = draw((n_codes, n_dims), (n_clusters, n_dims), seed=seed, requires_grad=True)
    q = soft_assignments(codes, centers, alpha)
    p = sharpened_targets(q)
    dec_loss(q, p).backward()
    z, mu, q, p = arrays(codes, centers, q, p)
    of_codes, of_centers = np.zeros_like(z), np.zeros_like(mu)
    for i in range(n_codes):
        for j in range(n_clusters):
            weight = (p[i, j] - q[i, j]) / (1 + ((z[i] - mu[j]) ** 2).sum() / alpha)
            of_codes[i] += (alpha + 1) / alpha * weight * (z[i] - mu[j])
            of_centers[j] -= (alpha + 1) / alpha * weight * (z[i] - mu[j])
    # The paper's loss is a sum over images.
    assert_near(n_codes * codes.grad, of_codes, rtol=1e-9)
    assert_near(n_codes * centers.grad, of_centers, rtol=1e-9)


def test_dec_draws_codes_together():
    (noise,) = draw((40, 2))
    middle = torch.tensor([[-2.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    codes = (middle.repeat_interleave(20, dim=0) + noise).requires_grad_()
    centers = middle.clone().requires_grad_()
    optimizer = torch.optim.SGD([codes, centers], lr=1.0)
    before = soft_assignments(codes, centers).amax(dim=1).mean()
    for _ in range(100):
        q = soft_assignments(codes, centers)
        optimizer.zero_grad()
        dec_loss(q, sharpened_targets(q)).backward()
        optimizer.step()
    assert soft_assignments(codes, centers).amax(dim=1).mean() > before + 0.05


def test_no_gradient_to_targets():
    q = draw_shares((6, 3)).requires_grad_()
    p = draw_shares((6, 3), seed=1).requires_grad_()
    dec_loss(q, p).backward()
    assert p.grad is None
    assert_near(q.grad, -p.detach() / q.detach() / 6)


GRADIENT_CASES = {
    "scan": (scan_loss, draw((5, 3), (5, 3), scale=2.0)),
    "self_labelling": (
        lambda strong: self_labelling_loss(draw((9, 3), seed=7, scale=4.0)[0], strong, 0.7),
        draw((9, 3)),
    ),
    "self_labelling_plain": (
        lambda strong: self_labelling_loss(
            draw((9, 3), seed=7, scale=4.0)[0], strong, 0.7, balanced=False
        ),
        draw((9, 3)),
    ),
    "assignments": (soft_assignments, draw((5, 2), (3, 2))),
    "assignments_alpha": (
        lambda codes, centers: soft_assignments(codes, centers, 2.5),
        draw((5, 2), (3, 2)),
    ),
    "dec": (lambda q: dec_loss(q, draw_shares((5, 3), seed=1)), [draw_shares((5, 3))]),
    "dec_codes": (
        lambda codes, centers: dec_loss(
            soft_assignments(codes, centers), draw_shares((5, 3), seed=1)
        ),
        draw((5, 2), (3, 2)),
    ),
}


@pytest.mark.parametrize(("loss", "tensors"), GRADIENT_CASES.values(), ids=GRADIENT_CASES)
def test_gradients(loss, tensors):
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    assert loss(*tensors).detach().any()
    assert torch.autograd.gradcheck(loss, tensors)
    assert torch.autograd.gradgradcheck(loss, tensors)


@pytest.mark.parametrize("loss", [scan_loss, self_labelling_loss, soft_assignments, dec_loss])
def test_device_is_kept(loss):
    matrices = [torch.ones(4, 3, device="meta")] * 2
    assert loss(*matrices).device.type == "meta"
    assert sharpened_targets(matrices[0]).device.type == "meta"


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (scan_loss, "logits and neighbor_logits"),
        (self_labelling_loss, "weak_logits and strong_logits"),
        (dec_loss, "assignments and targets"),
    ],
)
@pytest.mark.parametrize(
    "shapes", [[(4, 3), (3, 3)], [(4, 3), (4, 2)], [(4, 3), (3,)], [(3,)] * 2, [(2, 4, 3)] * 2]
)
def test_rows_must_match(loss, names, shapes):
    with pytest.raises(ValueError, match=f"{loss.__name__}: {names} must be matrices of the same"):
        loss(*map(torch.ones, shapes))


@pytest.mark.parametrize(
    "shapes", [[(4, 3), (2, 2)], [(4, 3), (3,)], [(3,), (2, 3)], [(3,), (3,)], [(4, 3), (1, 2, 3)]]
)
def test_centers_must_match(shapes):
    with pytest.raises(ValueError, match="soft_assignments: .* rows of the same length; got"):
        soft_assignments(*map(torch.ones, shapes))


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_alpha_must_be_positive(alpha):
    with pytest.raises(ValueError, match=f"alpha must be positive and finite; got {alpha}"):
        soft_assignments(torch.ones(4, 3), torch.ones(2, 3), alpha)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4, 3)])
def test_targets_are_made_of_a_matrix(shape):
    with pytest.raises(ValueError, match="sharpened_targets: assignments must be a matrix"):
        sharpened_targets(torch.ones(shape))
