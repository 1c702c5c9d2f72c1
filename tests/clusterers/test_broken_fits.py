"""Clusterings that are broken off and go on; bad parameters."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone

from skad import (
    DEC,
    SCAN,
    AutoencoderAdapter,
    FeatureExtractor,
    SelfSupervisedAdapter,
)
from skad.clusterers._semantic import NeighborClustering
from skad.training import _run as _run
from tests.clusterers.common import KINDS, copies, dec, same, scan, simclr

pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["dec", "dec of an autoencoder"])
def test_a_broken_dec_goes_on_to_the_same_bits(
    kind, images, others, watched, monkeypatch, tmp_path
):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 3)
    ends = []

    def keep(run, step):
        if step == 8:
            ends.append(copies(run.task.state()))

    rate = 0.05 if kind == "dec" else 0.3
    make = partial(KINDS[kind], n_steps=8, n_clusters=6, learning_rate=rate)
    inner, steps = watched(AutoencoderAdapter), watched(DEC, then=keep)
    whole = make().fit(images)
    assert steps == list(range(1, 9)), "or the settings are no use"
    watched(DEC, break_at=5)
    clusterer = make(checkpoint=tmp_path)
    if kind != "dec":
        clusterer.set_params(extractor__checkpoint=tmp_path)
    unfitted = set(vars(clusterer))
    with pytest.raises(KeyboardInterrupt) as caught:
        clusterer.fit(images)
    assert set(vars(clusterer)) == unfitted
    assert "fit again with the same parameters" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == (1 if kind == "dec" else 2)
    steps.clear()
    inner.clear()
    clusterer.fit(images)
    assert steps == [4, 5, 6, 7, 8], "from the last look on"
    assert not inner
    assert not list(tmp_path.iterdir())
    assert same(*ends), "of centres and targets too"
    assert {"clusters.centers", "targets", "assigned", "changed"} <= ends[0].keys()
    np.testing.assert_array_equal(clusterer.predict_proba(others), whole.predict_proba(others))
    np.testing.assert_array_equal(clusterer.labels_, whole.labels_)
    for name, values in whole.training_curve_.items():
        np.testing.assert_array_equal(clusterer.training_curve_[name], values)


TRAINED = {"all": {}, "head": {"trainable": "head"}, "strong": {"augmentation": "strong"}}


@pytest.mark.bits
@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize("parameters", TRAINED.values(), ids=TRAINED)
def test_a_broken_scan_goes_on_to_the_same_bits(
    parameters, which, images, others, watched, tmp_path
):
    """The best network is not the last one at a high rate, and is found again."""
    make = partial(scan, n_epochs=2, **{"learning_rate": 0.05} | parameters)
    make = partial(make, self_labelling_batch_size=8, n_self_labelling_epochs=1)
    whole = make(extractor=simclr()).fit(images)
    clusterer = make(checkpoint=tmp_path, extractor=simclr(checkpoint=tmp_path))
    unfitted = set(vars(clusterer))
    inner = watched(SelfSupervisedAdapter)
    first = watched(NeighborClustering, break_at=5 if which == "first" else None)
    second = watched(SCAN, break_at=3 if which == "second" else None)
    with pytest.raises(KeyboardInterrupt) as caught:
        clusterer.fit(images)
    assert set(vars(clusterer)) == unfitted
    assert str(tmp_path) in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == (2 if which == "first" else 3)
    for steps in (inner, first, second):
        steps.clear()
    clusterer.fit(images)
    assert not inner, "what was finished is not done again"
    assert first == ([5, 6] if which == "first" else [])
    assert second == ([1, 2, 3, 4] if which == "first" else [3, 4])
    assert not list(tmp_path.iterdir())
    assert same(clusterer.network_.state_dict(), whole.network_.state_dict())
    np.testing.assert_array_equal(clusterer.predict_proba(others), whole.predict_proba(others))
    for curve in ("clustering_curve_", "training_curve_"):
        for name, values in getattr(whole, curve).items():
            np.testing.assert_array_equal(getattr(clusterer, curve)[name], values)


def test_another_threshold_keeps_the_clustering(images, watched, tmp_path):
    clusterer = scan(threshold=0.999999, learning_rate=1e-4, checkpoint=tmp_path)
    first = watched(NeighborClustering)
    with pytest.raises(ValueError, match="Lower threshold"):
        clusterer.fit(images)
    assert len(first) == 9
    first.clear()
    clusterer.set_params(threshold=0.1).fit(images)
    assert not first
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "parameters", [{"entropy_weight": 4.0}, {"n_neighbors": 3}, {"n_clusters": 2}]
)
def test_another_clustering_does_not_go_on(parameters, images, watched, tmp_path):
    first = watched(NeighborClustering, break_at=5)
    clusterer = scan(checkpoint=tmp_path, n_self_labelling_epochs=0)
    with pytest.raises(KeyboardInterrupt):
        clusterer.fit(images)
    first.clear()
    clone(clusterer).set_params(**parameters).fit(images)
    assert first == list(range(1, 10))
    first.clear()
    clusterer.fit(images)
    assert first == [5, 6, 7, 8, 9]


def test_finished_fits_leave_nothing(images, tmp_path):
    for make in (dec, scan):
        make(checkpoint=tmp_path).fit(images)
        assert not list(tmp_path.iterdir())


# Errors


@pytest.mark.parametrize("make", [dec, scan])
def test_fewer_images_than_clusters_are_told_before_training(make, images, monkeypatch):
    def never(self, X, y=None):
        raise AssertionError

    monkeypatch.setattr(FeatureExtractor, "fit", never)
    with pytest.raises(ValueError, match=r"n_clusters=8, but there are only 7 images. Give more"):
        make(n_clusters=8).fit(images[:7])


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        *((dec, given) for given in ({"alpha": 0}, {"tolerance": 1.0}, {"update_interval": 0})),
        *((dec, given) for given in ({"n_clusters": 0}, {"batch_size": 1})),
        *((scan, given) for given in ({"threshold": 1.0}, {"n_neighbors": 0})),
        *((scan, given) for given in ({"entropy_weight": -1}, {"augmentation": "weak"})),
        *((scan, given) for given in ({"n_self_labelling_epochs": -1}, {"n_epochs": 0})),
    ],
)
def test_parameters_are_checked(make, parameters, images):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        make(**parameters).fit(images)


@pytest.mark.parametrize("trainable", ["heads", "layer9"])
def test_stages_that_do_not_exist_are_told(trainable, images):
    with pytest.raises(ValueError, match=f"trainable='{trainable}' names no stages"):
        scan(trainable=trainable).fit(images)


def test_a_loss_that_is_not_finite_keeps_what_was_fitted(images, others, tmp_path):
    clusterer = dec().fit(images)
    before = clusterer.predict_proba(others)
    with pytest.raises(ArithmeticError, match="DEC: .* not finite|DEC: the (loss|gradient)"):
        clusterer.set_params(learning_rate=1e30, checkpoint=tmp_path).fit(images)
    np.testing.assert_array_equal(clusterer.predict_proba(others), before)
    assert not list(tmp_path.iterdir())
