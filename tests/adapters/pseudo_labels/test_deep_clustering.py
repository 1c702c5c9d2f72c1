"""DeepClustering."""

import pickle

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from skad import (
    SCAN,
    ConfidenceScorer,
    DeepClustering,
    GaussianScorer,
    KNNScorer,
    OneClassKFold,
    PseudoLabelAdapter,
    auroc_scorer,
)
from skad.training import _run as _run
from tests.adapters.pseudo_labels.common import CODER, NET, Given, extractor, kmeans, pseudo


def deep(**parameters):
    defaults = {"clusterer": kmeans(), "weights": None, "augmentation": None, "n_epochs": 2}
    defaults |= {"batch_size": 10, "learning_rate": 1e-2, "collapse_limit": 0.0}
    return DeepClustering(NET, **defaults | parameters)


SCORERS = {
    "knn": KNNScorer(1, metric="cosine"),
    "mahalanobis": GaussianScorer(),
    "confidence": ConfidenceScorer(),
}


@pytest.mark.bits
@pytest.mark.parametrize("clusterer", ["rows", "images"])
@pytest.mark.parametrize("scorer", SCORERS)
def test_deep_clustering_is_its_parts(scorer, clusterer, images, others):
    given = kmeans() if clusterer == "rows" else make_pipeline(extractor(CODER), kmeans())
    detector = deep(scorer=scorer, clusterer=given, contamination=0.2).fit(images)
    output = "logits" if scorer == "confidence" else "features"
    adapter = pseudo(given, output=output, n_epochs=2, final_learning_rate=1e-6)
    last = clone(SCORERS[scorer]).set_params(contamination=0.2)
    adapter.fit(images)
    told = {"class_labels": adapter.labels_} if scorer == "mahalanobis" else {}
    last.fit(adapter.transform(images), **told)
    parts = Pipeline([("adapter", adapter), ("scorer", last)])
    np.testing.assert_array_equal(detector.score_samples(others), parts.score_samples(others))
    np.testing.assert_array_equal(detector.labels_, adapter.labels_)
    assert detector.offset_ == last.offset_
    assert detector.stopped_at_ == adapter.stopped_at_ == 6
    curve = adapter.training_curve_
    np.testing.assert_array_equal(detector.training_curve_["loss"], curve["loss"])
    if scorer != "mahalanobis":
        whole = Pipeline([("adapter", clone(adapter)), ("scorer", clone(last))]).fit(images)
        np.testing.assert_array_equal(detector.score_samples(others), whole.score_samples(others))


def test_noise_is_no_class_for_the_mahalanobis_distance(images, classes, others):
    labels = classes.copy()
    labels[:5] = -1
    detector = deep(scorer="mahalanobis", clusterer=Given(labels)).fit(images)
    assert detector.pipeline_["scorer"].classes_.tolist() == [0, 1, 2]
    features = detector.pipeline_["adapter"].transform(images)
    expected = GaussianScorer().fit(features[5:], class_labels=labels[5:])
    np.testing.assert_allclose(
        detector.score_samples(others),
        expected.score_samples(detector.pipeline_["adapter"].transform(others)),
        rtol=1e-6,
    )


def test_the_default_clusterer_is_scan(images):
    detector = deep(clusterer=None, random_state=3)
    clusterer = detector._make_steps()[0][1].clusterer
    assert isinstance(clusterer, SCAN)
    assert clusterer.random_state == 3
    assert clusterer.extractor is None


@pytest.mark.bits
def test_deep_clustering_keeps_its_contracts(images, others, watched, tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    detector = deep(checkpoint=tmp_path).fit(images)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert not list(tmp_path.iterdir())
    found = detector.score_samples(others)
    for other in (pickle.loads(pickle.dumps(detector)), clone(detector).fit(images)):
        np.testing.assert_array_equal(other.score_samples(others), found)
    other = deep(random_state=1).fit(images)
    assert not np.allclose(other.score_samples(others), found, rtol=1e-3)
    steps = watched(PseudoLabelAdapter, break_at=4)
    broken = clone(detector)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(images)
    assert not hasattr(broken, "pipeline_")
    steps.clear()
    broken.fit(images)
    assert steps == [4, 5, 6]
    np.testing.assert_array_equal(broken.score_samples(others), found)
    assert not list(tmp_path.iterdir())


def test_a_search_over_scorers_and_clusters_runs(images, others):
    rows, y = np.concatenate([images, others]), np.r_[np.ones(30), -np.ones(12)].astype(int)
    search = GridSearchCV(
        deep(n_epochs=1),
        {"scorer": list(SCORERS), "clusterer__n_clusters": [2, 3]},
        scoring=auroc_scorer,
        cv=OneClassKFold(2),
    )
    search.fit(rows, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert len(best.labels_) == 30
    assert len(set(best.labels_)) == search.best_params_["clusterer__n_clusters"]


def test_classes_come_by_metadata_routing(images, classes, others):
    words = np.array(["a", "b", "c"])[classes]
    expected = deep(scorer="mahalanobis").fit(images, class_labels=words)
    assert expected.pipeline_["adapter"].clusterer_ is None
    assert expected.pipeline_["adapter"].classes_.tolist() == ["a", "b", "c"]
    with config_context(enable_metadata_routing=True):
        detector = deep(scorer="mahalanobis").set_fit_request(class_labels=True)
        piped = Pipeline([("detector", detector)]).fit(images, class_labels=words)
        np.testing.assert_array_equal(piped.score_samples(others), expected.score_samples(others))
        adapter = pseudo(output="logits").set_fit_request(class_labels=True)
        scored = Pipeline([("adapter", adapter), ("scorer", ConfidenceScorer())])
        scored.fit(images, class_labels=words)
        assert scored["adapter"].classes_.tolist() == ["a", "b", "c"]
        rows, y = np.concatenate([images, others]), np.r_[np.ones(30), -np.ones(12)].astype(int)
        search = GridSearchCV(
            deep(n_epochs=1).set_fit_request(class_labels=True),
            {"scorer": ["knn", "confidence"]},
            scoring=auroc_scorer,
            cv=OneClassKFold(2),
        )
        search.fit(rows, y, class_labels=np.r_[words, ["odd"] * 12])
    best = search.best_estimator_
    assert best.pipeline_["adapter"].classes_.tolist() == ["a", "b", "c"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("parameters", [{"scorer": "odin"}, {"averaged_epochs": "first"}])
def test_parameters_of_deep_clustering_are_checked(parameters, images):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        deep(**parameters).fit(images)
