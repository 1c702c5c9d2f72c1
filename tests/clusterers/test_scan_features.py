"""SCANFeatures."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skad import (
    SCAN,
    KNNScorer,
    OneClassKFold,
    SCANFeatures,
    SelfSupervisedAdapter,
    auroc_scorer,
)
from skad.augment import ContrastiveAugmentation
from skad.clusterers._semantic import NeighborClustering
from skad.training import _run as _run
from tests.clusterers.common import NET, extractor, scan

pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


def features_of_scan(**parameters):
    defaults = {"n_representation_epochs": 1, "representation_batch_size": 10, "n_clusters": 3}
    defaults |= {
        "projector_widths": [8, 8],
        "n_cluster_neighbors": 4,
        "n_epochs": 2,
        "batch_size": 10,
    }
    defaults |= {"learning_rate": 1e-2, "threshold": 0.1, "self_labelling_batch_size": 15}
    defaults |= {"n_self_labelling_epochs": 1, "representation_learning_rate": 1e-2}
    return SCANFeatures(NET, **defaults | parameters)


@pytest.mark.bits
@pytest.mark.parametrize("augmentation", ["strong", ContrastiveAugmentation(8)])
def test_the_detector_is_its_parts(augmentation, images, others):
    detector = features_of_scan(augmentation=augmentation).fit(images)
    representation = SelfSupervisedAdapter(
        extractor(),
        objective="simclr",
        normalize=False,
        temperature=0.1,
        projector_widths=[8, 8],
        n_epochs=1,
        batch_size=10,
        learning_rate=1e-2,
        weight_decay=1e-4,
    )
    clusterer = scan(extractor=representation, augmentation=augmentation, threshold=0.1)
    clusterer.set_params(n_epochs=2, n_self_labelling_epochs=1)
    parts = Pipeline([("clusterer", clusterer), ("scorer", KNNScorer(1, metric="cosine"))])
    parts.fit(images)
    np.testing.assert_array_equal(detector.score_samples(others), parts.score_samples(others))
    np.testing.assert_array_equal(detector.labels_, parts["clusterer"].labels_)
    assert detector.offset_ == parts["scorer"].offset_
    assert detector.stopped_at_ == parts["clusterer"].stopped_at_ == 2
    curve = parts["clusterer"].training_curve_
    assert detector.training_curve_.keys() == curve.keys()
    np.testing.assert_array_equal(detector.training_curve_["loss"], curve["loss"])


@pytest.mark.bits
def test_the_detector_keeps_its_contracts(images, others, tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    detector = features_of_scan(checkpoint=tmp_path).fit(images)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert not list(tmp_path.iterdir())
    found = detector.score_samples(others)
    copies_of_it = pickle.loads(pickle.dumps(detector)), clone(detector).fit(images)
    for other in copies_of_it:
        np.testing.assert_array_equal(other.score_samples(others), found)
    other = features_of_scan(random_state=1).fit(images)
    assert not np.allclose(other.score_samples(others), found, rtol=1e-3)


@pytest.mark.bits
@pytest.mark.parametrize("kind", [SelfSupervisedAdapter, NeighborClustering, SCAN])
def test_a_broken_detector_goes_on_to_the_same_bits(kind, images, others, watched, tmp_path):
    expected = features_of_scan().fit(images).score_samples(others)
    kinds = (SelfSupervisedAdapter, NeighborClustering, SCAN)
    seen = {k: watched(k, break_at=2 if k is kind else None) for k in kinds}
    detector = features_of_scan(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(images)
    assert not hasattr(detector, "pipeline_")
    for steps in seen.values():
        steps.clear()
    detector.fit(images)
    index = kinds.index(kind)
    assert not any(seen[k] for k in kinds[:index])
    assert seen[kind][0] == 2
    assert all(seen[k][0] == 1 for k in kinds[index + 1 :])
    np.testing.assert_array_equal(detector.score_samples(others), expected)
    assert not list(tmp_path.iterdir())


def test_a_search_over_clusters_runs(digits):
    rows, labels = digits
    rows, labels = rows[:45], np.where(labels[:45] == 2, -1, 1)
    search = GridSearchCV(
        features_of_scan(n_self_labelling_epochs=0, n_epochs=1),
        {"n_clusters": [2, 4]},
        scoring=auroc_scorer,
        cv=OneClassKFold(2),
    )
    search.fit(rows, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.labels_.shape == ((labels == 1).sum(),)
    assert search.score_samples(rows[:3]).shape == (3,)
