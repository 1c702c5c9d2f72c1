"""DeepSVDDAdapter and DeepSVDD against the book."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skad import (
    AutoencoderAdapter,
    CentroidScorer,
    DeepSVDD,
    DeepSVDDAdapter,
)
from skad.adapters._deep_svdd import away_from_zero
from skad.training import _run as _run
from tests.adapters.from_scratch.common import CODER, SOFT, autoencoder, extractor, svdd


def test_centers_are_kept_away_from_zero():
    given = torch.tensor([0.0, 0.05, -0.05, 1e-9, -1e-9, 0.0999, -0.2, 0.1, 3.0])
    expected = torch.tensor([0.0, 0.1, -0.1, 0.1, -0.1, 0.1, -0.2, 0.1, 3.0])
    assert torch.equal(away_from_zero(given), expected)
    assert torch.equal(away_from_zero(given[:3], epsilon=0.04), given[:3])


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_center_is_that_before_training(pretrained, zeros, others):
    made = autoencoder() if pretrained else extractor(CODER)
    adapter = svdd(extractor=made).fit(zeros)
    mean = clone(made).fit_transform(zeros).mean(0, dtype=np.float64)
    expected = np.where(np.abs(mean) < 0.1, 0.1 * np.sign(mean), mean)
    assert (np.abs(mean) < 0.1).any()
    np.testing.assert_allclose(adapter.center_, expected, rtol=1e-4, atol=1e-6)
    features = adapter.extractor_.transform(others)
    np.testing.assert_array_equal(adapter.transform(others), features - adapter.center_)
    assert adapter.radius_ == 0
    longer = svdd(extractor=made, n_steps=9).fit(zeros)
    np.testing.assert_array_equal(longer.center_, adapter.center_)


def test_deep_svdd_draws_digits_together(zeros):
    adapter = svdd(n_steps=40).fit(zeros)
    losses = adapter.training_curve_["loss"][1:]
    assert losses[-1] < 0.5 * losses[0]
    before = clone(adapter.extractor).fit_transform(zeros) - adapter.center_
    after = adapter.transform(zeros)
    assert (after**2).sum(1).mean() < 0.5 * (before**2).sum(1).mean()


@pytest.mark.parametrize("nu", [0.1, 0.5, 1.0])
def test_the_radius_is_a_quantile_of_the_last_batch(nu, zeros, watched):
    seen = []

    def look(run, step):
        distances = (run.task._seen - run.task.center).norm(dim=1).cpu().numpy()
        seen.append((step, float(run.task.radius), np.quantile(distances, 1 - nu)))

    watched(DeepSVDDAdapter, then=look)
    adapter = svdd(objective="soft_boundary", warm_up_epochs=2, nu=nu, n_steps=6).fit(zeros)
    for step, radius, expected in seen:  # two steps make an epoch
        assert radius == (0 if step <= 4 else pytest.approx(expected, rel=1e-5)), step
    assert adapter.radius_ == seen[-1][1] > 0


@pytest.mark.parametrize("nu", [0.1, 0.5])
def test_the_losses_of_deep_svdd_are_those_of_the_book(nu, zeros, watched):
    for objective in ("one_class", "soft_boundary"):
        seen = []

        def look(run, step, seen=seen):
            distances = ((run.task._seen - run.task.center) ** 2).sum(1).cpu()
            seen.append((distances.double().numpy(), float(run.task.radius) ** 2))

        watched(DeepSVDDAdapter, then=look)
        adapter = svdd(objective=objective, nu=nu, warm_up_epochs=0).fit(zeros)
        expected, square = [], 0.0
        for distances, next_square in seen:
            over = np.maximum(0, distances - square).mean()
            expected.append(distances.mean() if objective == "one_class" else square + over / nu)
            square = next_square
        np.testing.assert_allclose(adapter.training_curve_["loss"][1:], expected, rtol=1e-4)


@pytest.mark.parametrize("parameters", [{}, SOFT, {"n_pretraining_epochs": 0}], ids=str)
def test_deep_svdds_score_is_the_squared_distance(parameters, zeros, others):
    defaults = {"n_pretraining_epochs": 2, "n_epochs": 3, "batch_size": 10, "learning_rate": 0.01}
    detector = DeepSVDD(CODER, **defaults | parameters).fit(zeros)
    adapter = detector.pipeline_[0]
    features = adapter.extractor_.transform(others).astype(np.float64)
    expected = -((features - adapter.center_) ** 2).sum(1)
    np.testing.assert_allclose(detector.score_samples(others), expected, rtol=1e-4)
    offset = np.quantile(detector.score_samples(zeros), 0.1)
    assert detector.offset_ == pytest.approx(offset, rel=1e-4)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(others), detector.score_samples(others))
    encoder = adapter.extractor
    assert isinstance(encoder, AutoencoderAdapter) == ("n_pretraining_epochs" not in parameters)


@pytest.mark.bits
def test_deep_svdd_is_the_pipeline_made_by_hand(zeros, others):
    detector = DeepSVDD(
        CODER,
        n_pretraining_epochs=2,
        pretraining_decay_at=0.3,
        pretraining_weight_decay=0.1,
        n_epochs=3,
        decay_at=0.6,
        weight_decay=0.2,
        batch_size=10,
        learning_rate=0.01,
        contamination=0.2,
    ).fit(zeros)
    made = extractor(CODER, contrast_normalization=True)
    common = {"batch_size": 10, "learning_rate": 0.01}
    coder = AutoencoderAdapter(made, n_epochs=2, decay_at=0.3, weight_decay=0.1, **common)
    adapter = DeepSVDDAdapter(coder, n_epochs=3, decay_at=0.6, weight_decay=0.2, **common)
    scorer = CentroidScorer("squared_euclidean", center="origin", contamination=0.2)
    scorer.fit(adapter.fit(zeros).transform(zeros))
    by_hand = Pipeline([("adapter", adapter), ("scorer", scorer)])
    np.testing.assert_allclose(
        detector.score_samples(others), by_hand.score_samples(others), rtol=1e-6
    )
    assert detector.offset_ == pytest.approx(scorer.offset_, rel=1e-6)
    assert detector.stopped_at_ == 6
