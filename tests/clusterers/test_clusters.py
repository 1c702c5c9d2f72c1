"""What every clusterer keeps: clusters, seeds, pickles, rows."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import (
    DEC,
    SCAN,
    AutoencoderAdapter,
    CollapseWarning,
    SelfSupervisedAdapter,
)
from skad.clusterers import ClusterWarning
from skad.clusterers._semantic import NeighborClustering
from skad.networks._cut import FrozenNetwork
from skad.training import _run as _run
from tests.clusterers.common import KINDS, NET, dec, every, extractor, same, scan

pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


def two_groups(n=12):
    """Black and white, no two the same."""
    noise = np.random.RandomState(0).rand(n, 8, 8) / 100
    noise[n // 2 :] += 0.99
    return noise


@pytest.mark.filterwarnings("error")
def test_clusters_without_images_are_told_of():
    with pytest.warns(ClusterWarning, match=r"SCAN: 2 of 4 clusters have no images. Set n_cl.*=2,"):
        clusterer = scan(
            extractor=extractor(partial(NET, width=8), std=0.02),
            n_clusters=4,
            n_neighbors=2,
            trainable="head",
            learning_rate=0.3,
            n_epochs=20,
            n_self_labelling_epochs=0,
        ).fit(two_groups())
    assert len(set(clusterer.labels_)) == 2
    assert clusterer.predict_proba(two_groups()).shape == (12, 4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["scan", "dec"])
def test_all_images_in_one_cluster_are_told_of(kind, images, monkeypatch):
    if kind == "scan":
        clusterer, advice = scan(n_self_labelling_epochs=0), "raise entropy_weight"
    else:
        clusterer, advice = dec(), "lower learning_rate"
    monkeypatch.setattr(
        type(clusterer), "_probabilities", lambda self, rows: np.eye(3)[np.zeros(len(rows), int)]
    )
    with pytest.warns(CollapseWarning, match=f"all 30 images ended in one of 3 clusters.*{advice}"):
        clusterer.fit(images)
    assert clusterer.collapsed_at_ is None


@pytest.mark.filterwarnings("error")
def test_without_a_term_for_evenness_all_images_end_in_one_cluster(images):
    clusterer = scan(entropy_weight=0.0, n_self_labelling_epochs=0, n_clusters=2)
    clusterer.set_params(trainable="head", learning_rate=1.0)
    with pytest.warns(CollapseWarning, match="raise entropy_weight"):
        clusterer.fit(images)
    assert len(set(clusterer.labels_)) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [dec, partial(scan, n_self_labelling_epochs=0)])
def test_one_cluster_is_no_collapse(make, images):
    assert set(make(n_clusters=1).fit(images).labels_) == {0}


# Seeds, copies, containers


@pytest.mark.bits
@every
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_state(kind, images, others):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = KINDS[kind]().fit(images)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    torch.rand(3)
    again = clone(first).fit(images)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    np.testing.assert_array_equal(again.predict_proba(others), first.predict_proba(others))
    assert same(again.network_.state_dict(), first.network_.state_dict())
    other = KINDS[kind](random_state=1).fit(images)
    assert not np.allclose(other.predict_proba(others), first.predict_proba(others), rtol=1e-3)


@every
def test_a_pickled_clusterer_is_the_same(kind, images, others):
    clusterer = KINDS[kind]().fit(images)
    copy = pickle.loads(pickle.dumps(clusterer))
    np.testing.assert_array_equal(copy.predict_proba(others), clusterer.predict_proba(others))
    np.testing.assert_array_equal(copy.labels_, clusterer.labels_)
    np.testing.assert_array_equal(copy.transform(others), clusterer.transform(others))


@every
def test_images_that_are_not_kept_make_no_difference(kind, images, others):
    whole = KINDS[kind]().fit(images)
    for memory_limit in (0, 0.01):
        other = KINDS[kind](memory_limit=memory_limit).fit(images)
        np.testing.assert_allclose(
            other.predict_proba(others), whole.predict_proba(others), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("kind", ["dec", "scan"])
def test_flat_rows_are_images_too(kind, images, others):
    rows = [(16 * given).reshape(len(given), -1) for given in (images, others)]
    clusterer = KINDS[kind]().fit(rows[0])
    assert clusterer.n_features_in_ == 64
    found = clusterer.predict_proba(rows[1])
    assert found.shape == (12, 3)
    expected = KINDS[kind]().fit(images).predict_proba(others)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


@every
def test_labels_are_of_no_use_to_a_clusterer(kind, images):
    found = KINDS[kind]().fit(images, np.r_[np.ones(20), -np.ones(10)])
    np.testing.assert_array_equal(found.labels_, KINDS[kind]().fit(images).labels_)


def test_a_training_of_the_head_leaves_nothing_for_the_next(images):
    fitted = extractor().fit(images).fitted_network_
    scan(trainable="head").fit(images)
    assert not FrozenNetwork(fitted).parameters
    assert FrozenNetwork(fitted).parameters is not FrozenNetwork(fitted).parameters


@pytest.mark.parametrize("trainable", ["head", "last", "all"])
def test_an_epoch_sees_every_image(trainable, images, watched):
    runs = []
    watched(NeighborClustering, then=lambda run, step: runs.append(run))
    later = watched(SCAN)
    clusterer = scan(trainable=trainable, batch_size=2, n_epochs=1, n_neighbors=2)
    clusterer.set_params(self_labelling_batch_size=2, n_self_labelling_epochs=1)
    clusterer.fit(images[:9])
    batch_of = runs[0].task.images.sampler
    assert len(runs) == len(later) == batch_of.n_batches
    seen = np.concatenate([batch_of(step) for step in range(len(runs))])
    np.testing.assert_array_equal(np.sort(seen), range(9))


def test_half_precision_of_a_frozen_network(images):
    made = extractor(precision="bfloat16")
    clusterer = scan(trainable="head", extractor=made).fit(images)
    np.testing.assert_array_equal(clusterer.labels_, clusterer.predict(images))
    assert clusterer.coef_.dtype == np.float32


def test_the_default_begins_with_simclr():
    inner = SCAN()._inner()
    assert isinstance(inner, NeighborClustering)
    assert isinstance(inner.extractor, SelfSupervisedAdapter)
    assert inner.extractor.objective == "simclr"
    assert not inner.extractor.normalize
    assert inner.extractor.get_params()["extractor__weights"] is None
    assert isinstance(DEC()._default_extractor(), AutoencoderAdapter)
