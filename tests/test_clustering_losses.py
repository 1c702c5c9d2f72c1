"""Losses of clustering against slow versions with explicit loops, and what they promise."""

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


def slow_softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def slow_scan(logits, neighbors, entropy_weight=5.0):
    total, mean = 0.0, np.zeros(logits.shape[1])
    for row, neighbor in zip(logits, neighbors):
        p, other = slow_softmax(row), slow_softmax(neighbor)
        total -= math.log(sum(a * b for a, b in zip(p, other)))
        mean += np.array(p) / len(logits)
    entropy = -sum(share * math.log(max(share, 1e-8)) for share in mean)
    return total / len(logits) - entropy_weight * entropy


def slow_self_labelling(weak, strong, threshold=0.99, balanced=True):
    found = []
    for row, other in zip(weak, strong):
        q = slow_softmax(row)
        if max(q) > threshold:
            target = int(np.argmax(q))
            found.append((target, -math.log(slow_softmax(other)[target])))
    if not found:
        return 0.0
    targets = [target for target, _ in found]
    weights = [len(found) / targets.count(target) if balanced else 1 for target in targets]
    return sum(w * loss for w, (_, loss) in zip(weights, found)) / sum(weights)


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


SHAPES = [(1, 2), (7, 3), (12, 5), (4, 10)]
SEEDS = [0, 1, 2]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_seed = pytest.mark.parametrize("seed", SEEDS)
each_width = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)
each_alpha = pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
LOGIT_LOSSES = [scan_loss, self_labelling_loss]


def draw(*shapes, seed=0, scale=1.0, dtype=torch.float64, requires_grad=False):
    rng = np.random.RandomState(seed)
    tensors = [torch.tensor(scale * rng.normal(size=shape), dtype=dtype) for shape in shapes]
    return [tensor.requires_grad_(requires_grad) for tensor in tensors]


def draw_shares(shape, seed=0, dtype=torch.float64):
    (logits,) = draw(shape, seed=seed)
    return logits.softmax(dim=1).to(dtype)


def assert_near(first, second, rtol=1e-12, atol=1e-13):
    first, second = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (first, second))
    np.testing.assert_allclose(first, second, rtol=rtol, atol=atol)


def arrays(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


def one_hot_logits(clusters, n_clusters, size=100.0, dtype=torch.float64):
    return size * torch.eye(n_clusters, dtype=dtype)[torch.as_tensor(clusters)]


@each_shape
@each_seed
@each_width
@pytest.mark.parametrize("entropy_weight", [0.0, 2.0, 5.0])
def test_scan_is_its_slow_version(shape, seed, dtype, rtol, entropy_weight):
    tensors = draw(shape, shape, seed=seed, scale=3.0, dtype=dtype)
    slow = slow_scan(*arrays(*tensors), entropy_weight)
    assert_near(scan_loss(*tensors, entropy_weight), slow, rtol=rtol, atol=rtol)


@each_seed
def test_default_entropy_weight_is_that_of_scans_configurations(seed):
    tensors = draw((7, 3), (7, 3), seed=seed)
    assert scan_loss(*tensors) == scan_loss(*tensors, entropy_weight=5.0)


@pytest.mark.parametrize("n_clusters", [2, 3, 10])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scan_of_sure_pairs_that_use_all_clusters(n_clusters, dtype):
    logits = one_hot_logits(3 * list(range(n_clusters)), n_clusters, dtype=dtype)
    assert_near(scan_loss(logits, logits), -5 * math.log(n_clusters), rtol=1e-6)


@pytest.mark.parametrize("n_clusters", [2, 3, 10])
def test_scan_of_uniform_shares(n_clusters):
    logits = torch.full((6, n_clusters), 0.7, dtype=torch.float64)
    log_k = math.log(n_clusters)
    assert_near(scan_loss(logits, logits), log_k - 5 * log_k)
    assert_near(scan_loss(logits, logits, entropy_weight=0.0), log_k)


def test_scan_of_a_single_cluster_has_no_entropy():
    logits = one_hot_logits([1] * 6, 4)
    assert_near(scan_loss(logits, logits), 0)
    assert_near(scan_loss(logits, logits, entropy_weight=100.0), 0)


def test_scan_of_pairs_that_do_not_agree():
    logits, others = one_hot_logits([0, 1], 2), one_hot_logits([1, 0], 2)
    # Two terms of about exp(-100) each.
    assert_near(scan_loss(logits, others), 100 - math.log(2) - 5 * math.log(2))


@each_seed
def test_scan_takes_pairs_but_the_entropy_of_images_alone(seed):
    logits, others = draw((8, 4), (8, 4), seed=seed, scale=2.0)
    assert_near(scan_loss(logits, others, 0.0), scan_loss(others, logits, 0.0))
    order = torch.tensor([3, 0, 6, 2, 7, 5, 1, 4])
    assert_near(scan_loss(logits[order], others[order]), scan_loss(logits, others))
    assert abs(scan_loss(logits, others[order]) - scan_loss(logits, others)) > 1e-3
    # Whatever the weight multiplies does not know the neighbours.
    entropies = [scan_loss(logits, x, 0.0) - scan_loss(logits, x, 1.0) for x in (logits, others)]
    assert_near(*entropies, rtol=1e-10)


def test_scan_takes_small_shares_as_one_in_a_hundred_million():
    logits = torch.tensor([[30.0, 0.0]], dtype=torch.float64)
    p = slow_softmax([30.0, 0.0])
    entropy = -p[0] * math.log(p[0]) - p[1] * math.log(1e-8)
    loss = scan_loss(logits, logits, 0.0) - scan_loss(logits, logits, 1.0)
    assert_near(loss, entropy, rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", LOGIT_LOSSES)
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_logits(loss, size, sign):
    # The second is sure of another cluster, or that it is not that of the first.
    clusters, others = [0, 1, 2, 0], [1, 2, 3, 3]
    first = one_hot_logits(clusters, 4, size, torch.float32).requires_grad_()
    second = one_hot_logits(others if sign > 0 else clusters, 4, sign * size, torch.float32)
    second.requires_grad_()
    value = loss(first, second)
    value.backward()
    assert value.isfinite()
    assert second.grad.isfinite().all()
    assert second.grad.any()
    if loss is scan_loss:
        assert first.grad.isfinite().all()


@each_shape
@each_seed
@each_width
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("balanced", [True, False])
def test_self_labelling_is_its_slow_version(shape, seed, dtype, rtol, threshold, balanced):
    weak, strong = draw(shape, shape, seed=seed, scale=4.0, dtype=dtype)
    slow = slow_self_labelling(*arrays(weak, strong), threshold, balanced)
    value = self_labelling_loss(weak, strong, threshold, balanced)
    assert_near(value, slow, rtol=rtol, atol=rtol)


def test_defaults_of_self_labelling():
    weak, strong = draw((40, 3), (40, 3), scale=4.0)
    expected = self_labelling_loss(weak, strong, threshold=0.99, balanced=True)
    assert self_labelling_loss(weak, strong) == expected
    assert self_labelling_loss(weak, strong, 0.98) != expected
    assert self_labelling_loss(weak, strong, balanced=False) != expected


@each_seed
def test_balanced_clusters_weigh_the_same(seed):
    clusters = [0, 0, 0, 0, 0, 0, 3, 3, 1]
    weak = one_hot_logits(clusters, 5)
    (strong,) = draw((9, 5), seed=seed)
    losses = -strong.log_softmax(dim=1)[range(9), clusters]
    by_cluster = [losses[:6].mean(), losses[6:8].mean(), losses[8]]
    assert_near(self_labelling_loss(weak, strong), sum(by_cluster) / 3)
    assert_near(self_labelling_loss(weak, strong, balanced=False), losses.mean())
    # As torch weighs clusters, those that are absent by 1.
    weights = torch.tensor([9 / 6, 9.0, 1.0, 9 / 2, 1.0], dtype=torch.float64)
    named = torch.nn.functional.cross_entropy(strong, torch.tensor(clusters), weight=weights)
    assert_near(self_labelling_loss(weak, strong), named)


def test_images_that_are_not_sure_do_not_count():
    weak = torch.tensor([[9.0, 0], [1.0, 0], [0, 9.0], [0, 1.0], [0, 9.0]], dtype=torch.float64)
    (strong,) = draw((5, 2), requires_grad=True)
    value = self_labelling_loss(weak, strong)
    value.backward()
    sure = [0, 2, 4]
    assert_near(value, self_labelling_loss(weak[sure], strong[sure]))
    assert strong.grad[sure].any(dim=1).all()
    assert not strong.grad[[1, 3]].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_threshold_itself_is_not_enough(dtype):
    weak, strong = torch.zeros(3, 4, dtype=dtype), torch.zeros(3, 4, dtype=dtype)
    assert self_labelling_loss(weak, strong, threshold=0.25) == 0
    assert_near(self_labelling_loss(weak, strong, threshold=0.2499), math.log(4), rtol=1e-6)
    sure = one_hot_logits([0, 1], 2, 1e4, dtype)
    assert self_labelling_loss(sure, 0 * sure, threshold=1.0) == 0


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_learnt_if_no_image_is_sure(balanced, dtype):
    weak, strong = draw((5, 3), (5, 3), scale=0.1, dtype=dtype, requires_grad=True)
    value = self_labelling_loss(weak, strong, balanced=balanced)
    assert value == 0
    assert value.shape == ()
    assert value.dtype == dtype
    value.backward()
    assert strong.grad is not None
    assert not strong.grad.any()


def test_no_gradient_to_weak_logits():
    weak, strong = draw((20, 3), (20, 3), scale=4.0, requires_grad=True)
    self_labelling_loss(weak, strong, threshold=0.5).backward()
    assert weak.grad is None
    assert strong.grad.any()
    # Not even if both views are one.
    (logits,) = draw((20, 3), scale=4.0, requires_grad=True)
    self_labelling_loss(logits, logits, 0.5).backward()
    copy = logits.detach().clone().requires_grad_()
    self_labelling_loss(logits.detach(), copy, 0.5).backward()
    assert torch.equal(logits.grad, copy.grad)


@pytest.mark.parametrize("loss", LOGIT_LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_logits_keep_the_dtype(loss, dtype):
    first, second = draw((9, 4), (9, 4), scale=8.0, dtype=dtype, requires_grad=True)
    before = first.detach().clone(), second.detach().clone()
    value = loss(first, second)
    value.backward()
    assert value.shape == ()
    assert value.dtype == second.grad.dtype == dtype
    assert value.isfinite()
    assert second.grad.isfinite().all()
    assert second.grad.any()
    assert torch.equal(first, before[0])
    assert torch.equal(second, before[1])


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
