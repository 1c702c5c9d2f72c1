"""DEC against a plain loop."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from skad import (
    DEC,
)
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.clusterers.common import (
    CODER,
    KINDS,
    SEED,
    autoencoder,
    copies,
    dec,
    every,
    extractor,
    untrained,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


# So that images change their clusters all along.
RESTLESS = {"n_clusters": 6, "learning_rate": 0.1, "momentum": 0.0}


def prepared(fitted, images):
    """Grey images as the network takes them."""
    made = fitted.preprocessing_
    batch = torch.from_numpy(np.asarray(images, dtype=np.float32))[:, None]
    mean, std = (torch.tensor(v)[:, None, None] for v in (made.mean, made.std))
    return (batch.expand(-1, made.n_channels, -1, -1) - mean) / std


# DEC


def shares_of(codes, centers, alpha):
    """DEC's assignments, one pair at a time."""
    rows = []
    for code in codes:
        weights = []
        for center in centers:
            squared = ((code - center) ** 2).sum()
            weights.append((1 + squared / alpha) ** (-(alpha + 1) / 2))
        rows.append(torch.stack(weights) / sum(weights))
    return torch.stack(rows)


def targets_of(shares):
    weights = shares**2 / shares.sum(0)
    return (weights / weights.sum(1, keepdim=True)).detach()


def slow_dec(clusterer, images):
    """Train as DEC's paper says; give the network, the centres and the shares that changed."""
    fitted = untrained(clusterer, images)
    network, x = fitted.network_, prepared(fitted, images)
    n_clusters, alpha = clusterer.n_clusters, clusterer.alpha
    with torch.no_grad():
        codes = network.eval()(x.clone())
    found = KMeans(n_clusters, n_init=20, random_state=SEED).fit(codes.double().numpy())
    centers = torch.tensor(found.cluster_centers_, dtype=torch.float32, requires_grad=True)
    shares = shares_of(codes, centers, alpha)
    targets, assigned = targets_of(shares), shares.argmax(1)
    values = [*network.requires_grad_(True).parameters(), centers]
    speeds, changed = [torch.zeros_like(value) for value in values], []
    batch_of = BatchSampler(len(x), clusterer.batch_size, SEED, fewest=2)
    for step in range(clusterer.n_steps):
        indices = batch_of(step)
        shares = shares_of(network.train()(x[indices]), centers, alpha)
        wanted = targets[indices]
        loss = (wanted * (wanted / shares).log()).sum() / len(indices)
        gradients = torch.autograd.grad(loss, values)
        with torch.no_grad():
            for value, speed, gradient in zip(values, speeds, gradients):
                speed.mul_(clusterer.momentum).add_(gradient)
                value.sub_(clusterer.learning_rate * speed)
            if (step + 1) % clusterer.update_interval == 0:
                shares = shares_of(network.eval()(x.clone()), centers, alpha)
                changed.append(float((shares.argmax(1) != assigned).float().mean()))
                targets, assigned = targets_of(shares), shares.argmax(1)
                if changed[-1] <= clusterer.tolerance:
                    break
    return network.eval(), centers.detach().numpy(), assigned.numpy(), changed


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_steps": 7, "learning_rate": 0.1, "update_interval": 3},
        {"n_steps": 5, "learning_rate": 0.3, "alpha": 2.5, "momentum": 0.0, "batch_size": 7},
        {"n_steps": 4, "learning_rate": 0.3, "update_interval": 1, "n_clusters": 5},
        {"n_steps": 3, "learning_rate": 0.1, "update_interval": 140},
        {"n_steps": 5, "update_interval": 1, **RESTLESS},
    ],
)
def test_dec_trains_as_a_plain_loop_does(parameters, images):
    clusterer = dec(tolerance=0.0, **parameters)
    # batches of 7 for what needs no gradient
    clusterer.set_params(extractor__batch_size=7).fit(images)
    network, centers, assigned, changed = slow_dec(clusterer, images)
    found = copies(clusterer.network_.state_dict())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(clusterer.cluster_centers_, centers, rtol=1e-4, atol=1e-5)
    interval = clusterer.update_interval
    ends = clusterer.training_curve_["changed"][interval::interval][: len(changed)]
    np.testing.assert_allclose(ends, changed, atol=1e-6)
    if clusterer.n_steps % interval == 0:
        np.testing.assert_array_equal(clusterer.labels_, assigned)
    before = untrained(clusterer, images).network_.state_dict()
    moved = [n for n in before if not torch.allclose(before[n], found[n], rtol=1e-3, atol=1e-5)]
    assert len(moved) == len(before), "or the comparison says nothing"


@pytest.fixture(scope="module")
def trained_dec(digits):
    clusterer = DEC(
        autoencoder(n_steps=60, batch_size=50, learning_rate=3e-3),
        n_clusters=3,
        batch_size=50,
        n_steps=20,
        update_interval=5,
    )
    return clusterer.fit(digits[0])


def test_dec_finds_digits(digits, trained_dec):
    rows, labels = digits
    assert adjusted_rand_score(labels, trained_dec.labels_) > 0.5
    assert trained_dec.cluster_centers_.shape == (3, 5)
    assert trained_dec.cluster_centers_.dtype == np.float32
    assert trained_dec.transform(rows[:4]).shape == (4, 5)


def test_probabilities_of_dec_are_its_assignments(digits, trained_dec):
    rows, _ = digits
    found = trained_dec.predict_proba(rows)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    np.testing.assert_array_equal(trained_dec.predict(rows), found.argmax(1))
    np.testing.assert_array_equal(trained_dec.labels_, trained_dec.predict(rows))
    codes = torch.from_numpy(trained_dec.transform(rows[:20])).double()
    expected = shares_of(codes, torch.from_numpy(trained_dec.cluster_centers_).double(), 1.0)
    np.testing.assert_allclose(found[:20], expected, rtol=1e-6)


@every
def test_fit_predict_gives_the_labels(kind, images):
    clusterer = KINDS[kind]()
    found = clusterer.fit_predict(images)
    np.testing.assert_array_equal(found, clusterer.labels_)
    np.testing.assert_array_equal(found, clusterer.predict(images))
    assert found.shape == (30,)
    assert found.dtype.kind == "i"
    found = clusterer.predict_proba(images)
    assert found.shape == (30, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_targets_are_computed_anew_at_times_only(images, watched):
    targets, runs = {}, []

    def keep(run, step):
        targets[step] = run.task.targets.clone().cpu()
        runs.append(run)

    watched(DEC, then=keep)
    dec(n_steps=7, update_interval=3, **RESTLESS).fit(images)
    before = slow_start(images, RESTLESS["n_clusters"])
    for step in (1, 2):
        torch.testing.assert_close(targets[step], before)
    assert not torch.allclose(targets[3], before, atol=1e-4)
    assert torch.equal(targets[4], targets[3])
    assert torch.equal(targets[5], targets[3])
    assert not torch.allclose(targets[6], targets[3], atol=1e-4)
    assert torch.equal(targets[7], targets[6])
    assert targets[7].shape == (30, 6), "of all images, not of a batch"


def slow_start(images, n_clusters):
    codes = torch.from_numpy(extractor(CODER).fit_transform(images))
    found = KMeans(n_clusters, n_init=20, random_state=SEED).fit(codes.double().numpy())
    return targets_of(shares_of(codes, torch.from_numpy(found.cluster_centers_).float(), 1.0))


def test_dec_stops_when_nothing_changes(images):
    still = dec(learning_rate=1e-12, n_steps=20, update_interval=4).fit(images)
    assert still.stopped_at_ == 4
    np.testing.assert_array_equal(still.training_curve_["step"], range(5))
    np.testing.assert_array_equal(still.training_curve_["changed"], [1, 1, 1, 1, 0])
    restless = RESTLESS | {"n_steps": 8, "update_interval": 2}
    changed = dec(**restless).fit(images).training_curve_["changed"][2::2]
    assert changed.max() > changed.min() > 0, "or the comparison says nothing"
    for tolerance in (changed.min(), (changed.min() + changed.max()) / 2):
        found = dec(**restless, tolerance=float(tolerance)).fit(images)
        assert found.stopped_at_ == 2 * (1 + np.flatnonzero(changed <= tolerance)[0])


def test_epochs_of_dec_are_passes_over_the_images(images):
    clusterer = dec(n_steps=None, n_epochs=2, batch_size=8, update_interval=100).fit(images)
    assert clusterer.stopped_at_ == 2 * 4
