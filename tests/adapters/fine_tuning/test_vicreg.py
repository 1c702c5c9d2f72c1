"""VICReg: what its loss promises, and what training by it does to features."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from skad import VICRegAdapter
from skad._random import torch_stream
from skad.augment import ContrastiveAugmentation
from skad.losses import vicreg_loss
from skad.networks._preprocessing import normalize
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.adapters.fine_tuning.common import (
    SEED,
    assert_same_weights,
    assert_trained_alike,
    extractor,
    features_of,
    plain_training,
    start,
)

INVARIANCE = {"variance_weight": 0, "covariance_weight": 0}
VARIANCE = {"invariance_weight": 0, "covariance_weight": 0}
COVARIANCE = {"invariance_weight": 0, "variance_weight": 0}


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).normal(size=shape))


# The loss


@pytest.mark.parametrize(("target", "eps"), [(1.0, 1e-4), (3.0, 0.01)])
def test_what_does_not_vary_gives_the_target(target, eps):
    alike = draw(7).expand(5, 7)
    expected = 2 * 25 * (target - eps**0.5)
    found = vicreg_loss(alike, alike, target_std=target, eps=eps)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_a_dead_feature_counts_as_one_of_many():
    views = 10 * draw(50, 4)
    assert vicreg_loss(views, views, **VARIANCE) == 0
    views[:, 2] = 5
    assert float(vicreg_loss(views, views, **VARIANCE)) == pytest.approx(2 * 25 * 0.99 / 4)


def test_each_term_alone():
    first, second = draw(6, 4), draw(6, 4, seed=1)
    assert vicreg_loss(first, first, **INVARIANCE) == 0
    apart = vicreg_loss(first, first + 2, **INVARIANCE)  # and no other term sees a shift
    assert float(apart) == pytest.approx(25 * 4)
    assert float(vicreg_loss(first, first + 2) - vicreg_loss(first, first)) == pytest.approx(100)
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert vicreg_loss(signs, signs, **COVARIANCE) == 0
    together = vicreg_loss(signs[:, [0, 0]], signs, **COVARIANCE)
    assert float(together) == pytest.approx((4 / 3) ** 2)
    parts = [vicreg_loss(first, second, **terms) for terms in (INVARIANCE, VARIANCE, COVARIANCE)]
    assert float(vicreg_loss(first, second)) == pytest.approx(float(sum(parts)))


def test_order_of_images_features_and_views_does_not_matter():
    first, second = draw(6, 4), draw(6, 4, seed=1)
    expected = vicreg_loss(first, second)
    rows, columns = torch.tensor([4, 0, 2, 5, 1, 3]), torch.tensor([2, 3, 0, 1])
    for views in (
        (first[rows], second[rows]),
        (first[:, columns], second[:, columns]),
        (second, first),
    ):
        torch.testing.assert_close(vicreg_loss(*views), expected)
    assert abs(vicreg_loss(first[rows], second) - expected) > 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.0, 1e-20, 1e-3])
def test_gradients_of_collapsed_features_are_finite(spread, dtype):
    rows = (torch.ones(5, 3, dtype=torch.float64) + spread * draw(5, 3)).to(dtype)
    views = [rows.clone().requires_grad_(), rows.clone().requires_grad_()]
    vicreg_loss(*views).backward()
    for view in views:
        assert view.grad.isfinite().all()
        assert view.grad.abs().max() < 100


def test_descent_spreads_what_has_nearly_collapsed():
    rows = (1 + 1e-3 * draw(16, 3)).requires_grad_()
    optimizer = torch.optim.SGD([rows], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        vicreg_loss(rows, rows).backward()
        optimizer.step()
    assert rows.std(0).min() > 0.99
    assert torch.corrcoef(rows.T).triu(1).abs().max() < 0.1


def test_one_row_has_no_variance():
    with pytest.raises(ValueError, match=r"vicreg_loss: .*at least two rows.*got 1\. Give larger"):
        vicreg_loss(torch.ones(1, 3), torch.ones(1, 3))


# The training


@pytest.fixture(scope="module")
def normal(tiles):
    return tiles[24:44]


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """A look after every step."""
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


def vicreg(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "learning_rate": 0.1}
    return VICRegAdapter(**defaults | parameters)


def test_it_is_a_plain_loop(normal):
    weights = {"invariance_weight": 5.0, "variance_weight": 3.0, "covariance_weight": 0.5}
    adapter = vicreg(batch_size=7, momentum=0.5, clip_norm=1.0, **weights).fit(normal)
    fitted, names, _ = start(adapter, normal)
    network, sampler = fitted.network_, BatchSampler(len(normal), 7, SEED)
    augmentation = ContrastiveAugmentation(32)

    def views_of(step):
        images = torch.from_numpy(normal[sampler(step)]).permute(0, 3, 1, 2)
        views = augmentation(torch.cat([images] * 2), torch_stream(SEED, "views", step))
        return features_of(network, normalize(views, fitted.preprocessing_))

    with torch.no_grad():
        scale = views_of(0).std(0)
    scale[scale == 0] = 1
    np.testing.assert_allclose(adapter.scale_, scale, rtol=1e-3)

    def loss_of(step):
        return vicreg_loss(*(views_of(step) / scale).chunk(2), **weights)

    losses = plain_training(
        network, names, loss_of, 4, rate=0.1, momentum=0.5, decay=5e-5, clip=1.0
    )
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3)
    assert_trained_alike(adapter, network, normal)


@pytest.mark.parametrize("widths", [None, [16, 16]])
def test_learning_lowers_the_loss(widths, normal):
    adapter = vicreg(n_steps=30, projector_widths=widths).fit(normal)
    losses = adapter.training_curve_["loss"][1:]
    assert losses[-5:].mean() < 0.95 * losses[:5].mean()


@pytest.mark.bits
@pytest.mark.parametrize("widths", [None, [8, 4]])
def test_the_same_seed_gives_the_same_bits(widths, normal):
    one, other = (vicreg(projector_widths=widths, batch_size=8).fit(normal) for _ in range(2))
    assert_same_weights(one, other)
    third = vicreg(projector_widths=widths, batch_size=8, random_state=1).fit(normal)
    assert not np.array_equal(third.transform(normal), one.transform(normal))


def test_variance_keeps_features_of_digits_apart():
    digits, labels = load_digits(return_X_y=True)
    zeros = digits[labels == 0][:64]
    before = extractor().fit(zeros).transform(zeros).std(0).mean()
    spreads = {}
    for name, weights in {"all": {}, "invariance alone": INVARIANCE}.items():
        adapter = vicreg(n_steps=60, learning_rate=0.02, collapse_limit=0, **weights)
        spreads[name] = adapter.fit(zeros).transform(zeros).std(0).mean() / before
    assert spreads["all"] > 0.5
    assert spreads["invariance alone"] < 0.5 * spreads["all"]


def test_a_batch_of_one_image_is_left_out(normal):
    adapter = vicreg(batch_size=2, n_steps=4, projector_widths=[4, 4]).fit(normal[:3])
    losses = adapter.training_curve_["loss"][1:]  # of two images, one, two, one
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False, True])


def test_images_that_are_all_alike(normal):
    adapter = vicreg(collapse_limit=0).fit(normal[[0, 0, 0]])
    assert (adapter.scale_ > 0).all()
    assert np.isfinite(adapter.transform(normal)).all()


@pytest.mark.parametrize("widths", [[8, 0], [8, 2.5], ["8"]])
def test_widths_that_there_are_not(widths, normal):
    with pytest.raises(ValueError, match="VICRegAdapter: projector_widths .*positive whole"):
        vicreg(projector_widths=widths).fit(normal)
