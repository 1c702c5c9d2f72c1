"""Losses of features against their slow versions."""

import math

import numpy as np
import pytest
import torch

from skad.losses import (
    angular_center_loss,
    byol_loss,
    compactness_loss,
    elastic_penalty,
    mean_shifted_contrastive_loss,
    negative_cosine_loss,
    nt_xent_loss,
    outlier_exposure_loss,
    reconstruction_loss,
    simsiam_loss,
    soft_boundary_loss,
    vicreg_loss,
)
from tests.losses.oracles import assert_near, draw, slow_soft_boundary, split_targets


def slow_compactness(features, center):
    total = 0.0
    for row in features:
        total += sum((value - c) ** 2 for value, c in zip(row, center)) / len(center)
    return total / len(features)


def slow_unit(row):
    return row / math.sqrt(sum(value**2 for value in row))


def slow_angular(features, center):
    inner = [sum(z * c for z, c in zip(slow_unit(row), center)) for row in features]
    return -sum(inner) / len(features)


def slow_nt_xent(first, second, temperature):
    views = [slow_unit(row) for row in [*first, *second]]
    n_images, total = len(first), 0.0
    for i, anchor in enumerate(views):
        positive = i + n_images if i < n_images else i - n_images
        others = 0.0
        for m, view in enumerate(views):
            if m != i:
                others += math.exp(sum(anchor * view) / temperature)
        total -= math.log(math.exp(sum(anchor * views[positive]) / temperature) / others)
    return total / len(views)


def slow_shifted(first, second, center, temperature=0.25):
    shifted = [[slow_unit(row) - center for row in view] for view in (first, second)]
    return slow_nt_xent(*shifted, temperature)


def slow_exposure(normal, outlier):
    total = 0.0
    for logit in normal.ravel():
        total -= math.log(1 - 1 / (1 + math.exp(-logit)))
    for logit in outlier.ravel():
        total -= math.log(1 / (1 + math.exp(-logit)))
    return total / (normal.size + outlier.size)


def slow_elastic(*arrays):
    """Parameters, anchors and, if there are six arrays, importances, two of each."""
    total = 0.0
    for k in range(2):
        weights = arrays[4 + k] if len(arrays) == 6 else np.ones_like(arrays[k])
        for now, before, weight in zip(arrays[k].ravel(), arrays[2 + k].ravel(), weights.ravel()):
            total += weight * (now - before) ** 2 / 2
    return total


def slow_cosine(predictions, targets):
    total = 0.0
    for prediction, target in zip(predictions, targets):
        total -= sum(p * z for p, z in zip(slow_unit(prediction), slow_unit(target)))
    return total / len(predictions)


def slow_simsiam(first_p, second_p, first_z, second_z):
    total = 0.0
    for p1, p2, z1, z2 in zip(first_p, second_p, first_z, second_z):
        total -= sum(slow_unit(p1) * slow_unit(z2)) / 2 + sum(slow_unit(p2) * slow_unit(z1)) / 2
    return total / len(first_p)


def slow_byol(first_p, second_p, first_z, second_z):
    total = 0.0
    for p1, p2, z1, z2 in zip(first_p, second_p, first_z, second_z):
        total += sum((slow_unit(p1) - slow_unit(z2)) ** 2)
        total += sum((slow_unit(p2) - slow_unit(z1)) ** 2)
    return total / len(first_p)


def slow_reconstruction(images, reconstructions):
    total = 0.0
    for image, reconstruction in zip(images, reconstructions):
        for pixel, value in zip(image.ravel(), reconstruction.ravel()):
            total += (pixel - value) ** 2
    return total / len(images)


def slow_vicreg(first, second, weights=(25, 25, 1), target=1.0, eps=1e-4):
    n_images, n_features = first.shape
    invariance = variance = covariance = 0.0
    for row, other in zip(first, second):
        invariance += sum((a - b) ** 2 for a, b in zip(row, other)) / (n_images * n_features)
    for view in (first, second):
        means = [sum(column) / n_images for column in view.T]
        for j in range(n_features):
            for k in range(n_features):
                products = [(row[j] - means[j]) * (row[k] - means[k]) for row in view]
                value = sum(products) / (n_images - 1)
                if j == k:
                    variance += max(0.0, target - math.sqrt(value + eps)) / n_features
                else:
                    covariance += value**2 / n_features
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


def elastic(*tensors):
    return elastic_penalty(*(tensors[k : k + 2] for k in range(0, len(tensors), 2)))


# The loss on tensors alone, its slow version, and the shapes that both take.
PAIR = [(3, 2), (4,)]
CASES = {
    "compactness": (compactness_loss, slow_compactness, [(5, 7), (7,)]),
    "angular": (angular_center_loss, slow_angular, [(5, 7), (7,)]),
    "nt_xent": (
        lambda first, second: nt_xent_loss(first, second, 0.4),
        lambda first, second: slow_nt_xent(first, second, 0.4),
        [(4, 3), (4, 3)],
    ),
    "shifted": (mean_shifted_contrastive_loss, slow_shifted, [(4, 3), (4, 3), (3,)]),
    "shifted_warm": (
        lambda *tensors: mean_shifted_contrastive_loss(*tensors, temperature=2.0),
        lambda *arrays: slow_shifted(*arrays, temperature=2.0),
        [(2, 5), (2, 5), (5,)],
    ),
    "exposure": (outlier_exposure_loss, slow_exposure, [(5,), (3,)]),
    "exposure_columns": (outlier_exposure_loss, slow_exposure, [(3, 1), (5, 1)]),
    "elastic": (elastic, slow_elastic, PAIR * 3),
    "elastic_plain": (elastic, slow_elastic, PAIR * 2),
    "negative_cosine": (negative_cosine_loss, slow_cosine, [(5, 7)] * 2),
    "simsiam": (simsiam_loss, slow_simsiam, [(5, 7)] * 4),
    "byol": (byol_loss, slow_byol, [(5, 7)] * 4),
    "vicreg": (vicreg_loss, slow_vicreg, [(5, 7)] * 2),
    "vicreg_weights": (
        lambda first, second: vicreg_loss(
            *(first, second),
            invariance_weight=2.0,
            variance_weight=0.5,
            covariance_weight=3.0,
            target_std=1.2,
            eps=0.1,
        ),
        lambda first, second: slow_vicreg(first, second, (2.0, 0.5, 3.0), 1.2, 0.1),
        [(9, 3)] * 2,
    ),
    # A radius that leaves some features inside, some outside.
    "soft_boundary": (
        lambda features, center, step: soft_boundary_loss(features, center, 3.5 + 0.1 * step),
        lambda features, center, step: slow_soft_boundary(features, center, 3.5 + 0.1 * step),
        [(9, 7), (7,), ()],
    ),
    "reconstruction": (reconstruction_loss, slow_reconstruction, [(3, 2, 4, 5)] * 2),
}


each_case = pytest.mark.parametrize(("loss", "slow", "shapes"), CASES.values(), ids=CASES)


def contrast(first, second, temperature):
    return nt_xent_loss(first, second, temperature)


def shifted_contrast(first, second, temperature):
    center = torch.linspace(-0.3, 0.5, first.shape[1], dtype=first.dtype)
    return mean_shifted_contrastive_loss(first, second, center, temperature)


each_contrast = pytest.mark.parametrize("loss", [contrast, shifted_contrast])


@each_case
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_slow_version(loss, slow, shapes, seed, dtype, rtol):
    tensors = draw(*shapes, seed=seed, dtype=dtype)
    assert_near(loss(*tensors), slow(*(tensor.double().numpy() for tensor in tensors)), rtol=rtol)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_scalar_of_the_same_dtype(loss, slow, shapes, dtype):
    tensors = draw(*shapes, dtype=dtype, requires_grad=True)
    before = [tensor.detach().clone() for tensor in tensors]
    value = loss(*tensors)
    assert value.shape == ()
    assert value.dtype == dtype
    value.backward()
    for tensor, old in zip(tensors, before):
        assert torch.equal(tensor, old)
    learning, targets = split_targets(loss, tensors)
    for tensor in learning:
        assert tensor.grad.dtype == dtype
        assert tensor.grad.isfinite().all()
    assert all(target.grad is None for target in targets)


@each_case
def test_device_is_kept(loss, slow, shapes):
    tensors = [tensor.to("meta") for tensor in draw(*shapes)]
    assert loss(*tensors).device.type == "meta"


@each_case
def test_gradients(loss, slow, shapes):
    learning, targets = split_targets(loss, draw(*shapes, requires_grad=True))

    def at(*tensors):
        return loss(*tensors, *targets)

    assert torch.autograd.gradcheck(at, learning)
    assert torch.autograd.gradgradcheck(at, learning)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compactness_does_not_depend_on_the_number_of_features(dtype):
    features, center = draw((6, 8), (8,), dtype=dtype)
    doubled = compactness_loss(features.repeat(1, 2), center.repeat(2))
    assert_near(compactness_loss(features, center), doubled, rtol=1e-6)


def test_compactness_is_zero_at_the_center_alone():
    (center,) = draw((8,))
    assert compactness_loss(center.expand(3, 8), center) == 0
    assert_near(compactness_loss(center.expand(3, 8) + 0.5, center), 0.25)


def test_angular_is_a_squared_distance_for_a_unit_center():
    features, center = draw((9, 5), (5,))
    center = center / center.norm()
    z = features / features.norm(dim=1, keepdim=True)
    distance = ((z - center) ** 2).sum(dim=1)
    assert_near((distance - (2 - 2 * z @ center)).abs().max(), 0)
    assert_near(2 + 2 * angular_center_loss(features, center), distance.mean())


def test_angular_takes_the_center_as_given():
    features, center = draw((9, 5), (5,))
    assert_near(
        angular_center_loss(features, 3 * center), 3 * angular_center_loss(features, center)
    )
    assert_near(angular_center_loss(center.expand(2, 5), center), -center.norm())


@pytest.mark.parametrize("temperature", [0.05, 0.25, 1.0, 10.0])
def test_shift_by_zero_is_nt_xent(temperature):
    first, second = draw((6, 4), (6, 4))
    shifted = mean_shifted_contrastive_loss(first, second, torch.zeros(4).double(), temperature)
    assert_near(shifted, nt_xent_loss(first, second, temperature))


def test_default_temperature_is_that_of_msc():
    first, second, center = draw((6, 4), (6, 4), (4,))
    default = mean_shifted_contrastive_loss(first, second, center)
    assert default == mean_shifted_contrastive_loss(first, second, center, temperature=0.25)


@pytest.mark.parametrize("n_images", [1, 2, 3, 16])
@pytest.mark.parametrize("temperature", [0.1, 0.25, 1.0, 5.0])
def test_closed_form_of_orthogonal_images(n_images, temperature):
    views = torch.eye(n_images, 20, dtype=torch.float64)
    closed = math.log1p((2 * n_images - 2) * math.exp(-1 / temperature))
    assert_near(nt_xent_loss(views, views, temperature), closed)


@pytest.mark.parametrize("n_images", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_rotations_of_an_image_are_negatives(n_images, temperature):
    # Each image is one pixel in the upper left quarter: no two rotations share a pixel.
    images = torch.zeros(n_images, 8, 8, dtype=torch.float64)
    images.view(n_images, -1)[range(n_images), [0, 1, 2, 8, 9][:n_images]] = 1
    rotated = torch.cat([torch.rot90(images, k, (1, 2)) for k in range(4)]).flatten(1)
    assert rotated.shape == (4 * n_images, 64)
    n_negatives = 8 * n_images - 2
    closed = math.log1p(n_negatives * math.exp(-1 / temperature))
    assert_near(nt_xent_loss(rotated, rotated, temperature), closed)
    # Features that are all alike tell nothing: each negative counts as much as the positive.
    alike = torch.ones_like(rotated)
    assert_near(nt_xent_loss(alike, alike, temperature), math.log(1 + n_negatives))
    # Features that rotation does not change: six of the negatives are of the same image.
    unrotated = images.flatten(1).repeat(4, 1)
    others = (n_negatives - 6) * math.exp(-1 / temperature)
    assert_near(nt_xent_loss(unrotated, unrotated, temperature), math.log(1 + 6 + others))


@each_contrast
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_views_and_order_do_not_matter(loss, temperature):
    first, second = draw((7, 5), (7, 5))
    expected = loss(first, second, temperature)
    assert_near(loss(second, first, temperature), expected)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    assert_near(loss(first[order], second[order], temperature), expected)
    # Views of some images swapped: the 2B anchors are the same.
    swap = torch.tensor([True, False, True, False, False, True, False])[:, None]
    mixed = torch.where(swap, second, first), torch.where(swap, first, second)
    assert_near(loss(*mixed, temperature), expected)
    # Other pairs are another loss.
    assert abs(loss(first, second[order], temperature) - expected) > 1e-3


@each_contrast
def test_lengths_of_features_do_not_matter(loss):
    first, second = draw((7, 5), (7, 5))
    lengths = torch.tensor([1e-6, 1e-3, 1.0, 2.0, 10.0, 1e4, 1e200], dtype=torch.float64)[:, None]
    assert_near(loss(first * lengths, second / lengths, 0.25), loss(first, second, 0.25))


def test_length_of_features_does_not_matter_for_the_angular_loss():
    features, center = draw((4, 5), (5,))
    lengths = torch.tensor([1e-200, 1e-6, 1e4, 1e200], dtype=torch.float64)[:, None]
    assert_near(
        angular_center_loss(features * lengths, center), angular_center_loss(features, center)
    )


@each_contrast
@pytest.mark.parametrize("temperature", [0.01, 0.25, 100.0])
@pytest.mark.parametrize("length", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("alike", [True, False])
def test_stable(loss, temperature, length, alike):
    first, second = draw((8, 32), (8, 32), dtype=torch.float32)
    second = first + 1e-3 * second if alike else -first + 1e-3 * second
    first, second = (length * view / view.norm(dim=1, keepdim=True) for view in (first, second))
    wide = loss(first.double(), second.double(), temperature)
    views = first.requires_grad_(), second.requires_grad_()
    value = loss(*views, temperature)
    value.backward()
    assert_near(value, wide, rtol=1e-4, atol=1e-4)
    assert value >= 0
    for view in views:
        assert view.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [
        lambda rows, other, center: angular_center_loss(rows, center),
        lambda rows, other, center: nt_xent_loss(rows, other, 0.25),
        mean_shifted_contrastive_loss,
        lambda rows, other, center: negative_cosine_loss(rows, other),
        lambda rows, other, center: simsiam_loss(rows, other, other, rows),
        lambda rows, other, center: byol_loss(other, rows, rows, other),
    ],
    ids=["angular", "nt_xent", "shifted", "negative_cosine", "simsiam", "byol"],
)
def test_dead_features_do_not_explode(loss):
    rows, other, center = draw((4, 6), (4, 6), (6,), dtype=torch.float32)
    rows[1] = 0
    rows.requires_grad_()
    loss(rows, other, center).backward()
    assert rows.grad.isfinite().all()
    assert rows.grad.abs().max() < 100


@each_contrast
@pytest.mark.parametrize("temperature", [0.01, 0.25, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_image_has_nothing_to_contrast_with(loss, temperature, dtype):
    views = draw((1, 5), (1, 5), dtype=dtype, requires_grad=True)
    value = loss(*views, temperature)
    value.backward()
    assert value == 0
    assert not any(view.grad.any() for view in views)


@pytest.mark.parametrize("logit", [0.0, 3.0, 50.0, 1000.0])
def test_exposure_is_stable_and_symmetric(logit):
    normal = torch.full((3,), logit, dtype=torch.float64, requires_grad=True)
    wrong = outlier_exposure_loss(normal, -normal)
    assert_near(wrong, np.logaddexp(0, logit))
    assert_near(outlier_exposure_loss(-normal, normal), np.logaddexp(0, -logit))
    (gradient,) = torch.autograd.grad(wrong, normal)
    assert gradient.isfinite().all()


def test_exposure_raises_logits_of_outliers():
    normal, outlier = draw((3,), (5,), requires_grad=True)
    outlier_exposure_loss(normal, outlier).backward()
    assert (normal.grad > 0).all()
    assert (outlier.grad < 0).all()
    np.testing.assert_allclose(normal.grad, torch.sigmoid(normal.detach()) / 8)


@pytest.mark.parametrize("weighted", [True, False])
def test_elastic_is_quadratic(weighted):
    anchors, steps, importances = draw(*PAIR), draw(*PAIR, seed=1), draw(*PAIR, seed=2)
    importances = [weight.abs() for weight in importances] if weighted else None

    def at(multiple):
        moved = [anchor + multiple * step for anchor, step in zip(anchors, steps)]
        return elastic_penalty(moved, anchors, importances)

    assert at(0) == 0
    assert at(1) > 0
    assert_near(at(2), 4 * at(1))
    assert_near(at(-1), at(1))


@pytest.mark.parametrize("weighted", [True, False])
def test_elastic_pulls_back_by_importance(weighted):
    parameters = draw(*PAIR, requires_grad=True)
    anchors, importances = draw(*PAIR, seed=1), draw(*PAIR, seed=2)
    if not weighted:
        importances = [torch.ones_like(weight) for weight in importances]
    elastic_penalty(parameters, anchors, importances if weighted else None).backward()
    for now, before, weight in zip(parameters, anchors, importances):
        np.testing.assert_allclose(now.grad, weight * (now.detach() - before), rtol=1e-12)


def test_elastic_takes_iterators():
    layer = torch.nn.Linear(3, 2)
    anchors = [parameter.detach().clone() for parameter in layer.parameters()]
    ones = (torch.ones_like(anchor) for anchor in anchors)
    assert elastic_penalty(layer.parameters(), iter(anchors), ones) == 0


@pytest.mark.parametrize("loss", [nt_xent_loss, mean_shifted_contrastive_loss])
@pytest.mark.parametrize("shapes", [[(4, 3), (3, 3)], [(4, 3), (4, 2)], [(3,), (3,)]])
def test_views_must_match(loss, shapes):
    first, second = (torch.ones(shape) for shape in shapes)
    # The third argument is a temperature or a centre; a number is either.
    with pytest.raises(ValueError, match=f"{loss.__name__}: .* same shape"):
        loss(first, second, 0.25)


@pytest.mark.parametrize(
    ("anchors", "importances", "name"),
    [
        ([(3, 1)], None, "anchors"),
        ([(3,), (3,)], None, "anchors"),
        ([], None, "anchors"),
        ([(3,)], [(1,)], "importances"),
        ([(3,)], [], "importances"),
    ],
)
def test_sequences_must_match(anchors, importances, name):
    anchors = [torch.ones(shape) for shape in anchors]
    if importances is not None:
        importances = [torch.ones(shape) for shape in importances]
    with pytest.raises(ValueError, match=f"{name} must match parameters"):
        elastic_penalty([torch.ones(3)], anchors, importances)


def test_elastic_without_parameters():
    with pytest.raises(ValueError, match="parameters is empty"):
        elastic_penalty([], [])
