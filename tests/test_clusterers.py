"""Clusterers of images, and the detector on SCAN: what they learn, by loops written out here."""

import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from torch import nn

from skad import (
    DEC,
    SCAN,
    AutoencoderAdapter,
    CollapseWarning,
    FeatureExtractor,
    KNNScorer,
    OneClassKFold,
    SCANFeatures,
    SelfSupervisedAdapter,
    auroc_scorer,
)
from skad._random import torch_seed
from skad.augment import ContrastiveAugmentation
from skad.backbones import clad_small, small_cnn, svdd_mnist
from skad.clusterers import ClusterWarning, _scan, _semantic
from skad.clusterers._semantic import NeighborClustering, draw_neighbors
from skad.networks._cut import CutNetwork, FrozenNetwork
from skad.training import _run as _run
from skad.training._order import BatchSampler

NET = partial(small_cnn, width=4, image_size=8)
CODER = partial(svdd_mnist, image_size=8, code_dim=16)
ENCODER = partial(clad_small, image_size=8, code_dim=5)
SEED = int(check_random_state(0).randint(2**31))  # what is made of random_state=0
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def extractor(backbone=NET, **parameters):
    return FeatureExtractor(backbone, weights=None, **parameters)


def dec(**parameters):
    defaults = {"n_clusters": 3, "n_steps": 6, "batch_size": 10, "update_interval": 2}
    defaults |= {"extractor": extractor(CODER), "tolerance": 0.0}
    return DEC(**defaults | parameters)


def scan(**parameters):
    defaults = {"n_clusters": 3, "n_neighbors": 4, "augmentation": None, "n_epochs": 3}
    defaults |= {"batch_size": 10, "learning_rate": 1e-2, "threshold": 0.2}
    defaults |= {"n_self_labelling_epochs": 2, "self_labelling_batch_size": 15}
    return SCAN(**defaults | {"extractor": extractor()} | parameters)


def autoencoder(**parameters):
    settings = {"n_steps": 3, "batch_size": 10, "learning_rate": 1e-2} | parameters
    return AutoencoderAdapter(extractor(ENCODER), **settings)


def simclr(**parameters):
    settings = {"n_steps": 3, "batch_size": 10, "learning_rate": 1e-2, "collapse_limit": 0.0}
    settings |= {"projector_widths": [16, 8], "normalize": False} | parameters
    return SelfSupervisedAdapter(extractor(), objective="simclr", **settings)


# So that images change their clusters all along.
RESTLESS = {"n_clusters": 6, "learning_rate": 0.1, "momentum": 0.0}

KINDS = {
    "dec": dec,
    "dec of an autoencoder": partial(dec, extractor=autoencoder()),
    "scan": scan,
    "scan, head": partial(scan, trainable="head"),
    "scan, strong": partial(scan, augmentation="strong"),
}
every = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


@pytest.fixture(autouse=True)
def a_look_after_every_step(monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture(scope="module")
def digits():
    """Zeros, ones and twos of 8 x 8 pixels in [0, 1], and what they show."""
    rows, labels = load_digits(return_X_y=True)
    few = labels < 3
    return rows[few].reshape(-1, 8, 8)[:150] / 16, labels[few][:150]


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:30]


@pytest.fixture(scope="module")
def others(digits):
    return digits[0][100:112]


def copies(tensors):
    return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def untrained(clusterer, images):
    """With the network on the CPU, where slow trainings go on from it."""
    fitted = clone(clusterer.extractor).fit(images)
    fitted.network_.cpu()
    return fitted


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


# SCAN: neighbours


def nearest(rows, n):
    """Places of the n rows nearest to each by cosine, one row at a time."""
    rows = np.asarray(rows, dtype=np.float64)
    found = []
    for i, row in enumerate(rows):
        cosines = [row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in rows]
        cosines[i] = -np.inf
        found.append(np.argsort(cosines)[::-1][:n])
    return np.array(found)


def mined(clusterer, images, watched):
    runs = []
    watched(NeighborClustering, then=lambda run, step: runs.append(run))
    clusterer.set_params(n_self_labelling_epochs=0, n_epochs=1).fit(images)
    return runs[0].task.neighbors


def test_neighbors_are_the_nearest_by_cosine(images, watched):
    found = mined(scan(n_neighbors=5), images, watched)
    assert found.shape == (30, 6)
    np.testing.assert_array_equal(found[:, 0], range(30))
    expected = nearest(extractor().fit_transform(images), 5)
    np.testing.assert_array_equal(found[:, 1:], expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_neighbors_are_those_of_what_the_projector_gives(normalize, images, watched):
    """Which is what the adapter's own loss was taken of."""
    made = simclr(normalize=normalize)
    found = mined(scan(extractor=made, n_neighbors=5), images, watched)[:, 1:]
    adapter = clone(made).fit(images)
    features = adapter.transform(images)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True) if normalize else features
    with torch.no_grad():
        projections = adapter.projector_(torch.from_numpy(rows)).numpy()
    assert (np.sort(nearest(features, 5)) != np.sort(nearest(projections, 5))).any()
    # The last bits of a projection may swap two that are as near.
    assert (np.sort(found) == np.sort(nearest(projections, 5))).mean() > 0.98


@pytest.mark.parametrize(
    ("n_clusters", "n_neighbors", "expected"), [(3, 20, 9), (3, 8, 8), (5, 20, 5), (30, 20, 1)]
)
def test_no_more_neighbors_than_an_even_cluster_holds(
    n_clusters, n_neighbors, expected, images, watched
):
    found = mined(scan(n_clusters=n_clusters, n_neighbors=n_neighbors), images, watched)
    assert found.shape == (30, 1 + expected)


def test_partners_are_drawn_evenly_from_the_list_and_the_image_itself():
    neighbors = np.arange(40).reshape(10, 4) * 7
    indices = np.array([3, 0, 9, 3])
    drawn = np.array([draw_neighbors(neighbors, indices, 5, step) for step in range(2000)])
    for column, index in zip(drawn.T, indices):
        values, counts = np.unique(column, return_counts=True)
        np.testing.assert_array_equal(values, neighbors[index])
        np.testing.assert_allclose(counts, 500, atol=90)  # four standard deviations
    np.testing.assert_array_equal(draw_neighbors(neighbors, indices, 5, 7), drawn[7])
    assert (draw_neighbors(np.arange(4000).reshape(10, 400), indices, 5, 7) % 400).std() > 1
    many = np.arange(50)
    table = np.arange(5000).reshape(50, 100)
    first = draw_neighbors(table, many, 5, 7)
    assert (first != draw_neighbors(table, many, 6, 7)).mean() > 0.9
    assert (first != draw_neighbors(table, many, 5, 8)).mean() > 0.9


class Views:
    """An augmentation that only keeps what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch, generator):
        self.seen.append(batch.clone().cpu())
        return batch.float()


def test_views_are_of_images_and_their_partners(images):
    views = Views()
    clusterer = NeighborClustering(extractor(), n_clusters=3, n_neighbors=4, n_epochs=1)
    clusterer.set_params(batch_size=10, augmentation=views).fit(images)
    neighbors = nearest(extractor().fit_transform(images), 4)
    neighbors = np.column_stack([np.arange(30), neighbors])
    batch_of = BatchSampler(30, 10, SEED, fewest=2)
    views = clusterer.augmentation.seen
    assert len(views) == 3
    for step, seen in enumerate(views):
        indices = batch_of(step)
        partners = draw_neighbors(neighbors, indices, SEED, step)
        expected = images[np.concatenate([indices, partners])]
        np.testing.assert_allclose(seen[:, 0], expected, atol=1e-6)


# SCAN: both trainings written out


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def slow_scan_loss(logits, partners, weight):
    one, other = (row.softmax(1) for row in (logits, partners))
    agreement = -sum(torch.log((a * b).sum()) for a, b in zip(one, other)) / len(one)
    mean = one.mean(0)
    return agreement + weight * (mean * mean.log()).sum()


def slow_selection(logits, neighbors):
    """The two terms of the loss, of all images and their nearest five."""
    shares = softmax(np.asarray(logits, dtype=np.float64))
    agreements = [
        np.log(shares[i] @ shares[j]) for i, row in enumerate(neighbors) for j in row[1:6]
    ]
    mean = shares.mean(0)
    return -np.mean(agreements), -(mean * np.log(mean)).sum()


def slow_labelling_loss(logits, threshold):
    """Cross-entropy on what the head is sure of; each cluster that it finds weighs the same."""
    shares = logits.detach().softmax(1)
    sure = [i for i in range(len(shares)) if shares[i].max() > threshold]
    labels = {i: int(shares[i].argmax()) for i in sure}
    total, weights = 0, 0
    for i in sure:
        weight = 1 / list(labels.values()).count(labels[i])
        total = total - weight * logits[i].log_softmax(0)[labels[i]]
        weights += weight
    return total / weights if sure else None


def slow_scan_of_head(clusterer, images):
    """Both trainings of a head on features that stay; losses, selections, and the two heads."""
    features = torch.from_numpy(clone(clusterer.extractor).fit_transform(images))
    n, n_clusters = len(images), clusterer.n_clusters
    neighbors = nearest(features, clusterer.n_neighbors)
    neighbors = np.column_stack([np.arange(n), neighbors])
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(SEED, "head"))
        head = nn.Linear(features.shape[1], n_clusters)
    settings = {"lr": clusterer.learning_rate, "weight_decay": clusterer.weight_decay}

    def train(n_epochs, batch_size, loss_of):
        optimizer = torch.optim.Adam(head.parameters(), **settings)
        batch_of = BatchSampler(n, batch_size, SEED)
        for step in range(n_epochs * batch_of.n_batches):
            loss = loss_of(step, batch_of(step))
            if loss is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            yield math.nan if loss is None else float(loss.detach())

    def clustering(step, indices):
        partners = draw_neighbors(neighbors, indices, SEED, step)
        logits = head(features[indices]), head(features[partners])
        return slow_scan_loss(*logits, clusterer.entropy_weight)

    losses, terms, heads = [], [], []
    for loss in train(clusterer.n_epochs, clusterer.batch_size, clustering):
        losses.append(loss)
        with torch.no_grad():
            terms.append(slow_selection(head(features).numpy(), neighbors))
        heads.append(copies(head.state_dict()))
    selections = np.array([consistency - entropy for consistency, entropy in terms])
    best = selections.argmin()
    head.load_state_dict(heads[best])
    found = {"losses": losses, "terms": np.array(terms), "best": best, "heads": heads}
    later = train(
        clusterer.n_self_labelling_epochs,
        clusterer.self_labelling_batch_size,
        lambda step, indices: slow_labelling_loss(head(features[indices]), clusterer.threshold),
    )
    found["later"] = list(later)
    return found | {"head": copies(head.state_dict())}


@pytest.mark.parametrize("n_epochs", [0, 3])
@pytest.mark.parametrize("learning_rate", [0.05, 0.4])
def test_scan_of_a_head_trains_as_plain_loops_do(learning_rate, n_epochs, images):
    clusterer = scan(
        trainable="head",
        n_epochs=4,
        learning_rate=learning_rate,
        weight_decay=1e-2,
        threshold=0.5,
        entropy_weight=3.0,
        n_self_labelling_epochs=n_epochs,
        extractor=extractor(partial(NET, width=8), std=0.02),  # so that features differ
    )
    try:
        clusterer.fit(images)
    except ValueError as error:
        pytest.fail(f"the settings are no use: {error}")
    expected = slow_scan_of_head(clusterer, images)
    curve = clusterer.clustering_curve_
    assert np.isnan(curve["loss"][0])
    np.testing.assert_allclose(curve["loss"][1:], expected["losses"], rtol=1e-3, atol=1e-4)
    consistency, entropy = expected["terms"].T
    np.testing.assert_allclose(curve["consistency"][1:], consistency, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(curve["entropy"][1:], entropy, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(curve["selection"], curve["consistency"] - curve["entropy"])
    if learning_rate == 0.4:
        assert expected["best"] < 11, "or it is not seen that the best is kept"
    # Large steps magnify the last bits of features, by up to 9e-4 on one processor.
    np.testing.assert_allclose(clusterer.coef_, expected["head"]["weight"], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(clusterer.intercept_, expected["head"]["bias"], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(clusterer.training_curve_["loss"][1:], expected["later"], rtol=1e-3)
    assert clusterer.stopped_at_ == 2 * n_epochs == len(expected["later"])
    logits = clusterer.transform(images) @ clusterer.coef_.T + clusterer.intercept_
    np.testing.assert_allclose(clusterer.predict_proba(images), softmax(logits), rtol=1e-4)


def test_the_network_of_the_lowest_selection_is_kept(images, watched):
    seen = {}

    def keep(run, step):
        weight = run.task.head.weight.detach().clone().cpu()
        seen[step] = copies(run.task.network.state_dict()), weight

    watched(NeighborClustering, then=keep)
    clusterer = scan(learning_rate=0.05, n_epochs=4, n_self_labelling_epochs=0).fit(images)
    curve = clusterer.clustering_curve_
    assert len(seen) == 12
    best = curve["step"][1:][curve["selection"][1:].argmin()]
    assert 1 < best < 12, "or it is not seen that the best is kept"
    state, weight = seen[best]
    assert same(clusterer.network_.state_dict(), state)
    np.testing.assert_array_equal(clusterer.coef_, weight)
    assert clusterer.stopped_at_ == 0
    assert len(clusterer.training_curve_["step"]) == 1
    short = NeighborClustering(extractor(), n_clusters=3, n_neighbors=4, n_epochs=4)
    short.set_params(augmentation=None, batch_size=10, learning_rate=0.05).fit(images)
    assert short.stopped_at_ == best


def test_a_selection_looks_at_few_of_many_images(digits, watched, monkeypatch):
    monkeypatch.setattr(_semantic, "N_SELECTING", 20)
    monkeypatch.setattr(_semantic, "N_SELECTING_NEIGHBORS", 2)
    runs = []
    watched(NeighborClustering, then=lambda run, step: runs.append((run, eval_logits(run))))

    def eval_logits(run):
        return run.task._eval_logits(np.arange(len(run.task.images))).detach().cpu().numpy()

    clusterer = scan(n_epochs=1, n_neighbors=6, batch_size=50, n_self_labelling_epochs=0)
    curve = clusterer.fit(digits[0]).clustering_curve_
    for index, (run, logits) in enumerate(runs):
        shares = softmax(logits.astype(np.float64))
        assert len(set(run.task.selecting)) == 20
        near = run.task.neighbors[:, 1:3]
        pairs = [shares[i] @ shares[j] for i in run.task.selecting for j in near[i]]
        mean = shares[run.task.selecting].mean(0)
        np.testing.assert_allclose(curve["consistency"][1 + index], -np.mean(np.log(pairs)), 1e-4)
        np.testing.assert_allclose(curve["entropy"][1 + index], -mean @ np.log(mean), 1e-4)


@pytest.mark.parametrize("augmentation", [None, "strong"])
@pytest.mark.parametrize("n_epochs", [0, 2])
@pytest.mark.parametrize("trainable", ["head", "last", "all"])
def test_what_is_trained(trainable, n_epochs, augmentation, images):
    clusterer = scan(trainable=trainable, n_self_labelling_epochs=n_epochs)
    clusterer.set_params(augmentation=augmentation).fit(images)
    before = untrained(clusterer, images).network_.state_dict()
    after = copies(clusterer.network_.state_dict())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if name.endswith(STATISTICS)}
    if trainable == "head":
        assert not changed
        # rows of 2 or more go the same way through the network
        np.testing.assert_array_equal(
            clusterer.transform(images), clone(clusterer.extractor).fit_transform(images)
        )
    elif trainable == "last":
        assert changed == {name for name in before if name.startswith("layer4.")} - statistics
    else:
        assert changed == set(before)
    assert not clusterer.network_.training
    assert not any(value.requires_grad for value in clusterer.network_.parameters())
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(SEED, "head"))
        head = nn.Linear(32, 3)
    assert not np.allclose(clusterer.coef_, head.weight.detach(), atol=1e-3)


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_self_labelling_needs_an_image_that_is_sure(trainable, images, watched):
    steps = watched(SCAN)
    clusterer = scan(trainable=trainable, threshold=0.999999, learning_rate=1e-6)
    with pytest.raises(
        ValueError, match=r"threshold=0.999999, .* is 0\.\d+\. Lower threshold"
    ) as e:
        clusterer.fit(images)
    assert "n_self_labelling_epochs=0" in str(e.value)
    assert not steps
    assert not hasattr(clusterer, "extractor_")
    clusterer.set_params(n_self_labelling_epochs=0).fit(images)
    assert clusterer.stopped_at_ == 0


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_a_step_without_a_sure_image_changes_no_weight(trainable, images, monkeypatch):
    losses, weights, plain = [], [], _scan.SelfLabellingTask.loss

    def spy(self, step):
        weights.append(copies(self.trained))
        loss = plain(self, step)
        # an earlier step has given momentum to what follows
        losses.append(loss if step != 1 else None)
        return losses[-1]

    monkeypatch.setattr(_scan.SelfLabellingTask, "loss", spy)
    clusterer = scan(trainable=trainable, weight_decay=0.5, self_labelling_batch_size=6)
    clusterer.set_params(threshold=0.2, n_self_labelling_epochs=1).fit(images)
    assert [loss is None for loss in losses] == [False, True, False, False, False]
    assert len(weights[0]) == 2 if trainable == "head" else len(weights[0]) > 4
    for step in range(4):
        assert same(weights[step], weights[step + 1]) == (step == 1)
    curve = clusterer.training_curve_["loss"]
    np.testing.assert_array_equal(np.isnan(curve), [True, False, True, False, False, False])


def test_a_step_is_left_out_if_no_image_of_it_is_sure(images, monkeypatch):
    losses, heads, plain = [], [], _scan.SelfLabellingTask.loss

    def spy(self, step):
        heads.append(self.head.weight.detach().clone())
        losses.append(plain(self, step))
        return losses[-1]

    monkeypatch.setattr(_scan.SelfLabellingTask, "loss", spy)
    first = scan(trainable="head", n_self_labelling_epochs=0).fit(images)
    surest = np.sort(first.predict_proba(images).max(1))
    limit = float((surest[-1] + surest[-2]) / 2)  # one image is sure
    clusterer = scan(trainable="head", learning_rate=1e-2, self_labelling_batch_size=3)
    clusterer.set_params(n_self_labelling_epochs=1, threshold=limit).fit(images)
    steps = [loss is not None for loss in losses]
    assert 1 <= sum(steps) < 10
    assert (clusterer.training_curve_["confident"][1:] > 0).tolist() == steps
    assert clusterer.training_curve_["confident"][0] == pytest.approx(1 / 30)
    for step in range(9):
        assert torch.equal(heads[step], heads[step + 1]) != steps[step]


def test_labels_come_of_images_and_are_learned_from_views(images, monkeypatch):
    """Of images as they are, in training mode; views have another look."""
    views, losses, plain_loss = Views(), [], _scan.self_labelling_loss

    def inverted(batch, generator):
        views.seen.append(batch.clone().cpu())
        return 1 - batch.float()

    def spy(weak, strong, threshold):
        logits = (rows.detach().clone().cpu() for rows in (weak, strong))
        losses.append((*logits, weak.requires_grad))
        return plain_loss(weak, strong, threshold)

    monkeypatch.setattr(_scan, "self_labelling_loss", spy)
    clusterer = scan(trainable="head", augmentation=inverted, n_self_labelling_epochs=1)
    clusterer.fit(images)
    indices = BatchSampler(30, 15, SEED)(0)
    np.testing.assert_allclose(views.seen[-2][:, 0], images[indices], atol=1e-6)
    head = nn.Linear(32, 3).requires_grad_(False)
    inner = scan(trainable="head", augmentation=inverted, n_self_labelling_epochs=0).fit(images)
    head.weight.copy_(torch.from_numpy(inner.coef_))
    head.bias.copy_(torch.from_numpy(inner.intercept_))
    weak, strong, has_gradient = losses[0]
    assert not has_gradient
    fitted = extractor().fit(images)
    for found, batch in ((weak, images[indices]), (strong, 1 - images[indices])):
        expected = head(torch.from_numpy(fitted.transform(batch)))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weak, strong, atol=1e-3)


def test_self_labelling_sees_batches_in_training_mode(images, monkeypatch):
    modes, plain = [], CutNetwork.trained_part

    def spy(self, hidden):
        modes.append(self.network.training)
        return plain(self, hidden)

    first = {}
    original = _scan.SelfLabellingTask.loss

    def loss(self, step):
        if not first:
            monkeypatch.setattr(CutNetwork, "trained_part", spy)
            first[step] = True
            value = original(self, step)
            monkeypatch.setattr(CutNetwork, "trained_part", plain)
            return value
        return original(self, step)

    monkeypatch.setattr(_scan.SelfLabellingTask, "loss", loss)
    scan(trainable="all").fit(images)
    assert modes == [True, True]


def test_scan_finds_digits(digits):
    rows, labels = digits
    clusterer = scan(
        extractor=extractor(partial(small_cnn, width=8, image_size=8)),
        n_neighbors=20,
        n_epochs=12,
        batch_size=50,
        learning_rate=3e-3,
        threshold=0.6,
        self_labelling_batch_size=75,
    )
    found = clusterer.fit_predict(rows)
    assert adjusted_rand_score(labels, found) > 0.5
    assert (clusterer.training_curve_["confident"] > 0).all()


# Clusters without images


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


# Broken-off fits


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


# The detector


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
