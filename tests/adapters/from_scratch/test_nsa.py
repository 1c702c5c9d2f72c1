"""NSA: its scores by hand, its parameters, what it takes."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skad import (
    CentroidScorer,
    EnsembleScorer,
    GaussianScorer,
    KNNScorer,
    OneClassKFold,
    auroc_scorer,
)
from skad.augment import ContrastiveAugmentation
from skad.training import _run as _run
from tests.adapters.from_scratch.common import KINDS, WIDTHS, nsa, prepared, siamese
from tests.processors import needs_bfloat16


def angle_1nn():
    return KNNScorer(1, metric="angle", aggregation="mean")


def white_1nn():
    return KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean")


FLAT = {"tap_widths": [*WIDTHS, 16, 16, 128, 64, 32], "map_taps": [6, 7, 8]}
STAGE = {"tap_widths": [*WIDTHS, 128, 64, 32], "map_taps": [4, 5, 6]}
BY_HAND = {
    "k_cos": (None, angle_1nn),
    "k_cos_mah": (None, white_1nn),
    "c_cos": (None, lambda: CentroidScorer("cosine")),
    "c_cos_mah": (None, lambda: CentroidScorer("mahalanobis_cosine")),
    "gde": (None, lambda: GaussianScorer(normalize=True, log_likelihood=True)),
    "ensemble": ("ensemble", lambda: EnsembleScorer("ens", **FLAT)),
    "sum": ("stages", lambda: EnsembleScorer("sum", **STAGE)),
}


@pytest.mark.bits
@pytest.mark.parametrize("scorer", BY_HAND)
def test_nsa_is_the_pipeline_made_by_hand(scorer, zeros, others):
    detector = nsa(scorer=scorer, contamination=0.2).fit(zeros)
    layers, make = BY_HAND[scorer]
    adapter = siamese(layers=layers).fit(zeros)
    by_hand = make().set_params(contamination=0.2).fit(adapter.transform(zeros))
    pipeline = Pipeline([("adapter", adapter), ("scorer", by_hand)])
    scores = pipeline.score_samples(others)
    np.testing.assert_allclose(detector.score_samples(others), scores, rtol=1e-6)
    np.testing.assert_array_equal(detector.predict(others), pipeline.predict(others))
    assert detector.offset_ == pytest.approx(by_hand.offset_, rel=1e-6)
    assert set(detector.predict(zeros)) <= {-1, 1}
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(loaded.score_samples(others), scores, rtol=1e-6)
    found, expected = clone(detector).get_params(), detector.get_params()
    assert {k: repr(v) for k, v in found.items()} == {k: repr(v) for k, v in expected.items()}


def test_the_headline_score_is_an_angle_after_whitening(zeros, others):
    detector = nsa(scorer="k_cos").fit(zeros)
    rows, train = (
        siamese().fit(zeros).transform(images).astype(np.float64) for images in (others, zeros)
    )
    rows, train = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (rows, train))
    expected = -np.arccos(np.clip(rows @ train.T, -1, 1)).min(1)
    np.testing.assert_allclose(detector.score_samples(others), expected, rtol=1e-3)


def test_the_scaling_of_an_ensemble_is_a_parameter(zeros):
    for scorer in ("ensemble", "sum"):
        for scaling in ("range", "quantile", "none"):
            detector = nsa(scorer=scorer, scaling=scaling, n_steps=1).fit(zeros)
            assert detector.pipeline_[-1].scaling == scaling


@pytest.mark.parametrize("objective", ["simsiam", "simclr", "byol"])
def test_every_part_of_nsa_gets_its_parameters(objective):
    given = {
        "objective": objective,
        "normalize": False,
        "temperature": 0.2,
        "target_momentum": 0.9,
        "augmentation": ContrastiveAugmentation(8),
        "weight_decay": 0.1,
        "collapse_limit": 0.1,
        "stop_at_collapse": True,
        "monitor": len,
        "checkpoint": "folder",
        "image_size": 16,
        "resize": "crop",
        "precision": "bfloat16",
        "mean": 0.4,
        "image_shape": (8, 8),
        "random_state": 3,
    }
    detector = nsa(**given)
    adapter, scorer = (step for _, step in detector._make_steps())
    assert isinstance(scorer, KNNScorer)
    own = detector.get_params()
    for part in (adapter, adapter.extractor):
        parameters = part.get_params(deep=False)
        for name in parameters.keys() & own.keys():
            assert parameters[name] is own[name], name
    given_to = {**adapter.get_params(deep=False), **adapter.extractor.get_params(deep=False)}
    assert given.keys() <= given_to.keys()


@pytest.mark.parametrize("kind", ["rows", "grey", "colored", "files"])
def test_nsa_takes_images_of_any_form(kind, zeros, colored, tmp_path):
    images = {"rows": zeros.reshape(-1, 64) * 16, "grey": zeros, "colored": colored}.get(kind)
    if kind == "files":
        images = [tmp_path / f"{i}.png" for i in range(6)]
        for i, path in enumerate(images):
            Image.fromarray(colored[i, : 8 + i]).save(path)
    detector = nsa(n_steps=2, scorer="ensemble").fit(images)
    assert np.isfinite(detector.score_samples(images)).all()
    if kind == "rows":
        expected = nsa(n_steps=2, scorer="ensemble").fit(zeros).score_samples(zeros)
        np.testing.assert_allclose(detector.score_samples(images), expected, rtol=1e-3, atol=1e-3)
        assert detector.n_features_in_ == 64


def test_nsa_is_searched(zeros, others):
    search = GridSearchCV(
        nsa(n_steps=1),
        {"normalize": [True, False]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
        error_score="raise",
    )
    search.fit(np.concatenate([zeros, others]), np.repeat([1, -1], [20, 12]))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(others).shape == (12,)


@needs_bfloat16
@pytest.mark.parametrize("kind", ["simsiam", "byol", "autoencoder", "soft svdd", "rotation"])
def test_bfloat16_is_for_training_alone(kind, zeros, others):
    exact = KINDS[kind]().fit(zeros)
    made = clone(exact.extractor).set_params(precision="bfloat16")
    adapter = KINDS[kind](extractor=made).fit(zeros)
    state = adapter.network_.state_dict()
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float32}
    found, expected = adapter.training_curve_["loss"][1:], exact.training_curve_["loss"][1:]
    assert np.isfinite(found).all()
    assert found[0] != expected[0]
    assert found[0] == pytest.approx(expected[0], rel=0.05, abs=0.02)
    features = adapter.transform(others)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    loaded = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(loaded.transform(others), features)
    if kind == "simsiam":  # the network computes as exactly as one of float32
        with torch.no_grad():
            plain = adapter.network_.cpu()(prepared(adapter.extractor_, others)).numpy()
        np.testing.assert_allclose(features, plain, rtol=1e-4, atol=1e-5)
        assert np.isfinite(nsa(precision="bfloat16", scorer="sum").fit(zeros).offset_)


def test_normalised_training_tells_digits_apart(digits):
    images, labels = digits
    detector = nsa(n_steps=30, batch_size=40).fit(images[labels == 0][:100])
    zeros, ones = images[labels == 0][100:], images[labels == 1][:60]
    higher = detector.score_samples(zeros)[:, None] > detector.score_samples(ones)
    assert higher.mean() > 0.9
