"""SelfSupervisedAdapter: views, negatives, targets, its losses."""

import math
import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skad import (
    NSA,
    SelfSupervisedAdapter,
)
from skad._random import torch_stream
from skad.adapters import _self_supervised
from skad.adapters._plans import cosine_decay, step_decay
from skad.augment import ContrastiveAugmentation
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.adapters.from_scratch.common import (
    NET,
    Keep,
    autoencoder,
    rotation,
    siamese,
    svdd,
    untrained,
)


def test_turned_images_are_images_of_their_own(zeros, losses):
    keep = Keep()
    adapter = siamese(
        "simclr", negatives="rotation", augmentation=keep, batch_size=20, temperature=0.3
    ).fit(zeros)
    sampler = BatchSampler(len(zeros), 5, _seed_of(0), fewest=2)
    assert len(keep.seen) == len(losses) == adapter.n_steps
    for step, (batch, (first, second, temperature)) in enumerate(zip(keep.seen, losses)):
        assert len(batch) == 8 * 5
        quarters = batch.numpy().reshape(8, 5, 8, 8)
        expected = zeros[sampler(step)].astype(np.float32)
        for k in range(8):
            np.testing.assert_array_equal(quarters[k], np.rot90(expected, k, axes=(1, 2)))
        assert first.shape == second.shape == (4 * 5, 16)
        assert temperature == 0.3
        # rows are positives of those of the same image and rotation: here they are alike
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
        cosines = torch.corrcoef(first)
        assert float(cosines[0, 5:].max()) < 0.9999


def _seed_of(random_state):
    return int(np.random.RandomState(random_state).randint(2**31))


def test_without_rotations_each_image_has_two_views(zeros, losses):
    keep = Keep()
    siamese("simclr", augmentation=keep, batch_size=10).fit(zeros)
    assert [len(batch) for batch in keep.seen] == [20] * 4
    assert [len(first) for first, _, _ in losses] == [10] * 4


@pytest.mark.parametrize(("batch_size", "n_images"), [(2, 2), (7, 2), (12, 3)])
def test_turned_images_count_for_the_batch(batch_size, n_images, zeros, losses):
    siamese("simclr", negatives="rotation", batch_size=batch_size, n_steps=1).fit(zeros[:6])
    assert len(losses[0][0]) == 4 * n_images


@pytest.mark.parametrize("objective", ["simsiam", "byol"])
def test_negatives_need_an_objective_that_has_some(objective, zeros):
    message = f"negatives='rotation' needs .* objective='simclr'; got '{objective}'"
    for estimator in (
        siamese(objective, negatives="rotation"),
        NSA(NET, objective=objective, negatives="rotation", n_steps=1),
    ):
        with pytest.raises(ValueError, match=f"SelfSupervisedAdapter: {message}"):
            estimator.fit(zeros)


def test_images_of_any_shape_are_turned(colored, losses):
    wide, keep = colored[:, :12], Keep()
    siamese("simclr", negatives="rotation", augmentation=keep, batch_size=16, n_steps=1).fit(wide)
    assert keep.seen == [([(3, 12, 16)] * 4 + [(3, 16, 12)] * 4) * 4]
    listed = [image[: 10 + i] if i % 2 else image[..., 0] for i, image in enumerate(colored)]
    for images in (wide, listed):
        plain = siamese("simclr", negatives="rotation", batch_size=16, n_steps=2).fit(images)
        assert np.isfinite(plain.transform(images)).all()
        assert {len(first) for first, _, _ in losses} == {16}


# Arithmetic of the objectives


def test_decays():
    rates = [cosine_decay(0.2, 8)(step) for step in (0, 2, 4, 8)]
    np.testing.assert_allclose(rates, [0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0], atol=1e-16)
    rates = [step_decay(0.2, 7, 5 / 7)(step) for step in range(7)]
    np.testing.assert_allclose(rates, [0.2] * 5 + [0.02] * 2)
    assert step_decay(0.2, 7, 0)(0) == 0.02
    assert step_decay(0.2, 7, 1)(6) == 0.2


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (siamese, [cosine_decay(0.01, 4)(step) for step in range(4)]),
        (rotation, [cosine_decay(0.01, 4)(step) for step in range(4)]),
        (partial(autoencoder, decay_at=0.5), [0.01, 0.01, 0.001, 0.001]),
        (partial(svdd, decay_at=0.25), [0.01, 0.001, 0.001, 0.001]),
    ],
    ids=["siamese", "rotation", "autoencoder", "svdd"],
)
def test_rates_decay_in_training(make, expected, zeros, watched):
    rates, adapter = [], make()
    watched(type(adapter), then=lambda run, _: rates.append(run.optimizer.param_groups[0]["lr"]))
    adapter.fit(zeros)
    np.testing.assert_allclose(rates, expected)


@pytest.mark.parametrize(("momentum", "n_steps"), [(0.9, 4), (0.0, 3), (0.996, 1)])
def test_byols_target_is_a_moving_average(momentum, n_steps, zeros, watched, monkeypatch):
    states = []

    def keep(run, step=0):
        online = run.task.trained
        pairs = [(t, online[name]) for name, t in run.task.target.named_parameters()]
        assert {id(target) for target, _ in pairs}.isdisjoint(map(id, online.values()))
        assert not any(target.requires_grad for target, _ in pairs)
        states.append([(t.detach().clone(), o.detach().clone()) for t, o in pairs])

    class Spy(_self_supervised.AgreementTask):
        def measures(self):
            if not states:  # before the first step
                keep(SimpleNamespace(task=self))
            return super().measures()

    monkeypatch.setattr(_self_supervised, "AgreementTask", Spy)
    watched(SelfSupervisedAdapter, then=keep)
    adapter = siamese("byol", target_momentum=momentum, n_steps=n_steps, learning_rate=0.1)
    adapter.fit(zeros)
    n_parameters = len(list(adapter.network_.parameters()))
    assert len(states) == n_steps + 1
    assert len(states[0]) == n_parameters + 5  # two linear maps, one with bias; BatchNorm
    for target, online in states[0]:
        assert torch.equal(target, online)
    for step in range(1, n_steps + 1):
        rest = (1 - momentum) * (1 + math.cos(math.pi * step / n_steps)) / 2
        for (before, _), (after, online) in zip(states[step - 1], states[step]):
            expected = (1 - rest) * before.double() + rest * online.double()
            torch.testing.assert_close(after.double(), expected, rtol=1e-5, atol=1e-6)
    still = [torch.equal(t, first) for (t, _), (first, _) in zip(states[-1], states[0])]
    assert all(still) if n_steps == 1 else not any(still)  # the last step leaves it as it is


@pytest.mark.parametrize("objective", ["simsiam", "simclr", "byol"])
@pytest.mark.parametrize("normalize", [True, False])
def test_normalised_projections_do_not_depend_on_lengths(objective, normalize):
    generator = torch.Generator().manual_seed(0)
    features, weight = (torch.randn(shape, generator=generator) for shape in ((6, 5), (4, 5)))
    task = SimpleNamespace(settings=siamese(objective, normalize=normalize))

    def projected(feature_scale=1.0, projector_scale=1.0):
        return _self_supervised.AgreementTask._head(
            task, feature_scale * features, lambda rows: projector_scale * (rows @ weight.T + 0.3)
        )

    plain, scaled = projected(), projected(feature_scale=7.0)
    assert torch.allclose(plain, scaled, rtol=1e-4, atol=1e-5) == normalize
    second = normalize and objective != "simclr"
    longer = projected(projector_scale=3.0)
    assert torch.allclose(plain, longer, rtol=1e-4, atol=1e-5) == second
    lengths = plain.norm(dim=1)
    assert torch.allclose(lengths, torch.ones(6), atol=1e-5) == second
    rows = features.numpy().astype(np.float64)
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = rows @ weight.numpy().T.astype(np.float64) + 0.3
    if second:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
def test_simsiams_loss_is_that_of_the_book(normalize, zeros, monkeypatch):
    """The first loss, from the network and heads by hand."""
    found = {}

    class Spy(_self_supervised.AgreementTask):
        def __init__(self, *given):
            super().__init__(*given)
            parts = {"projector": self.projector, "predictor": self.predictor}
            found.update(pickle.loads(pickle.dumps(parts)))

    monkeypatch.setattr(_self_supervised, "AgreementTask", Spy)
    parameters = siamese(
        normalize=normalize, augmentation=ContrastiveAugmentation(8), n_steps=1
    ).get_params(deep=False)
    adapter = SelfSupervisedAdapter(**parameters).fit(zeros)
    network = untrained(adapter, zeros).train()
    for head in found.values():
        head.cpu().train()
    batch = torch.from_numpy(zeros[BatchSampler(20, 10, _seed_of(0))(0)]).float()[:, None]
    generator = torch_stream(_seed_of(0), "views", 0)
    views = ContrastiveAugmentation(8)(torch.cat([batch] * 2), generator)
    views = (views.expand(-1, 3, -1, -1) - 0.5) / 0.25
    rows = []
    for view in views.chunk(2):
        y = network(view)
        if normalize:
            y = y / y.norm(dim=1, keepdim=True)
        z = found["projector"](y)
        if normalize:
            z = z / z.norm(dim=1, keepdim=True)
        rows.append((z, found["predictor"](z)))
    (z1, p1), (z2, p2) = rows
    expected = -(torch.cosine_similarity(p1, z2) + torch.cosine_similarity(p2, z1)).mean() / 2
    assert adapter.training_curve_["loss"][1] == pytest.approx(float(expected.detach()), rel=1e-4)
