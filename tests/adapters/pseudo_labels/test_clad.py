"""CLAD."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skad import (
    CLAD,
    DEC,
    AutoencoderAdapter,
    ConfidenceScorer,
    OneClassKFold,
    PseudoLabelAdapter,
    auroc_scorer,
)
from skad.backbones import clad_small
from skad.training import _run as _run
from tests.adapters.pseudo_labels.common import CODER, NET, extractor

ENCODER = partial(clad_small, image_size=8, code_dim=5)


# CLAD


def clad(**parameters):
    defaults = {"n_clusters": 3, "n_autoencoder_epochs": 2, "n_clustering_epochs": 2}
    defaults |= {"n_epochs": 2, "batch_size": 10, "learning_rate": 1e-2}
    return CLAD(NET, CODER, **defaults | parameters)


def parts_of_clad(**parameters):
    coder = AutoencoderAdapter(
        extractor(CODER, batch_size=10),
        n_epochs=2,
        batch_size=512,
        learning_rate=1e-3,
        decay_at=1.0,
        weight_decay=0.0,
    )
    adapter = PseudoLabelAdapter(
        extractor(batch_size=10),
        DEC(coder, n_clusters=3, n_epochs=2),
        output="odin",
        batch_norm="train",
        averaged_epochs="last",
        augmentation=None,
        n_epochs=2,
        batch_size=10,
        learning_rate=1e-2,
        final_learning_rate=1e-2,
        collapse_limit=0.0,
    )
    adapter.set_params(**parameters)
    return Pipeline([("adapter", adapter), ("scorer", ConfidenceScorer())])


@pytest.mark.bits
@pytest.mark.parametrize("parameters", [{}, {"temperature": 10.0, "perturbation": 0.0}])
def test_clad_is_its_parts(parameters, images, others):
    detector, parts = clad(**parameters).fit(images), parts_of_clad(**parameters).fit(images)
    np.testing.assert_array_equal(detector.score_samples(others), parts.score_samples(others))
    np.testing.assert_array_equal(detector.labels_, parts["adapter"].labels_)
    assert detector.offset_ == parts["scorer"].offset_
    assert detector.stopped_at_ == parts["adapter"].stopped_at_ == 6
    assert detector.collapsed_at_ is None
    rows = detector.pipeline_["adapter"].transform(others).astype(np.float64)
    top = np.sort(rows, axis=1)
    odds = top[:, -1] - np.log(np.exp(top[:, :-1]).sum(1))
    np.testing.assert_allclose(detector.score_samples(others), odds, rtol=1e-6)


@pytest.mark.bits
@pytest.mark.parametrize("kind", [AutoencoderAdapter, DEC, PseudoLabelAdapter])
def test_a_broken_clad_goes_on_to_the_same_bits(kind, images, others, watched, tmp_path):
    expected = clad().fit(images).score_samples(others)
    kinds = (AutoencoderAdapter, DEC, PseudoLabelAdapter)
    seen = {k: watched(k, break_at=2 if k is kind else None) for k in kinds}
    detector = clad(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(images)
    assert not hasattr(detector, "pipeline_")
    for steps in seen.values():
        steps.clear()
    detector.fit(images)
    index = kinds.index(kind)
    assert not any(seen[k] for k in kinds[:index]), "what was finished is not done again"
    assert seen[kind][:1] in ([2], [])
    assert all(seen[k][0] == 1 for k in kinds[index + 1 :])
    np.testing.assert_array_equal(detector.score_samples(others), expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.bits
def test_clad_keeps_its_contracts(images, others):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    detector = clad().fit(images)
    found = detector.score_samples(others)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    for other in (pickle.loads(pickle.dumps(detector)), clone(detector).fit(images)):
        np.testing.assert_array_equal(other.score_samples(others), found)
    other = clad(random_state=1).fit(images)
    assert not np.allclose(other.score_samples(others), found, rtol=1e-5)


def test_a_search_over_clusters_of_clad_runs(images, others):
    rows, y = np.concatenate([images, others]), np.r_[np.ones(30), -np.ones(12)].astype(int)
    search = GridSearchCV(
        clad(n_autoencoder_epochs=1, n_clustering_epochs=1, n_epochs=1),
        {"n_clusters": [2, 3]},
        scoring=auroc_scorer,
        cv=OneClassKFold(2),
    )
    search.fit(rows, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.labels_) == 30


def test_clad_of_the_papers_small_encoder(images):
    detector = CLAD(NET, ENCODER, n_clusters=2, n_epochs=1)
    detector.set_params(n_autoencoder_epochs=1, n_clustering_epochs=1).fit(images)
    assert detector.score_samples(images[:2]).shape == (2,)
    with pytest.raises(ValueError, match="DEC: n_clusters=2, but there are only 1 images|2 normal"):
        detector.fit(images[:1])
    with pytest.raises(ValueError, match="'n_clusters' parameter"):
        clad(n_clusters=1).fit(images)
