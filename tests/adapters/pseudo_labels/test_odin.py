"""Outputs of PseudoLabelAdapter: features, logits, ODIN."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import spearmanr

from skad import (
    ConfidenceScorer,
)
from skad.adapters import _pseudo_labels
from skad.adapters._odin import odin_logits
from skad.training import _run as _run
from tests.adapters.pseudo_labels.common import (
    copies,
    prepared,
    pseudo,
    same,
    weights_of,
)


def test_outputs(images, others):
    fitted = {name: pseudo(output=name).fit(images) for name in ("features", "logits", "odin")}
    found = {name: adapter.transform(others) for name, adapter in fitted.items()}
    assert {name: rows.shape for name, rows in found.items()} == {
        "features": (12, 32),
        "logits": (12, 3),
        "odin": (12, 3),
    }
    assert all(rows.dtype == np.float32 for rows in found.values())
    assert same(weights_of(fitted["features"]), weights_of(fitted["odin"]))
    adapter = fitted["features"]
    expected = found["features"] @ adapter.coef_.T + adapter.intercept_
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["features"], adapter.extractor_.transform(others))
    names = adapter.get_feature_names_out()
    assert len(names) == 32
    assert names.tolist() == adapter.extractor_.get_feature_names_out().tolist()
    for name in ("logits", "odin"):
        assert fitted[name].get_feature_names_out().tolist() == ["logit_0", "logit_1", "logit_2"]
    table = fitted["odin"].set_output(transform="pandas").transform(others)
    assert table.columns.tolist() == ["logit_0", "logit_1", "logit_2"]


@pytest.mark.parametrize("output", ["features", "logits", "odin"])
def test_flat_rows_are_images_too(output, images, others):
    rows = [(16 * given).reshape(len(given), -1) for given in (images, others)]
    found = pseudo(output=output).fit(rows[0])
    assert found.n_features_in_ == 64
    expected = pseudo(output=output).fit(images)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert found.transform(rows[1]).shape == expected.transform(others).shape


# ODIN


def slow_odin(adapter, images):
    """One image at a time."""
    extractor = adapter.extractor_
    network = copy.deepcopy(extractor.network_).cpu()
    weight, bias = torch.from_numpy(adapter.coef_), torch.from_numpy(adapter.intercept_)
    std, rows = torch.tensor(extractor.preprocessing_.std), []

    def logits_of(image):
        return (network(image.clone()) @ weight.T + bias)[0] / adapter.temperature

    for image in prepared(extractor, images):
        image = image[None].clone().requires_grad_(True)
        logits = logits_of(image)
        loss = -logits.log_softmax(0)[logits.argmax()]
        (gradient,) = torch.autograd.grad(loss, image)
        with torch.no_grad():
            moved = image.clone()
            for channel in range(moved.shape[1]):
                signs = torch.where(gradient[0, channel] >= 0, 1.0, -1.0)
                moved[0, channel] -= adapter.perturbation / std[channel] * signs
            rows.append(logits_of(moved))
    return torch.stack(rows).numpy()


def with_parameters(adapter, **parameters):
    """The same network, as if it had been fitted with other parameters of `transform`."""
    adapter = copy.deepcopy(adapter).set_params(**parameters)
    adapter._output = adapter.output
    adapter._odin = {name: getattr(adapter, name) for name in ("perturbation", "temperature")}
    return adapter


@pytest.mark.parametrize(
    ("perturbation", "temperature"), [(0.0014, 1000.0), (0.05, 1.0), (0.02, 10), (0, 1000)]
)
def test_odin_is_that_of_one_image_at_a_time(perturbation, temperature, odin, colored):
    adapter = with_parameters(odin, perturbation=perturbation, temperature=temperature)
    found = adapter.transform(colored) * temperature
    np.testing.assert_allclose(
        found, slow_odin(adapter, colored) * temperature, rtol=1e-4, atol=1e-4
    )
    plain = with_parameters(odin, output="logits").transform(colored)
    moved = np.abs(found - plain).max()
    assert moved < 1e-5 if perturbation == 0 else moved > perturbation / 10


def test_without_moving_or_temperature_odin_is_the_plain_baseline(odin, colored):
    still = with_parameters(odin, perturbation=0, temperature=1.0)
    logits = with_parameters(odin, output="logits").transform(colored)
    np.testing.assert_allclose(still.transform(colored), logits, rtol=1e-5, atol=1e-5)
    scores = [
        ConfidenceScorer().fit(r).score_samples(r) for r in (still.transform(colored), logits)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(expit(scores[0]), shares.max(1), rtol=1e-4)


def test_odin_steps_in_pixels(odin, colored, monkeypatch):
    """By the standard deviation of each channel."""
    seen = []

    class Stop(Exception):
        pass

    def spy(logits_of, images, step, temperature):
        seen.append((images.cpu(), step.cpu(), temperature))
        raise Stop

    monkeypatch.setattr(_pseudo_labels, "odin_logits", spy)
    with pytest.raises(Stop):
        with_parameters(odin, perturbation=0.06, temperature=7.0).transform(colored)
    images, step, temperature = seen[0]
    torch.testing.assert_close(images, prepared(odin.extractor_, colored))
    assert step.shape == (3, 1, 1)
    np.testing.assert_allclose(step.flatten(), [0.6, 0.2, 0.1], rtol=1e-6)
    assert temperature == 7


@pytest.mark.parametrize("perturbation", [1e-3, 1e-2])
def test_moved_images_are_no_less_sure(perturbation, odin, colored):
    def confidence(epsilon):
        adapter = with_parameters(odin, perturbation=epsilon, temperature=1.0)
        return ConfidenceScorer().fit(rows := adapter.transform(colored)).score_samples(rows)

    gain = confidence(perturbation) - confidence(0)
    assert gain.mean() > 0
    assert (gain > -1e-4).mean() > 0.8


def test_a_gradient_of_zero_moves_as_a_positive_one():
    """As in the official code."""
    images = torch.zeros(2, 1, 2, 2)
    step = torch.full((1, 1, 1), 0.25)
    seen = []

    def logits_of(batch):
        seen.append(batch.detach().clone())
        first = batch[:, 0, 0]  # the other row has no gradient
        return torch.stack([first.sum(1) + 1, -first.sum(1)], dim=1)

    found = odin_logits(logits_of, images, step, 2.0)
    assert torch.equal(seen[1][0, 0], torch.tensor([[0.25, 0.25], [-0.25, -0.25]]))
    assert torch.equal(found, torch.tensor([[1.5, -0.5]] * 2) / 2)
    assert not found.requires_grad
    assert not images.requires_grad
    assert torch.equal(images, torch.zeros(2, 1, 2, 2))


@pytest.mark.parametrize("kind", ["eval", "train"])
def test_odin_leaves_the_network_alone(kind, images, others):
    adapter = pseudo(output="odin", batch_norm=kind, perturbation=0.1).fit(images)
    before = copies(adapter.network_.state_dict())
    first = adapter.transform(others)
    assert same(copies(adapter.network_.state_dict()), before)
    assert not adapter.network_.training
    for value in adapter.network_.parameters():
        assert value.grad is None
        assert not value.requires_grad
    np.testing.assert_array_equal(adapter.transform(others), first)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_odin_is_the_same_in_every_mode_of_torch(context, odin, colored):
    expected = odin.transform(colored)
    with context():
        found = odin.transform(colored)
    np.testing.assert_array_equal(found, expected)


def test_odin_does_not_depend_on_the_batch(odin, colored):
    adapter = with_parameters(odin, perturbation=0.02, temperature=1.0)
    whole = adapter.transform(colored)
    alone = np.concatenate([adapter.transform(colored[i : i + 1]) for i in range(len(colored))])
    np.testing.assert_allclose(alone, whole, rtol=1e-4, atol=1e-4)
    for size in (1, 4, 13):
        adapter.extractor_.batch_size = size
        np.testing.assert_allclose(adapter.transform(colored), whole, rtol=1e-4, atol=1e-4)


def test_at_a_high_temperature_odin_ranks_by_the_margin_to_the_mean(odin, colored):
    adapter = with_parameters(odin, temperature=1000.0, perturbation=0.01)
    rows = adapter.transform(colored)
    scores = ConfidenceScorer().fit(rows).score_samples(rows)
    moved = rows.astype(np.float64) * 1000  # the logits of the moved images
    margin = moved.max(1) - moved.mean(1)
    assert spearmanr(scores, margin).statistic > 0.999
    assert np.ptp(margin) > 0.1
