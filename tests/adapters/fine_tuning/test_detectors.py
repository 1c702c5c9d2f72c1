"""PANDA, MSC and the others: parts by hand, pickles, searches."""

import pickle

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from skad import (
    MSC,
    PANDAOE,
    FeatureExtractor,
    KNNScorer,
    LogitScorer,
    OneClassKFold,
    auroc_scorer,
)
from skad.training import _run as _run
from tests.adapters.fine_tuning.common import (
    CLASSES,
    DETECTORS,
    SETTINGS,
    assert_same_weights,
    compactness,
    contrastive,
    every_adapter,
    every_detector,
    exposure,
    extractor,
    joint,
)


@pytest.mark.bits
@every_detector
def test_a_detector_is_the_pipeline_made_by_hand(name, tiles, normal, auxiliary):
    detector, adapter, scorer = map(clone, DETECTORS[name])
    detector.fit(normal, **auxiliary(detector))
    adapter.set_params(extractor=extractor())
    scorer.set_params(contamination=0.2)
    if isinstance(scorer, KNNScorer) and name in ("panda", "elastic", "jo"):
        scorer.set_params(metric="euclidean")
    scorer.fit(adapter.fit(normal, **auxiliary(adapter)).transform(normal))
    by_hand = Pipeline([("adapter", adapter), ("scorer", scorer)])
    np.testing.assert_array_equal(detector.score_samples(tiles), by_hand.score_samples(tiles))
    np.testing.assert_array_equal(detector.predict(tiles), by_hand.predict(tiles))
    assert detector.offset_ == scorer.offset_
    assert detector.stopped_at_ == adapter.stopped_at_ == (2 if name == "msc" else 3)
    assert detector.collapsed_at_ is None
    for measure, values in adapter.training_curve_.items():
        np.testing.assert_array_equal(detector.training_curve_[measure], values)


@every_detector
def test_parameters_survive_and_reach_the_parts(name):
    detector = DETECTORS[name][0]
    assert clone(detector).get_params() == detector.get_params()
    assert {k: v for k, v in clone(detector).get_params().items() if k in SETTINGS} == SETTINGS
    adapter, scorer = (step for _, step in detector._make_steps())
    parts = (adapter, adapter.extractor, scorer)
    own = detector.get_params()
    for part in parts:
        given = part.get_params(deep=False)
        # What a detector leaves out: one has its own parameter for it, the others do not matter.
        left = {"extractor", "output", "flattened_layers", "contrast_normalization"}
        left |= {"tiles", "scales", "accept"}
        assert given.keys() - own.keys() <= left
        for parameter in given.keys() & own.keys() - {"metric"}:
            assert given[parameter] is own[parameter], parameter


@pytest.mark.bits
@every_detector
def test_the_same_seed_and_a_pickle_give_the_same_bits(name, tiles, normal, auxiliary):
    detector = clone(DETECTORS[name][0]).set_params(batch_size=8)
    fit = auxiliary(detector)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    scores = detector.fit(normal, **fit).score_samples(tiles)
    again = clone(detector).fit(normal, **fit).score_samples(tiles)
    np.testing.assert_array_equal(again, scores)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(tiles), scores)
    assert loaded.offset_ == detector.offset_
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


@every_adapter
def test_another_seed_gives_another_order(make, normal, auxiliary):
    adapter = make(batch_size=8)
    fit = auxiliary(adapter)
    curves = [
        clone(adapter).set_params(random_state=state).fit(normal, **fit).training_curve_["loss"]
        for state in (0, 1, np.random.RandomState(0))
    ]
    assert not np.allclose(curves[1][1:], curves[0][1:])
    np.testing.assert_array_equal(curves[2], curves[0])


def test_adapters_stack(tiles, normal):
    inner = contrastive()
    adapter = compactness(extractor=inner).fit(normal)
    trained = clone(inner).fit(normal)
    np.testing.assert_allclose(
        adapter.center_, trained.transform(normal).mean(0), rtol=1e-4, atol=1e-6
    )
    assert not hasattr(inner, "extractor_"), "the given adapter is copied"
    assert isinstance(adapter.extractor_, FeatureExtractor)
    assert clone(adapter).get_params()["extractor__extractor__image_size"] == 32
    detector = make_pipeline(adapter, KNNScorer(metric="euclidean")).fit(normal)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(tiles), detector.score_samples(tiles))


def test_bfloat16_trains_and_survives(tiles, normal):
    exact = compactness(extractor=extractor("tiny")).fit(normal)
    adapter = compactness(extractor=extractor("tiny", precision="bfloat16")).fit(normal)
    loaded = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(loaded.transform(tiles), adapter.transform(tiles))
    found, expected = adapter.training_curve_, exact.training_curve_
    np.testing.assert_allclose(found["loss"][1:], expected["loss"][1:], rtol=0.05)
    assert found["center_distance"][-1] < found["center_distance"][0]


def test_features_of_the_trained_network_have_maps_and_names(normal):
    adapter = compactness(extractor=extractor(layers=["layer3", "layer4"])).fit(normal)
    maps, features = adapter.feature_maps(normal), adapter.transform(normal)
    assert list(maps) == ["layer3", "layer4"]
    joined = np.concatenate([m.mean((2, 3)) for m in maps.values()], axis=1)
    np.testing.assert_allclose(features, joined, rtol=1e-4, atol=1e-5)
    assert len(adapter.get_feature_names_out()) == features.shape[1]


def test_features_are_kept_by_the_weights_that_gave_them(normal, tmp_path):
    adapter = compactness(extractor=extractor(memory=tmp_path)).fit(normal)
    untouched = clone(adapter.extractor).fit_transform(normal)
    for _ in range(2):
        np.testing.assert_array_equal(
            adapter.transform(normal), compactness().fit(normal).transform(normal)
        )
    np.testing.assert_array_equal(clone(adapter.extractor).fit_transform(normal), untouched)


# Searches and routing


@pytest.fixture
def search_set(tiles):
    """Flowers among temples: images and labels."""
    return np.concatenate([tiles[24:36], tiles[:6]]), np.repeat([1, -1], [12, 6])


def test_msc_is_searched(search_set):
    search = GridSearchCV(
        MSC(n_steps=1, **SETTINGS),
        {"temperature": [0.1, 1.0]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
        error_score="raise",
    )
    search.fit(*search_set)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.temperature in (0.1, 1.0)
    assert search.best_estimator_.predict(search_set[0]).shape == (18,)


def search_of_exposure():
    return GridSearchCV(
        PANDAOE(n_steps=2, **SETTINGS),
        {"learning_rate": [0.01, 0.1]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
        error_score="raise",
    )


def test_outliers_reach_a_search(search_set, others):
    search = search_of_exposure().fit(*search_set, X_outliers=others[6:])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    direct = clone(search.best_estimator_).fit(*search_set, X_outliers=others[6:])
    np.testing.assert_array_equal(
        direct.score_samples(others), search.best_estimator_.score_samples(others)
    )


def test_outliers_are_routed(tiles, normal, others):
    with config_context(enable_metadata_routing=True):
        adapter = exposure().set_fit_request(X_outliers=True)
        pipeline = make_pipeline(adapter, LogitScorer()).fit(normal, X_outliers=others)
        search = search_of_exposure()
        search.estimator.set_fit_request(X_outliers=True)
        X, y = np.concatenate([normal[:12], others[:6]]), np.repeat([1, -1], [12, 6])
        search.fit(X, y, X_outliers=others[6:])
    by_hand = exposure().fit(normal, X_outliers=others)
    np.testing.assert_array_equal(
        pipeline.score_samples(tiles), -by_hand.transform(tiles)[:, 0].astype(np.float64)
    )
    assert search.best_estimator_.stopped_at_ == 2


def test_source_images_are_routed(normal, others):
    with config_context(enable_metadata_routing=True):
        adapter = joint().set_fit_request(X_source=True, y_source=True)
        pipeline = make_pipeline(adapter, KNNScorer())
        pipeline.fit(normal, X_source=others, y_source=CLASSES)
    by_hand = joint().fit(normal, X_source=others, y_source=CLASSES)
    assert_same_weights(pipeline[0], by_hand)
    # without routing, a pipeline passes what is named for a step
    plain = make_pipeline(joint(), KNNScorer())
    name = "jointoptimizationadapter"
    plain.fit(normal, **{f"{name}__X_source": others, f"{name}__y_source": CLASSES})
    assert_same_weights(plain[0], by_hand)


def test_labelled_anomalies_are_left_out(tiles, normal):
    y = np.repeat([-1, 1, -1], [24, 20, 4])
    assert_same_weights(compactness().fit(tiles, y), compactness().fit(normal))
