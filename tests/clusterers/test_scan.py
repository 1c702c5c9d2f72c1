"""SCAN against plain loops: clustering and self-labelling."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from torch import nn

from skad import (
    SCAN,
)
from skad._random import torch_seed
from skad.backbones import small_cnn
from skad.clusterers import _scan, _semantic
from skad.clusterers._semantic import NeighborClustering, draw_neighbors
from skad.networks._cut import CutNetwork
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.clusterers.common import (
    NET,
    SEED,
    Views,
    copies,
    extractor,
    nearest,
    same,
    scan,
    untrained,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


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
