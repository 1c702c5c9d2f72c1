"""PseudoLabelAdapter against plain loops; averages of weights."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from skad import (
    PseudoLabelAdapter,
)
from skad._random import torch_seed
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.adapters.pseudo_labels.common import (
    SEED,
    Given,
    assert_close,
    copies,
    extractor,
    prepared,
    pseudo,
    same,
    weights_of,
)

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def untrained(adapter, images):
    """With the network on the CPU, where slow trainings go on from it."""
    fitted = clone(adapter.extractor).fit(images)
    fitted.network_.cpu()
    return fitted


def first_head(n_features, n_classes):
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(SEED, "head"))
        return nn.Linear(n_features, n_classes)


# The training


def slow_training(adapter, images, labels):
    """Cross-entropy and Adam, written out; the weights at the end of each epoch."""
    fitted = untrained(adapter, images)
    x, labels = prepared(fitted, images), torch.as_tensor(labels)
    network = fitted.network_.requires_grad_(True)
    head = first_head(network(x[:1].clone()).shape[1], len(set(labels[labels >= 0].tolist())))
    both = nn.ModuleDict({"network": network.eval(), "head": head})
    values = list(both.parameters())
    means, squares = ([torch.zeros_like(v) for v in values] for _ in range(2))
    batch_of = BatchSampler(len(x), adapter.batch_size, SEED)
    n_steps, n_taken, ends, losses = adapter.n_epochs * batch_of.n_batches, 0, [], []
    for step in range(n_steps):
        indices = [i for i in batch_of(step) if labels[i] >= 0]
        total = torch.zeros(())
        for i in indices:
            total = total - head(network(x[i : i + 1].clone())).log_softmax(1)[0, labels[i]]
        wave = (1 + math.cos(math.pi * step / n_steps)) / 2
        rate = adapter.final_learning_rate
        rate += (adapter.learning_rate - adapter.final_learning_rate) * wave
        if indices:
            losses.append(float(total.detach()) / len(indices))
            gradients, n_taken = torch.autograd.grad(total / len(indices), values), n_taken + 1
            for value, mean, square, gradient in zip(values, means, squares, gradients):
                with torch.no_grad():
                    gradient = gradient + adapter.weight_decay * value
                    mean.mul_(0.9).add_(0.1 * gradient)
                    square.mul_(0.999).add_(0.001 * gradient**2)
                    size = (square / (1 - 0.999**n_taken)).sqrt() + 1e-8
                    value.sub_(rate * mean / (1 - 0.9**n_taken) / size)
        else:
            losses.append(math.nan)
        if (step + 1) % batch_of.n_batches == 0:
            ends.append(copies(both.state_dict()))
    return ends, losses


def mean_of(states):
    return {
        name: sum(state[name] for state in states) / len(states)
        if states[0][name].is_floating_point()
        else states[-1][name]
        for name in states[0]
    }


@pytest.mark.parametrize(
    ("averaged", "epochs"), [("all", [1, 2, 3]), ("last", [3]), ([2], [2]), ([3, 1], [1, 3])]
)
def test_training_is_that_of_a_plain_loop(averaged, epochs, images, classes):
    adapter = pseudo(averaged_epochs=averaged, weight_decay=1e-2)
    adapter.fit(images, class_labels=classes)
    ends, losses = slow_training(adapter, images, classes)
    expected = mean_of([ends[epoch - 1] for epoch in epochs])
    # Adam takes a step of full length where a gradient is next to nothing.
    assert_close(weights_of(adapter), expected, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3, atol=1e-5)
    for other in ends:
        far = (other["network.layer4.0.weight"] - expected["network.layer4.0.weight"]).abs().max()
        assert far > 1e-3 or len(epochs) == 1


def test_training_may_begin_with_discriminant_analysis(images, classes):
    kept = {"first_head": "discriminant", "trainable": "head", "learning_rate": 1e-12}
    labels = np.where(np.arange(len(images)) % 7 == 0, -1, classes)
    adapter = pseudo(Given(labels), **kept | {"final_learning_rate": 0.0}, output="logits")
    logits = adapter.fit(images).transform(images)
    features = extractor().fit_transform(images).astype(np.float64)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    analysis.fit(features[labels != -1], labels[labels != -1])
    expected = analysis.decision_function(features)
    np.testing.assert_allclose(logits, expected, atol=1e-3 * np.abs(expected).max())


def test_noise_is_no_part_of_the_loss(images, classes):
    labels = np.where(np.arange(30) % 3 == 0, -1, classes)
    adapter = pseudo(Given(labels)).fit(images)
    ends, losses = slow_training(adapter, images, labels)
    assert_close(weights_of(adapter), mean_of(ends), rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(adapter.labels_, labels)
    np.testing.assert_array_equal(adapter.classes_, [0, 1, 2])


@pytest.mark.parametrize("is_noise", [True, False])
def test_what_noise_shows_is_of_no_account(is_noise, images, classes):
    """If BatchNorm keeps its statistics."""
    labels = classes.copy()
    labels[:6] = -1
    changed = images.copy()
    indices = slice(0, 6) if is_noise else slice(6, 12)
    changed[indices] = 1 - images[indices]
    one, other = (weights_of(pseudo(Given(labels)).fit(given)) for given in (images, changed))
    if is_noise:
        assert_close(one, other, rtol=0, atol=1e-5)
    else:
        assert not torch.allclose(one["head.weight"], other["head.weight"], atol=1e-3)


def test_a_step_of_noise_alone_is_left_out(images, classes, watched):
    labels = np.where(np.arange(30) % 2 == 0, -1, classes)
    weights = {}

    def keep(run, step):
        weights[step] = copies(run.task.trained)

    watched(PseudoLabelAdapter, then=keep)
    adapter = pseudo(Given(labels), batch_size=1, weight_decay=0.5, n_epochs=1).fit(images)
    is_noise = [bool(labels[BatchSampler(30, 1, SEED)(step)][0] == -1) for step in range(30)]
    assert 5 < sum(is_noise) < 25
    for step in range(1, 30):
        assert same(weights[step], weights[step + 1]) == is_noise[step]
    assert np.isnan(adapter.training_curve_["loss"][1:]).tolist() == is_noise


def test_averages_are_of_single_epochs(images):
    fit = {epochs: weights_of(pseudo(averaged_epochs=e).fit(images)) for epochs, e in EPOCHS}
    single = [fit["1"], fit["2"], fit["3"]]
    assert_close(fit["all"], mean_of(single), rtol=1e-6, atol=1e-6)
    assert_close(fit["one and two"], mean_of(single[:2]), rtol=1e-6, atol=1e-6)
    assert same(fit["last"], fit["3"])
    for epochs in "12":
        assert not torch.allclose(fit[epochs]["head.weight"], fit["3"]["head.weight"], atol=1e-3)


EPOCHS = [("all", "all"), ("last", "last"), ("1", [1]), ("2", (2,)), ("3", np.array([3]))]
EPOCHS += [("one and two", [2, 1, 2])]


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_the_average_of_what_does_not_move_is_the_same(batch_norm, images):
    adapter = pseudo(learning_rate=1e-30, final_learning_rate=0.0, batch_norm=batch_norm)
    adapter.fit(images)
    before = untrained(adapter, images).network_
    found = copies(adapter.network_.state_dict())
    for name, value in before.named_parameters():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-25)
    head = first_head(32, 3)
    np.testing.assert_array_equal(adapter.coef_, head.weight.detach())
    np.testing.assert_array_equal(adapter.intercept_, head.bias.detach())


@pytest.mark.parametrize("augmentation", [None, "mild"])
@pytest.mark.parametrize("trainable", ["all", "last", "head"])
def test_statistics_stay_in_evaluation_mode(trainable, augmentation, images):
    adapter = pseudo(trainable=trainable, augmentation=augmentation).fit(images)
    before, after = (
        copies(m.state_dict()) for m in (untrained(adapter, images).network_, adapter.network_)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if name.endswith(STATISTICS)}
    expected = {"head": "nothing", "last": "layer4.", "all": "layer"}[trainable]
    assert changed == {name for name in before if name.startswith(expected)} - statistics
    assert not np.allclose(adapter.coef_, first_head(32, 3).weight.detach(), atol=1e-3)


def test_statistics_are_learned_and_averaged_from_scratch(images, watched):
    ends = []

    def keep(run, step):
        if step % 3 == 0:
            ends.append(copies(run.task.network.state_dict()))

    watched(PseudoLabelAdapter, then=keep)
    adapter = pseudo(batch_norm="train", averaged_epochs=[1, 3]).fit(images)
    found = copies(adapter.network_.state_dict())
    assert_close(found, mean_of([ends[0], ends[2]]), rtol=1e-6, atol=1e-6)
    before = untrained(adapter, images).network_.state_dict()
    assert not any(torch.equal(before[name], found[name]) for name in before)
    assert not adapter.network_.training


def test_the_rate_falls_along_half_a_cosine(images, watched):
    rates = []
    watched(
        PseudoLabelAdapter,
        then=lambda run, step: rates.extend(group["lr"] for group in run.optimizer.param_groups),
    )
    pseudo(learning_rate=1e-3, final_learning_rate=1e-4, n_epochs=4).fit(images)
    at = np.arange(12) / 12
    np.testing.assert_allclose(rates, 1e-4 + 9e-4 * (1 + np.cos(np.pi * at)) / 2)
    assert rates[0] == 1e-3
    assert (np.diff(rates) < 0).all()


def test_mild_views_are_what_is_learned_from(images):
    seen = []

    def view(batch, generator):
        seen.append((batch.clone().cpu(), generator.initial_seed()))
        return batch.float()

    adapter = pseudo(augmentation=view).fit(images)
    plain = pseudo().fit(images)
    assert_close(weights_of(adapter), weights_of(plain), rtol=1e-3, atol=2e-4)
    assert len(seen) == 9
    assert len({seed for _, seed in seen}) == 9
    batch_of = BatchSampler(30, 10, SEED)
    for step, (batch, _) in enumerate(seen):
        np.testing.assert_allclose(batch[:, 0], images[batch_of(step)], atol=1e-6)
    mild = weights_of(pseudo(augmentation="mild").fit(images))
    assert not torch.allclose(mild["head.weight"], weights_of(plain)["head.weight"], atol=1e-3)


def test_a_stop_at_collapse_is_without_an_average(images, watched):
    weights = {}
    watched(
        PseudoLabelAdapter,
        then=lambda run, step: weights.update({step: copies(run.start.cut.parameters)}),
    )
    adapter = pseudo(collapse_limit=0.999, stop_at_collapse=True, learning_rate=0.1).fit(images)
    assert adapter.collapsed_at_ is not None
    stopped_at = adapter.stopped_at_
    assert stopped_at < adapter.collapsed_at_
    found = dict(adapter.network_.named_parameters())
    if stopped_at:
        assert same(copies(found), weights[stopped_at])
    else:
        assert same(
            copies(found), copies(dict(untrained(adapter, images).network_.named_parameters()))
        )
