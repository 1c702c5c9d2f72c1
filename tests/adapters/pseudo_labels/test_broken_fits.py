"""PseudoLabelAdapter: seeds, breaks, parameters."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import (
    DEC,
    AutoencoderAdapter,
    PseudoLabelAdapter,
)
from skad.training import _run as _run
from tests.adapters.pseudo_labels.common import (
    assert_close,
    copies,
    dec,
    kmeans,
    pseudo,
    same,
    weights_of,
)

KINDS = {
    "features": pseudo,
    "from scratch": partial(pseudo, batch_norm="train", averaged_epochs="last"),
    "mild": partial(pseudo, augmentation="mild", trainable="last_two"),
    "odin": partial(pseudo, output="odin", trainable="head"),
    "dec": partial(pseudo, dec(), output="logits"),
}
every = pytest.mark.parametrize("kind", KINDS)


# Seeds and copies


@pytest.mark.bits
@every
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_state(kind, images, others):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = KINDS[kind]().fit(images)
    found = first.transform(others)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    torch.rand(3)
    again = clone(first).fit(images)
    np.testing.assert_array_equal(again.transform(others), found)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert same(weights_of(again), weights_of(first))
    other = KINDS[kind](random_state=1).fit(images)
    assert not np.allclose(other.coef_, first.coef_, rtol=1e-3)


@every
def test_a_pickled_adapter_is_the_same(kind, images, others):
    adapter = KINDS[kind]().fit(images)
    other = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(other.transform(others), adapter.transform(others))
    np.testing.assert_array_equal(other.labels_, adapter.labels_)
    np.testing.assert_array_equal(other.get_feature_names_out(), adapter.get_feature_names_out())


def test_images_that_are_not_kept_make_no_difference(images):
    whole = weights_of(pseudo().fit(images))
    for memory_limit in (0, 0.01):
        other = weights_of(pseudo(memory_limit=memory_limit).fit(images))
        assert_close(other, whole, rtol=1e-3, atol=2e-4)


# Broken-off fits


@pytest.mark.bits
@every
def test_a_broken_fit_goes_on_to_the_same_bits(
    kind, images, others, watched, monkeypatch, tmp_path
):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 2)
    coder, clusters = watched(AutoencoderAdapter), watched(DEC)
    ends = []

    def keep(run, step):
        if step == 9:
            ends.append(copies(run.task.state()))

    watched(PseudoLabelAdapter, then=keep)
    whole = KINDS[kind]().fit(images)
    steps = watched(PseudoLabelAdapter, break_at=7)
    adapter = KINDS[kind](checkpoint=tmp_path)
    if kind == "dec":
        names = ("clusterer__checkpoint", "clusterer__extractor__checkpoint")
        adapter.set_params(**dict.fromkeys(names, tmp_path))
    unfitted = set(vars(adapter))
    with pytest.raises(KeyboardInterrupt) as caught:
        adapter.fit(images)
    assert set(vars(adapter)) == unfitted
    assert "fit again with the same parameters" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == (3 if kind == "dec" else 1)
    for seen in (coder, clusters, steps):
        seen.clear()
    adapter.fit(images)
    assert steps == [7, 8, 9], "from the last look on"
    assert not coder
    assert not clusters
    assert not list(tmp_path.iterdir())
    assert same(*ends), "of the averages too"
    assert same(weights_of(adapter), weights_of(whole))
    np.testing.assert_array_equal(adapter.transform(others), whole.transform(others))
    np.testing.assert_array_equal(adapter.labels_, whole.labels_)
    for name, values in whole.training_curve_.items():
        np.testing.assert_array_equal(adapter.training_curve_[name], values)


@pytest.mark.bits
def test_a_break_among_the_clusters_goes_on(images, watched, tmp_path):
    whole = pseudo(dec()).fit(images)
    clusterer = dec(checkpoint=tmp_path).set_params(extractor__checkpoint=tmp_path)
    adapter = pseudo(clusterer, checkpoint=tmp_path)
    coder, clusters = watched(AutoencoderAdapter), watched(DEC, break_at=3)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(images)
    assert (coder, clusters) == ([1, 2, 3], [1, 2, 3])
    coder.clear()
    clusters.clear()
    adapter.fit(images)
    assert (coder, clusters) == ([], [3, 4])
    assert not list(tmp_path.iterdir())
    assert same(weights_of(adapter), weights_of(whole))


def test_other_labels_do_not_go_on(images, classes, watched, tmp_path):
    steps = watched(PseudoLabelAdapter, break_at=5)
    adapter = pseudo(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(images, class_labels=classes)
    steps.clear()
    adapter.fit(images, class_labels=np.roll(classes, 1))
    assert steps == list(range(1, 10))
    steps.clear()
    adapter.fit(images, class_labels=classes)
    assert steps == [5, 6, 7, 8, 9]


# Errors


@pytest.mark.parametrize("epochs", [[0], [4], [], [1, 5], [-1]])
def test_epochs_to_average_must_be_there(epochs, images, watched):
    steps = watched(PseudoLabelAdapter)
    with pytest.raises(ValueError, match="averaged_epochs must be 'all', 'last' or numbers from 1"):
        pseudo(averaged_epochs=epochs).fit(images)
    assert not steps


@pytest.mark.parametrize(
    "parameters",
    [
        *({"perturbation": -0.1}, {"output": "scores"}, {"temperature": 0}),
        *({"averaged_epochs": "first"}, {"batch_norm": "learn"}, {"augmentation": "strong"}),
        *({"n_epochs": 0}, {"final_learning_rate": -1e-6}, {"clusterer": 3}),
    ],
)
def test_parameters_are_checked(parameters, images):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        pseudo(**parameters).fit(images) if name != "clusterer" else pseudo(3).fit(images)


def test_too_few_images_for_the_clusters_are_told(images, watched):
    steps = watched(PseudoLabelAdapter)
    with pytest.raises(ValueError, match="n_samples=7 should be >= n_clusters=8"):
        pseudo(kmeans(8)).fit(images[:7])
    with pytest.raises(ValueError, match="DEC: n_clusters=3, but there are only 2 images"):
        pseudo(dec()).fit(images[:2])
    assert not steps
