"""Losses of SCAN against their slow versions."""

import math

import numpy as np
import pytest
import torch

from skad.losses import (
    scan_loss,
    self_labelling_loss,
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


LOGIT_LOSSES = [scan_loss, self_labelling_loss]


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
