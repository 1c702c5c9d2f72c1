"""Networks trained from scratch: the adapters, and the detectors on them."""

import copy
import math
import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from torch import nn

from skad import (
    NSA,
    AutoencoderAdapter,
    CentroidScorer,
    CollapseWarning,
    DeepSVDD,
    DeepSVDDAdapter,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KNNScorer,
    LogitScorer,
    OneClassKFold,
    RotationAdapter,
    RotationPrediction,
    SelfSupervisedAdapter,
    auroc_scorer,
)
from skad._random import torch_stream
from skad.adapters import _rotation, _self_supervised
from skad.adapters._autoencoder import pixels
from skad.adapters._base import BaseAdapter
from skad.adapters._deep_svdd import away_from_zero
from skad.adapters._plans import cosine_decay, step_decay
from skad.adapters._rotation import N_TRANSFORMS, transformed
from skad.augment import ContrastiveAugmentation
from skad.backbones import small_cnn, svdd_mnist, wide_resnet
from skad.networks._preprocessing import preprocess
from skad.training import _run as _run
from skad.training._images import TrainingImages
from skad.training._loop import TrainingError
from skad.training._order import BatchSampler
from skad.training._watch import CollapseWatch

NET = partial(small_cnn, width=4, image_size=8)
CODER = partial(svdd_mnist, image_size=8, code_dim=16)
DROPPING = partial(wide_resnet, depth=10, widening=1, image_size=8)
HEADS = {"projector_widths": [16, 16], "predictor_widths": [8]}
STEPS = {"n_steps": 4, "batch_size": 10}


def extractor(backbone=NET, **parameters):
    return FeatureExtractor(backbone, weights=None, **parameters)


def siamese(objective="simsiam", **parameters):
    defaults = {"extractor": extractor(), "learning_rate": 1e-2, **STEPS, **HEADS}
    return SelfSupervisedAdapter(**defaults | {"objective": objective} | parameters)


def autoencoder(**parameters):
    defaults = {"extractor": extractor(CODER), "learning_rate": 1e-2, **STEPS}
    return AutoencoderAdapter(**defaults | parameters)


def svdd(**parameters):
    defaults = {"extractor": extractor(CODER), "learning_rate": 1e-2, **STEPS}
    return DeepSVDDAdapter(**defaults | parameters)


def rotation(**parameters):
    defaults = {"extractor": extractor(), "learning_rate": 1e-2, **STEPS}
    return RotationAdapter(**defaults | parameters)


SOFT = {"objective": "soft_boundary", "warm_up_epochs": 0}
KINDS = {
    "simsiam": siamese,
    "simclr": partial(siamese, "simclr"),
    "byol": partial(siamese, "byol"),
    "autoencoder": autoencoder,
    "svdd": svdd,
    "soft svdd": partial(svdd, **SOFT),
    "rotation": rotation,
}
every = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def a_look_after_every_step(monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture(scope="module")
def digits():
    """Images of 8 x 8 pixels in [0, 1], and what they show."""
    rows, labels = load_digits(return_X_y=True)
    return rows.reshape(-1, 8, 8) / 16, labels


@pytest.fixture(scope="module")
def zeros(digits):
    return digits[0][digits[1] == 0][:20]


@pytest.fixture(scope="module")
def others(digits):
    return digits[0][digits[1] != 0][:12]


@pytest.fixture(scope="module")
def colored():
    return np.random.RandomState(0).randint(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def copies(tensors):
    return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def untrained(adapter, images):
    """The network before training, on the CPU."""
    return clone(adapter.extractor).fit(images).network_.cpu()


def prepared(fitted, images):
    """What the network sees of grey images."""
    batch = torch.from_numpy(np.asarray(images, dtype=np.float32))[:, None]
    return preprocess(batch, fitted.preprocessing_, torch.device("cpu"))


class Keep:
    """An augmentation that only keeps the image, and what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch, generator):
        if isinstance(batch, list):
            self.seen.append([tuple(image.shape) for image in batch])
            side = min(min(image.shape[1:]) for image in batch)
            batch = torch.stack([image[:, :side, :side] for image in batch])
        else:
            self.seen.append(batch.clone().cpu())
        batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
        return nn.functional.interpolate(batch, (8, 8))


# Seeds


@pytest.mark.bits
@every
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_state(kind, zeros, others):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = KINDS[kind]().fit(zeros)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    torch.rand(3)
    again = KINDS[kind]().fit(zeros)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    np.testing.assert_array_equal(again.transform(others), first.transform(others))
    assert same(again.network_.state_dict(), first.network_.state_dict())
    other = KINDS[kind](random_state=1).fit(zeros)
    assert not np.allclose(other.transform(others), first.transform(others), rtol=1e-3)


def test_dropout_follows_the_seed_as_well(zeros, others):
    adapter = rotation(extractor=extractor(DROPPING), n_steps=2, output="features")
    torch.manual_seed(1)
    first = clone(adapter).fit(zeros).transform(others)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(clone(adapter).fit(zeros).transform(others), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    without = extractor(partial(DROPPING, dropout=0.0))
    plain = clone(adapter).set_params(extractor=without).fit(zeros).transform(others)
    assert not np.allclose(plain, first, rtol=1e-4)


def test_dropout_differs_between_steps(zeros, monkeypatch):
    masks = []

    plain = _rotation.RotationTask.loss

    def spy(self, step):
        module = self.network.layer1[0].dropout
        hook = module.register_forward_hook(lambda m, i, o: masks.append(o == 0))
        loss = plain(self, step)
        hook.remove()
        return loss

    monkeypatch.setattr(_rotation.RotationTask, "loss", spy)
    made = extractor(DROPPING)
    RotationAdapter(made, n_steps=2, batch_size=20).fit(zeros)
    first, second = masks
    assert 0.25 < float(first.float().mean()) < 0.95
    # what ReLU made zero is random as well, but two equal draws would agree on nearly all
    assert float((first == second).float().mean()) < 0.9


# Broken-off fits

ADAPTERS = {
    "simsiam": SelfSupervisedAdapter,
    "simclr": SelfSupervisedAdapter,
    "byol": SelfSupervisedAdapter,
    "autoencoder": AutoencoderAdapter,
    "svdd": DeepSVDDAdapter,
    "soft svdd": DeepSVDDAdapter,
    "rotation": RotationAdapter,
}


@pytest.mark.bits
@pytest.mark.parametrize("stop_at_collapse", [False, True])
@every
def test_a_broken_fit_goes_on_to_the_same_bits(
    kind, stop_at_collapse, zeros, others, watched, monkeypatch, tmp_path
):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 3)
    ends = []

    def keep(run, step):
        if step == 8:
            ends.append(copies(run.task.state()))

    make = partial(KINDS[kind], n_steps=8, collapse_limit=0.0, stop_at_collapse=stop_at_collapse)
    steps = watched(ADAPTERS[kind], then=keep)
    whole = make().fit(zeros)
    steps.clear()
    steps = watched(ADAPTERS[kind], break_at=5)
    adapter = make(checkpoint=tmp_path / "folder")
    with pytest.raises(KeyboardInterrupt) as caught:
        adapter.fit(zeros)
    assert "fit again with the same parameters" in caught.value.__notes__[0]
    assert not hasattr(adapter, "extractor_")
    assert len(list((tmp_path / "folder").iterdir())) == 1
    steps.clear()
    adapter.fit(zeros)
    assert steps == [4, 5, 6, 7, 8], "from the last look on"
    assert not list((tmp_path / "folder").iterdir())
    assert len(ends) == 2
    assert same(*ends), "of heads, averages and statistics too"
    np.testing.assert_array_equal(adapter.transform(others), whole.transform(others))
    for name, values in whole.training_curve_.items():
        np.testing.assert_array_equal(adapter.training_curve_[name], values)
    if kind == "soft svdd":
        assert adapter.radius_ == whole.radius_ > 0
    if kind == "byol":
        names = [name for name in ends[0] if name.startswith("target.")]
        assert any(name.endswith("running_var") for name in names)
        assert any(name.startswith("target.projector.") for name in names)


@pytest.mark.bits
@pytest.mark.parametrize("objective", ["simsiam", "simclr", "byol"])
def test_layers_of_the_head_survive_a_broken_fit(objective, zeros, watched, tmp_path):
    make = partial(siamese, objective, layers="ensemble")
    whole = make().fit(zeros)
    watched(SelfSupervisedAdapter, break_at=3)
    adapter = make(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    adapter.fit(zeros)
    np.testing.assert_array_equal(adapter.transform(zeros), whole.transform(zeros))


def detectors(**parameters):
    small = {"weights": None, "batch_size": 10, "learning_rate": 1e-2} | parameters
    return {
        "nsa": (NSA(NET, n_steps=4, **HEADS, **small), SelfSupervisedAdapter, KNNScorer),
        "svdd": (
            DeepSVDD(CODER, n_pretraining_epochs=2, n_epochs=2, **small),
            DeepSVDDAdapter,
            CentroidScorer,
        ),
        "rotation": (RotationPrediction(NET, n_steps=4, **small), RotationAdapter, LogitScorer),
    }


every_detector = pytest.mark.parametrize("name", detectors())


@pytest.mark.bits
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@every_detector
def test_a_scorer_that_fails_does_not_lose_the_training(
    name, error, zeros, others, watched, monkeypatch, tmp_path
):
    expected = detectors()[name][0].fit(zeros).score_samples(others)
    detector, kind, scorer = detectors(checkpoint=tmp_path)[name]
    steps, pretraining = watched(kind), watched(AutoencoderAdapter)

    def failing(self, X, y=None):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(scorer, "fit", failing)
        with pytest.raises(error):
            detector.fit(zeros)
    assert not hasattr(detector, "pipeline_")
    n_trainings = 2 if name == "svdd" else 1
    assert (len(steps), len(pretraining)) == (4, 4 if name == "svdd" else 0)
    assert len(list(tmp_path.iterdir())) == n_trainings
    steps.clear()
    pretraining.clear()
    clone(detector).fit(zeros.copy())
    assert not steps
    assert not pretraining
    assert not list(tmp_path.iterdir())
    detector.fit(zeros)  # nothing being left, it trains again
    assert len(steps) == 4
    np.testing.assert_array_equal(detector.score_samples(others), expected)


@pytest.mark.bits
def test_what_is_found_after_a_failed_scorer_is_the_training(zeros, others, monkeypatch, tmp_path):
    for name in detectors():
        expected = detectors()[name][0].fit(zeros)
        detector, _, scorer = detectors(checkpoint=tmp_path)[name]
        with monkeypatch.context() as patch:
            patch.setattr(scorer, "fit", None)
            with pytest.raises(TypeError):
                detector.fit(zeros)
        detector.fit(zeros)
        np.testing.assert_array_equal(
            detector.score_samples(others), expected.score_samples(others)
        )
        for measure, values in expected.training_curve_.items():
            np.testing.assert_array_equal(detector.training_curve_[measure], values)


def nested(inner=None, outer=None):
    made = autoencoder(**inner or {})
    return svdd(extractor=made, **SOFT, **outer or {})


@pytest.mark.bits
@pytest.mark.parametrize("both", [True, False])
def test_a_break_in_the_second_training_keeps_the_first(both, zeros, others, watched, tmp_path):
    whole = nested().fit(zeros)
    folder = {"checkpoint": tmp_path}
    adapter = nested(folder, folder if both else None)
    first, second = watched(AutoencoderAdapter), watched(DeepSVDDAdapter, break_at=3)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    assert (first, second) == ([1, 2, 3, 4], [1, 2, 3])
    assert len(list(tmp_path.iterdir())) == 1 + both
    second.clear()
    first.clear()
    adapter.fit(zeros)
    assert (first, second) == ([], [3, 4] if both else [1, 2, 3, 4])
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(adapter.transform(others), whole.transform(others))
    assert adapter.radius_ == whole.radius_


@pytest.mark.bits
def test_a_break_in_the_first_training_goes_on(zeros, others, watched, tmp_path):
    whole = nested().fit(zeros)
    adapter = nested({"checkpoint": tmp_path}, {"checkpoint": tmp_path})
    first = watched(AutoencoderAdapter, break_at=3)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    first.clear()
    adapter.fit(zeros)
    assert first == [3, 4]
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(adapter.transform(others), whole.transform(others))


def test_other_trainings_do_not_go_on(zeros, watched, tmp_path):
    steps = watched(SelfSupervisedAdapter, break_at=3)
    adapter = siamese(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    for parameters in (
        *({"normalize": False}, {"objective": "byol"}, {"temperature": 0.4}),
        *({"projector_widths": [16, 8]}, {"extractor__random_state": 1}),
    ):
        steps.clear()
        clone(adapter).set_params(**parameters).fit(zeros)
        assert len(steps) == 4, parameters
    steps.clear()
    clone(adapter).fit(zeros[:-1])
    assert len(steps) == 4
    steps.clear()
    adapter.fit(zeros)
    assert steps == [3, 4]


# Modes, statistics, batches


@every
def test_statistics_are_learned_and_nothing_trains_on(kind, zeros, watched):
    runs = []
    watched(ADAPTERS[kind], then=lambda run, step: runs.append(run))
    adapter = KINDS[kind](collapse_limit=0.0).fit(zeros)
    before = untrained(adapter, zeros).state_dict()
    after = copies(adapter.network_.state_dict())
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert not any(torch.equal(before[name], after[name]) for name in statistics)
    # Each view passes alone but for SimCLR; no look at the features counts.
    passes = adapter.n_steps * {"simsiam": 2, "byol": 2}.get(kind, 1)
    counts = {int(v) for name, v in after.items() if name.endswith("num_batches_tracked")}
    assert counts == {passes}
    task = runs[-1].task
    n_modules = {"svdd": 1, "soft svdd": 1, "simsiam": 3, "byol": 4}.get(kind, 2)
    assert len(list(task.children())) == n_modules
    assert not any(part.training for part in task.modules())
    assert not any(p.requires_grad or p.grad is not None for p in task.parameters())


@every
def test_the_whole_network_is_trained(kind, zeros):
    adapter = KINDS[kind](collapse_limit=0.0).fit(zeros)
    before = copies(dict(untrained(adapter, zeros).named_parameters()))
    after = copies(dict(adapter.network_.named_parameters()))
    assert not [name for name in before if torch.equal(before[name], after[name])]


@every
def test_features_do_not_depend_on_batches(kind, zeros, others):
    adapter = KINDS[kind]().fit(zeros)
    together = adapter.transform(others)
    alone = np.vstack([adapter.transform(others[i : i + 1]) for i in range(len(others))])
    scale = np.abs(together).max()
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4 * scale)
    adapter.extractor_.set_params(batch_size=5)
    np.testing.assert_allclose(adapter.transform(others), together, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("n_images", [2, 3, 5])
def test_no_batch_is_of_one_image(n_images, zeros):
    keep = Keep()
    adapter = siamese(augmentation=keep, batch_size=2, n_steps=None, n_epochs=3)
    adapter.fit(zeros[:n_images])
    sizes = [len(batch) // 2 for batch in keep.seen]
    assert sizes == {2: [2] * 3, 3: [3] * 3, 5: [3, 2] * 3}[n_images]
    assert adapter.stopped_at_ == len(sizes)


@every
def test_few_images_train_and_one_is_too_few(kind, zeros):
    make = partial(KINDS[kind], batch_size=2, n_steps=2, collapse_limit=0.0)
    for n_images in (3, 2):
        assert np.isfinite(make().fit(zeros[:n_images]).transform(zeros)).all()
    adapter = make()
    with pytest.raises(ValueError, match="training needs at least 2 normal images; got 1 sample"):
        adapter.fit(zeros[:1])
    with pytest.raises(ValueError, match="at least 2 normal images"):
        adapter.fit(zeros[:3], [1, -1, -1])
    assert not hasattr(adapter, "extractor_")
    with pytest.raises(ValueError, match="The 'batch_size' parameter of .* in the range \\[2"):
        KINDS[kind](batch_size=1).fit(zeros)


@every
def test_labelled_anomalies_are_left_out(kind, zeros, others):
    images = np.concatenate([others, zeros])
    labels = np.repeat([-1, 1], [len(others), len(zeros)])
    found = KINDS[kind]().fit(images, labels)
    assert same(found.network_.state_dict(), KINDS[kind]().fit(zeros).network_.state_dict())


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["autoencoder", "svdd", "rotation"])
def test_less_memory_gives_the_same(kind, zeros, others):
    whole = KINDS[kind]().fit(zeros).transform(others)
    image = 4 * (64 if kind != "rotation" else 3 * 64)
    for limit in (0, 7.5 * image / 2**20):
        less = KINDS[kind](memory_limit=limit).fit(zeros)
        np.testing.assert_allclose(
            less.transform(others), whole, rtol=1e-3, atol=1e-3 * np.abs(whole).max()
        )


# Rotations as negatives


@pytest.fixture
def losses(monkeypatch):
    """Arguments of the contrastive loss."""
    seen, plain = [], _self_supervised.nt_xent_loss

    def spy(first, second, temperature):
        seen.append((first.detach(), second.detach(), temperature))
        return plain(first, second, temperature)

    monkeypatch.setattr(_self_supervised, "nt_xent_loss", spy)
    return seen


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


# DeepSVDD


def test_centers_are_kept_away_from_zero():
    given = torch.tensor([0.0, 0.05, -0.05, 1e-9, -1e-9, 0.0999, -0.2, 0.1, 3.0])
    expected = torch.tensor([0.0, 0.1, -0.1, 0.1, -0.1, 0.1, -0.2, 0.1, 3.0])
    assert torch.equal(away_from_zero(given), expected)
    assert torch.equal(away_from_zero(given[:3], epsilon=0.04), given[:3])


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_center_is_that_before_training(pretrained, zeros, others):
    made = autoencoder() if pretrained else extractor(CODER)
    adapter = svdd(extractor=made).fit(zeros)
    mean = clone(made).fit_transform(zeros).mean(0, dtype=np.float64)
    expected = np.where(np.abs(mean) < 0.1, 0.1 * np.sign(mean), mean)
    assert (np.abs(mean) < 0.1).any()
    np.testing.assert_allclose(adapter.center_, expected, rtol=1e-4, atol=1e-6)
    features = adapter.extractor_.transform(others)
    np.testing.assert_array_equal(adapter.transform(others), features - adapter.center_)
    assert adapter.radius_ == 0
    longer = svdd(extractor=made, n_steps=9).fit(zeros)
    np.testing.assert_array_equal(longer.center_, adapter.center_)


def test_deep_svdd_draws_digits_together(zeros):
    adapter = svdd(n_steps=40).fit(zeros)
    losses = adapter.training_curve_["loss"][1:]
    assert losses[-1] < 0.5 * losses[0]
    before = clone(adapter.extractor).fit_transform(zeros) - adapter.center_
    after = adapter.transform(zeros)
    assert (after**2).sum(1).mean() < 0.5 * (before**2).sum(1).mean()


@pytest.mark.parametrize("nu", [0.1, 0.5, 1.0])
def test_the_radius_is_a_quantile_of_the_last_batch(nu, zeros, watched):
    seen = []

    def look(run, step):
        distances = (run.task._seen - run.task.center).norm(dim=1).cpu().numpy()
        seen.append((step, float(run.task.radius), np.quantile(distances, 1 - nu)))

    watched(DeepSVDDAdapter, then=look)
    adapter = svdd(objective="soft_boundary", warm_up_epochs=2, nu=nu, n_steps=6).fit(zeros)
    for step, radius, expected in seen:  # two steps make an epoch
        assert radius == (0 if step <= 4 else pytest.approx(expected, rel=1e-5)), step
    assert adapter.radius_ == seen[-1][1] > 0


@pytest.mark.parametrize("nu", [0.1, 0.5])
def test_the_losses_of_deep_svdd_are_those_of_the_book(nu, zeros, watched):
    for objective in ("one_class", "soft_boundary"):
        seen = []

        def look(run, step, seen=seen):
            distances = ((run.task._seen - run.task.center) ** 2).sum(1).cpu()
            seen.append((distances.double().numpy(), float(run.task.radius) ** 2))

        watched(DeepSVDDAdapter, then=look)
        adapter = svdd(objective=objective, nu=nu, warm_up_epochs=0).fit(zeros)
        expected, square = [], 0.0
        for distances, next_square in seen:
            over = np.maximum(0, distances - square).mean()
            expected.append(distances.mean() if objective == "one_class" else square + over / nu)
            square = next_square
        np.testing.assert_allclose(adapter.training_curve_["loss"][1:], expected, rtol=1e-4)


@pytest.mark.parametrize("parameters", [{}, SOFT, {"n_pretraining_epochs": 0}], ids=str)
def test_deep_svdds_score_is_the_squared_distance(parameters, zeros, others):
    defaults = {"n_pretraining_epochs": 2, "n_epochs": 3, "batch_size": 10, "learning_rate": 0.01}
    detector = DeepSVDD(CODER, **defaults | parameters).fit(zeros)
    adapter = detector.pipeline_[0]
    features = adapter.extractor_.transform(others).astype(np.float64)
    expected = -((features - adapter.center_) ** 2).sum(1)
    np.testing.assert_allclose(detector.score_samples(others), expected, rtol=1e-4)
    offset = np.quantile(detector.score_samples(zeros), 0.1)
    assert detector.offset_ == pytest.approx(offset, rel=1e-4)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(others), detector.score_samples(others))
    encoder = adapter.extractor
    assert isinstance(encoder, AutoencoderAdapter) == ("n_pretraining_epochs" not in parameters)


@pytest.mark.bits
def test_deep_svdd_is_the_pipeline_made_by_hand(zeros, others):
    detector = DeepSVDD(
        CODER,
        n_pretraining_epochs=2,
        pretraining_decay_at=0.3,
        pretraining_weight_decay=0.1,
        n_epochs=3,
        decay_at=0.6,
        weight_decay=0.2,
        batch_size=10,
        learning_rate=0.01,
        contamination=0.2,
    ).fit(zeros)
    made = extractor(CODER, contrast_normalization=True)
    common = {"batch_size": 10, "learning_rate": 0.01}
    coder = AutoencoderAdapter(made, n_epochs=2, decay_at=0.3, weight_decay=0.1, **common)
    adapter = DeepSVDDAdapter(coder, n_epochs=3, decay_at=0.6, weight_decay=0.2, **common)
    scorer = CentroidScorer("squared_euclidean", center="origin", contamination=0.2)
    scorer.fit(adapter.fit(zeros).transform(zeros))
    by_hand = Pipeline([("adapter", adapter), ("scorer", scorer)])
    np.testing.assert_allclose(
        detector.score_samples(others), by_hand.score_samples(others), rtol=1e-6
    )
    assert detector.offset_ == pytest.approx(scorer.offset_, rel=1e-6)
    assert detector.stopped_at_ == 6


# Contrast normalisation


class Pixels(nn.Module):
    """A network whose features are the pixels that it sees."""

    def __init__(self, n_channels=1, image_size=8):
        super().__init__()
        self.pretrained_cfg = {
            "input_size": (n_channels, image_size, image_size),
            "mean": (0.5,) * n_channels,
            "std": (0.25,) * n_channels,
            "crop_pct": 1.0,
        }

    def forward(self, images):
        return images.flatten(1)


def of_equal_contrast(images):
    rows = np.asarray(images, dtype=np.float64).reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.abs(rows).mean(axis=1, keepdims=True)


def test_contrast_is_normalised_by_the_training_images(zeros, others):
    made = extractor(Pixels, contrast_normalization=True, batch_size=7).fit(zeros)
    train, test = of_equal_contrast(zeros), of_equal_contrast(others)
    low, high = train.min(), train.max()
    np.testing.assert_allclose(made.preprocessing_.contrast_range, (low, high), rtol=1e-5)
    for images, rows in ((zeros, train), (others, test)):
        found, expected = made.transform(images), (rows - low) / (high - low)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = made.transform(zeros)
    assert found.min() == pytest.approx(0, abs=1e-6)
    assert found.max() == pytest.approx(1, abs=1e-6)
    spike = np.zeros((1, 8, 8))
    spike[0, 3, 3] = 1.0
    assert made.transform(spike).max() > 1.5, "test images may go beyond"
    # neither brightness nor contrast of an image counts
    np.testing.assert_allclose(
        made.transform(others * 0.4 + 0.3), made.transform(others), atol=1e-4
    )


def test_contrast_is_that_of_all_channels(colored):
    made = extractor(partial(Pixels, 3, 16), contrast_normalization=True)
    found = made.fit_transform(colored)
    rows = of_equal_contrast(colored.transpose(0, 3, 1, 2) / 255)
    expected = (rows - rows.min()) / (rows.max() - rows.min())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_anomalies_do_not_set_the_contrast_range(zeros):
    spikes = np.zeros((3, 8, 8))
    spikes[:, 2, 2] = 1.0
    images, labels = np.concatenate([spikes, zeros]), np.repeat([-1, 1], [3, 20])
    made = extractor(Pixels, contrast_normalization=True)
    expected = clone(made).fit(zeros).preprocessing_.contrast_range
    assert clone(made).fit(images, labels).preprocessing_.contrast_range == expected
    assert clone(made).fit(images).preprocessing_.contrast_range != expected
    detector = DeepSVDD(CODER, n_pretraining_epochs=1, n_epochs=1).fit(images, labels)
    assert detector.pipeline_[0].extractor_.preprocessing_.contrast_range == expected


def test_images_of_one_colour_have_finite_features(zeros):
    flat = np.stack([np.full((8, 8), value) for value in (0.0, 0.3, 1 / 3, 1.0)])
    made = extractor(Pixels, contrast_normalization=True).fit(zeros)
    low, high = made.preprocessing_.contrast_range
    np.testing.assert_allclose(made.transform(flat), -low / (high - low), rtol=1e-4)
    assert np.isfinite(extractor(Pixels, contrast_normalization=True).fit_transform(flat)).all()
    detector = DeepSVDD(CODER, n_pretraining_epochs=1, n_epochs=1, batch_size=2).fit(flat)
    assert np.isfinite(detector.score_samples(flat)).all()


# Autoencoders


@pytest.mark.parametrize("contrast", [False, True])
def test_autoencoders_learn_to_draw_digits(contrast, zeros):
    made = extractor(CODER, contrast_normalization=contrast)
    adapter = autoencoder(extractor=made, n_steps=60, learning_rate=0.01, decay_at=1.0)
    losses = adapter.fit(zeros).training_curve_["loss"][1:]
    assert losses[-1] < 0.6 * losses[0]
    assert losses[-1] < ((zeros - zeros.mean()) ** 2).sum((1, 2)).mean() or contrast


@pytest.mark.parametrize("statistics", [{}, {"mean": 0.1, "std": 0.7}], ids=["own", "given"])
def test_targets_of_a_sigmoid_are_pixels(statistics, zeros):
    made = extractor(CODER, **statistics).fit(zeros)
    images = prepared(made, zeros)
    assert float(images.min()) < 0
    np.testing.assert_allclose(
        pixels(images, made.preprocessing_)[:, 0], zeros, rtol=1e-5, atol=1e-6
    )
    scaled = extractor(CODER, contrast_normalization=True).fit(zeros)
    images = prepared(scaled, zeros)
    assert pixels(images, scaled.preprocessing_) is images
    assert float(images.min()) == pytest.approx(0, abs=1e-6)
    assert float(images.max()) == pytest.approx(1, abs=1e-6)


class Drawn(nn.Module):
    """A decoder that draws one picture, whatever the code: what is learned is the mean image."""

    def __init__(self, side=8, n_channels=1):
        super().__init__()
        self.image = nn.Parameter(torch.zeros(n_channels, side, side))

    def forward(self, codes):
        return self.image.expand(len(codes), -1, -1, -1) + 0 * codes.sum()


class Linear(nn.Module):
    """An encoder that tells nothing of a decoder."""

    def __init__(self):
        super().__init__()
        self.pretrained_cfg = Pixels().pretrained_cfg
        self.linear = nn.Linear(64, 5)

    def forward(self, images):
        return self.linear(images.flatten(1))


class DrawnInRange(Drawn):
    decoder_range = "unit"


def test_a_decoder_says_what_it_draws(zeros):
    first = {}
    for decoder in (Drawn, DrawnInRange):
        made = extractor(CODER, mean=0.25, std=0.5)
        adapter = autoencoder(extractor=made, decoder=decoder, batch_size=20).fit(zeros)
        first[decoder] = adapter.training_curve_["loss"][1]
    plain = (zeros**2).sum((1, 2)).mean()  # pixels in [0, 1]
    seen = (((zeros - 0.25) / 0.5) ** 2).sum((1, 2)).mean()
    assert first[DrawnInRange] == pytest.approx(plain, rel=1e-5)
    assert first[Drawn] == pytest.approx(seen, rel=1e-5)


def test_decoders_that_do_not_fit(zeros):
    message = r"decoder must give images as the network sees them, of shape \(1, 8, 8\); got "
    for decoder, shape in (
        (partial(Drawn, 7), r"\(1, 7, 7\)"),
        (partial(Drawn, n_channels=3), r"\(3, 8, 8\)"),
        (partial(nn.Linear, 16, 64), r"\(64,\)"),
    ):
        adapter = autoencoder(decoder=decoder)
        with pytest.raises(ValueError, match=f"AutoencoderAdapter: the {message}{shape}"):
            adapter.fit(zeros)
        assert not hasattr(adapter, "extractor_")


def test_encoders_without_decoders(zeros):
    message = "AutoencoderAdapter: Linear has no make_decoder.*give decoder=.*svdd_cifar"
    for estimator in (
        autoencoder(extractor=extractor(Linear)),
        DeepSVDD(Linear, n_pretraining_epochs=1, n_epochs=1),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(zeros)
    DeepSVDD(Linear, n_pretraining_epochs=0, n_epochs=1).fit(zeros)


# Rotation prediction


def turned_and_moved(image, turns, row, column):
    """An image (height, width, channels) in one of 36 ways, by NumPy alone."""
    side = len(image)
    image, move = np.rot90(image, turns), max(1, round(side / 4))
    padded = np.pad(image, ((move, move), (move, move), (0, 0)), mode="reflect")
    top, left = (move - np.array([0, -1, 1])[index] * move for index in (row, column))
    return padded[top : top + side, left : left + side]


WAYS = [(turns, row, column) for turns in range(4) for row in range(3) for column in range(3)]


@pytest.mark.parametrize("side", [5, 8, 16, 33])
def test_images_are_turned_and_moved_as_by_numpy(side):
    image = np.random.RandomState(0).rand(side, side, 3).astype(np.float32)
    batch = torch.from_numpy(image).permute(2, 0, 1).expand(36, -1, -1, -1)
    found = transformed(batch, *np.array(WAYS).T).permute(0, 2, 3, 1).numpy()
    for row, way in zip(found, WAYS):
        np.testing.assert_array_equal(row, turned_and_moved(image, *way))
    assert len({row.tobytes() for row in found}) == N_TRANSFORMS == 36


def slow_scores(adapter, images):
    """Sum of the probabilities of the true classes, image by image and way by way."""
    scores, network = [], copy.deepcopy(adapter.network_).cpu()
    for image in images:
        views = np.stack([turned_and_moved(image[..., None], *way)[..., 0] for way in WAYS])
        with torch.no_grad():
            seen = prepared(adapter.extractor_, views)
            features = network(seen).numpy().astype(np.float64)
        total = 0.0
        for row, way in zip(features, WAYS):
            logits = adapter.coef_.astype(np.float64) @ row + adapter.intercept_
            for part, true in zip(np.split(logits, [4, 7]), way):
                total += np.exp(part[true]) / np.exp(part).sum()
        scores.append(-total)
    return np.array(scores)


def test_the_score_is_the_sum_of_what_is_recognised(zeros, others):
    adapter = rotation(n_steps=10).fit(zeros)
    scores = adapter.transform(others[:5])
    assert scores.shape == (5, 1)
    np.testing.assert_allclose(scores[:, 0], slow_scores(adapter, others[:5]), rtol=1e-5)
    assert adapter.get_feature_names_out().tolist() == ["score"]
    assert (adapter.coef_.shape, adapter.intercept_.shape) == ((10, 32), (10,))
    features = clone(adapter).set_params(output="features").fit(zeros)
    np.testing.assert_array_equal(features.transform(others), adapter.extractor_.transform(others))
    assert len(features.get_feature_names_out()) == 32


@pytest.mark.bits
def test_rotation_prediction_is_the_pipeline_made_by_hand(zeros, others):
    detector = RotationPrediction(
        NET, n_steps=3, batch_size=10, learning_rate=0.05, contamination=0.2
    ).fit(zeros)
    adapter = rotation(n_steps=3, learning_rate=0.05).fit(zeros)
    expected = -adapter.transform(others)[:, 0].astype(np.float64)
    np.testing.assert_allclose(detector.score_samples(others), expected, rtol=1e-6)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(loaded.score_samples(others), expected, rtol=1e-6)
    assert detector.offset_ == pytest.approx(
        np.quantile(detector.score_samples(zeros), 0.2), rel=1e-6
    )


def test_rotations_are_learned(digits):
    images, labels = digits
    adapter = rotation(n_steps=150, batch_size=50, learning_rate=0.1).fit(images[labels == 3][:100])
    losses = adapter.training_curve_["loss"][1:]
    chance = (math.log(4) + 2 * math.log(3)) / 3
    assert losses[-1] < 0.85 * chance
    confident = -adapter.transform(images[labels == 3][100:120]).mean()
    assert confident > -adapter.transform(images[labels == 1][:20]).mean() > 36 * (1 / 4 + 2 / 3)


@pytest.mark.parametrize("size", [3, 7])
def test_images_too_small_to_be_moved(size, zeros):
    adapter = rotation(extractor=extractor(image_size=size))
    message = f"RotationAdapter: images must have at least 8 pixels .* got image_size={size}"
    with pytest.raises(ValueError, match=message):
        adapter.fit(zeros)
    assert rotation(extractor=extractor(image_size=9)).fit(zeros).stopped_at_ == 4


# Layers

# Of a network for 8 x 8 pixels: channels, and sides of the maps.
WIDTHS, SIDES = (4, 8, 16, 32), (8, 4, 2, 1)
STAGES = ["layer1", "layer2", "layer3", "layer4"]


def test_flattened_layers_are_maps_as_they_are(zeros, others):
    made = extractor(flattened_layers=["layer2", "layer4"]).fit(zeros)
    maps = made.feature_maps(others)
    assert {name: value.shape[1:] for name, value in maps.items()} == {
        "layer2": (8, 4, 4),
        "layer4": (32, 1, 1),
    }
    features = made.transform(others)
    np.testing.assert_array_equal(features[:, :128], maps["layer2"].reshape(12, -1))
    np.testing.assert_array_equal(features[:, 128:], maps["layer4"].reshape(12, -1))
    assert made.tap_widths_ == [128, 32]
    assert made.map_taps_ == [0, 1]
    names = made.get_feature_names_out()
    assert len(names) == 160
    assert names[[0, 127, 128, 159]].tolist() == [
        *("layer2_flat_0", "layer2_flat_127", "layer4_flat_0", "layer4_flat_31")
    ]


def test_flattened_layers_come_after_those_averaged(zeros, others):
    made = extractor(layers=["layer3", "layer1"], flattened_layers=["layer3"]).fit(zeros)
    pooled = extractor(layers=["layer3", "layer1"]).fit_transform(others)
    flat = extractor(flattened_layers=["layer3"]).fit_transform(others)
    np.testing.assert_array_equal(made.transform(others), np.hstack([pooled, flat]))
    assert (made.tap_widths_, made.map_taps_) == ([16, 4, 64], [2])
    assert made.get_feature_names_out()[[0, 16, 20]].tolist() == [
        *("layer3_0", "layer1_0", "layer3_flat_0")
    ]
    assert list(made.feature_maps(others)) == ["layer3", "layer1"]
    assert extractor(layers=["layer3"]).fit(zeros).map_taps_ == []
    plain = extractor().fit(zeros)
    assert (plain.tap_widths_, plain.map_taps_) == ([32], [])


def test_the_cache_tells_flattened_layers_apart(zeros, tmp_path):
    for parameters in ({"flattened_layers": ["layer4"]}, {"layers": ["layer4"]}, {}):
        made = extractor(image_size=16, **parameters)
        expected = clone(made).fit_transform(zeros)
        for _ in range(2):
            found = clone(made).set_params(memory=tmp_path).fit_transform(zeros)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["layers", "flattened_layers"])
def test_no_layers_and_layers_that_there_are_not(name, zeros):
    with pytest.raises(ValueError, match=f"^{name} is empty; name at least one, or give None"):
        extractor(**{name: []}).fit(zeros)
    with pytest.raises(ValueError, match="no layer 'layer9'; there are 'layer4', 'layer3'"):
        extractor(**{name: ["layer9"]}).fit(zeros)


@pytest.mark.parametrize("objective", ["simsiam", "simclr", "byol"])
@pytest.mark.parametrize("normalize", [True, False])
def test_layers_of_the_head_are_those_of_the_book(objective, normalize, zeros, others):
    layers = ["projector.0", "projector.1", "layer2"]
    adapter = siamese(objective, normalize=normalize, layers=layers).fit(zeros)
    plain = siamese(objective, normalize=normalize).fit(zeros)
    rows = plain.transform(others).astype(np.float64)
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    head = copies(adapter.network_.state_dict())
    head = {name: value.double().numpy() for name, value in head.items()}

    def linear(rows, layer):
        return rows @ head[f"projector.{layer}.0.weight"].T

    def normed(rows, layer):
        mean, variance = (head[f"projector.{layer}.1.running_{n}"] for n in ("mean", "var"))
        return (rows - mean) / np.sqrt(variance + 1e-5)

    scale, shift = (head[f"projector.0.1.{name}"] for name in ("weight", "bias"))
    first = np.maximum(0, normed(linear(rows, 0), 0) * scale + shift)
    second = linear(first, 1)
    if objective == "simsiam":
        second = normed(second, 1)
        assert "projector.1.1.weight" not in head, "without scale and shift"
    else:
        second = second + head["projector.1.0.bias"]
    found = adapter.transform(others)[:, :32]
    np.testing.assert_allclose(found, np.hstack([first, second]), rtol=1e-3, atol=1e-4)
    assert adapter.tap_widths_ == [16, 16, 8]
    assert adapter.map_taps_ == []


def test_layers_of_the_trained_network(zeros, others):
    adapter = siamese(layers=["layer1"], flattened_layers=["layer3", "layer2"]).fit(zeros)
    network = siamese().fit(zeros).network_.cpu()
    with torch.no_grad():
        maps, x = {}, prepared(adapter.extractor_, others)
        for name in STAGES:
            x = getattr(network, name)(x)
            maps[name] = x.numpy().copy()
    expected = [maps["layer1"].mean((2, 3)), maps["layer3"].reshape(12, -1)]
    expected = np.hstack([*expected, maps["layer2"].reshape(12, -1)])
    np.testing.assert_allclose(adapter.transform(others), expected, rtol=1e-4, atol=1e-5)
    assert (adapter.tap_widths_, adapter.map_taps_) == ([4, 64, 128], [1, 2])
    assert len(adapter.get_feature_names_out()) == 4 + 64 + 128
    only = siamese(flattened_layers=["layer3"]).fit(zeros)
    np.testing.assert_allclose(only.transform(others), expected[:, 4:68], rtol=1e-4, atol=1e-5)


def test_groups_of_layers(zeros):
    flat = [8 * 4 * 4, 16 * 2 * 2, 32]
    for layers, head in (("stages", []), ("ensemble", [16, 16])):
        adapter = siamese(layers=layers).fit(zeros)
        assert adapter.tap_widths_ == [*WIDTHS, *head, *flat]
        indices = range(4 + len(head), 7 + len(head))
        assert adapter.map_taps_ == list(indices)
        assert adapter.transform(zeros).shape == (20, sum(adapter.tap_widths_))
    chosen = siamese(layers="ensemble", flattened_layers=["layer4"]).fit(zeros)
    assert (chosen.tap_widths_, chosen.map_taps_) == ([*WIDTHS, 16, 16, 32], [6])


def test_layers_named_twice(zeros):
    for own in ({"layers": ["layer1"]}, {"flattened_layers": ["layer1"]}):
        for given in ({"layers": "stages"}, {"flattened_layers": ["layer2"]}):
            with pytest.raises(ValueError, match="named twice, by the adapter and by its extra"):
                siamese(extractor=extractor(**own), **given).fit(zeros)
        adapter = siamese(extractor=extractor(**own)).fit(zeros)
        width = 4 if "layers" in own else 4 * 8 * 8
        assert adapter.transform(zeros).shape == (20, width)
        assert adapter.map_taps_ == ([] if "layers" in own else [0])


@pytest.mark.parametrize("name", ["layer9", "projector.2"])
def test_a_layer_that_there_is_not(name, zeros):
    adapter = siamese(layers=["layer1", name])
    with pytest.raises(ValueError, match=f"no layer '.*{name}'; there are '.*'.*"):
        adapter.fit(zeros)
    assert not hasattr(adapter, "extractor_")


# NSA


def angle_1nn():
    return KNNScorer(1, metric="angle", aggregation="mean")


def white_1nn():
    return KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean")


FLAT = {"tap_widths": [*WIDTHS, 16, 16, 128, 64, 32], "map_taps": [6, 7, 8]}
STAGE = {"tap_widths": [*WIDTHS, 128, 64, 32], "map_taps": [4, 5, 6]}
BY_HAND = {
    "k_cos": (None, angle_1nn),
    "k_cos_mah": (None, white_1nn),
    "c_cos": (None, lambda: CentroidScorer("cosine")),
    "c_cos_mah": (None, lambda: CentroidScorer("mahalanobis_cosine")),
    "gde": (None, lambda: GaussianScorer(normalize=True, log_likelihood=True)),
    "ensemble": ("ensemble", lambda: EnsembleScorer("ens", **FLAT)),
    "sum": ("stages", lambda: EnsembleScorer("sum", **STAGE)),
}


def nsa(**parameters):
    defaults = {"backbone": NET, "learning_rate": 0.01, **STEPS, **HEADS}
    return NSA(**defaults | parameters)


@pytest.mark.bits
@pytest.mark.parametrize("scorer", BY_HAND)
def test_nsa_is_the_pipeline_made_by_hand(scorer, zeros, others):
    detector = nsa(scorer=scorer, contamination=0.2).fit(zeros)
    layers, make = BY_HAND[scorer]
    adapter = siamese(layers=layers).fit(zeros)
    by_hand = make().set_params(contamination=0.2).fit(adapter.transform(zeros))
    pipeline = Pipeline([("adapter", adapter), ("scorer", by_hand)])
    scores = pipeline.score_samples(others)
    np.testing.assert_allclose(detector.score_samples(others), scores, rtol=1e-6)
    np.testing.assert_array_equal(detector.predict(others), pipeline.predict(others))
    assert detector.offset_ == pytest.approx(by_hand.offset_, rel=1e-6)
    assert set(detector.predict(zeros)) <= {-1, 1}
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(loaded.score_samples(others), scores, rtol=1e-6)
    found, expected = clone(detector).get_params(), detector.get_params()
    assert {k: repr(v) for k, v in found.items()} == {k: repr(v) for k, v in expected.items()}


def test_the_headline_score_is_an_angle_after_whitening(zeros, others):
    detector = nsa(scorer="k_cos").fit(zeros)
    rows, train = (
        siamese().fit(zeros).transform(images).astype(np.float64) for images in (others, zeros)
    )
    rows, train = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (rows, train))
    expected = -np.arccos(np.clip(rows @ train.T, -1, 1)).min(1)
    np.testing.assert_allclose(detector.score_samples(others), expected, rtol=1e-3)


def test_the_scaling_of_an_ensemble_is_a_parameter(zeros):
    for scorer in ("ensemble", "sum"):
        for scaling in ("range", "quantile", "none"):
            detector = nsa(scorer=scorer, scaling=scaling, n_steps=1).fit(zeros)
            assert detector.pipeline_[-1].scaling == scaling


@pytest.mark.parametrize("objective", ["simsiam", "simclr", "byol"])
def test_every_part_of_nsa_gets_its_parameters(objective):
    given = {
        "objective": objective,
        "normalize": False,
        "temperature": 0.2,
        "target_momentum": 0.9,
        "augmentation": ContrastiveAugmentation(8),
        "weight_decay": 0.1,
        "collapse_limit": 0.1,
        "stop_at_collapse": True,
        "monitor": len,
        "checkpoint": "folder",
        "image_size": 16,
        "resize": "crop",
        "precision": "bfloat16",
        "mean": 0.4,
        "image_shape": (8, 8),
        "random_state": 3,
    }
    detector = nsa(**given)
    adapter, scorer = (step for _, step in detector._make_steps())
    assert isinstance(scorer, KNNScorer)
    own = detector.get_params()
    for part in (adapter, adapter.extractor):
        parameters = part.get_params(deep=False)
        for name in parameters.keys() & own.keys():
            assert parameters[name] is own[name], name
    given_to = {**adapter.get_params(deep=False), **adapter.extractor.get_params(deep=False)}
    assert given.keys() <= given_to.keys()


@pytest.mark.parametrize("kind", ["rows", "grey", "colored", "files"])
def test_nsa_takes_images_of_any_form(kind, zeros, colored, tmp_path):
    images = {"rows": zeros.reshape(-1, 64) * 16, "grey": zeros, "colored": colored}.get(kind)
    if kind == "files":
        images = [tmp_path / f"{i}.png" for i in range(6)]
        for i, path in enumerate(images):
            Image.fromarray(colored[i, : 8 + i]).save(path)
    detector = nsa(n_steps=2, scorer="ensemble").fit(images)
    assert np.isfinite(detector.score_samples(images)).all()
    if kind == "rows":
        expected = nsa(n_steps=2, scorer="ensemble").fit(zeros).score_samples(zeros)
        np.testing.assert_allclose(detector.score_samples(images), expected, rtol=1e-3, atol=1e-3)
        assert detector.n_features_in_ == 64


def test_nsa_is_searched(zeros, others):
    search = GridSearchCV(
        nsa(n_steps=1),
        {"normalize": [True, False]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
        error_score="raise",
    )
    search.fit(np.concatenate([zeros, others]), np.repeat([1, -1], [20, 12]))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(others).shape == (12,)


@pytest.mark.parametrize("kind", ["simsiam", "byol", "autoencoder", "soft svdd", "rotation"])
def test_bfloat16_is_for_training_alone(kind, zeros, others):
    exact = KINDS[kind]().fit(zeros)
    made = clone(exact.extractor).set_params(precision="bfloat16")
    adapter = KINDS[kind](extractor=made).fit(zeros)
    state = adapter.network_.state_dict()
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float32}
    found, expected = adapter.training_curve_["loss"][1:], exact.training_curve_["loss"][1:]
    assert np.isfinite(found).all()
    assert found[0] != expected[0]
    assert found[0] == pytest.approx(expected[0], rel=0.05, abs=0.02)
    features = adapter.transform(others)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    loaded = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(loaded.transform(others), features)
    if kind == "simsiam":  # the network computes as exactly as one of float32
        with torch.no_grad():
            plain = adapter.network_.cpu()(prepared(adapter.extractor_, others)).numpy()
        np.testing.assert_allclose(features, plain, rtol=1e-4, atol=1e-5)
        assert np.isfinite(nsa(precision="bfloat16", scorer="sum").fit(zeros).offset_)


def test_normalised_training_tells_digits_apart(digits):
    images, labels = digits
    detector = nsa(n_steps=30, batch_size=40).fit(images[labels == 0][:100])
    zeros, ones = images[labels == 0][100:], images[labels == 1][:60]
    higher = detector.score_samples(zeros)[:, None] > detector.score_samples(ones)
    assert higher.mean() > 0.9


# Monitors and collapse


def test_a_monitor_joins_the_curve_and_changes_nothing(zeros, others):
    seen = []

    def monitor(made):
        torch.rand(7)
        features = made.transform(others)
        assert not made.network_.training
        seen.append(features)
        return {"first": float(features[0, 0]), "width": features.shape[1]}

    plain = siamese().fit(zeros)
    state = torch.random.get_rng_state()
    adapter = siamese(monitor=monitor).fit(zeros)
    torch.random.set_rng_state(state)
    assert same(adapter.network_.state_dict(), plain.network_.state_dict())
    curve = adapter.training_curve_
    assert set(curve) == {*plain.training_curve_, "first", "width"}
    np.testing.assert_array_equal(curve["first"], [features[0, 0] for features in seen])
    np.testing.assert_array_equal(curve["width"], [32] * 5)
    np.testing.assert_array_equal(seen[0], clone(adapter.extractor).fit_transform(others))
    np.testing.assert_array_equal(seen[-1], adapter.transform(others))
    assert len({features.tobytes() for features in seen}) == 5
    assert "first" in nsa(monitor=monitor).fit(zeros).training_curve_


def test_a_monitor_that_fails_is_an_error_and_loses_nothing(zeros, tmp_path):
    calls = []

    def monitor(made):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("no labels")
        return {}

    adapter = siamese(monitor=monitor, checkpoint=tmp_path)
    with pytest.raises(RuntimeError, match="no labels"):
        adapter.fit(zeros)
    assert not hasattr(adapter, "extractor_")
    calls.clear()
    adapter.set_params(monitor=None).fit(zeros)
    assert same(adapter.network_.state_dict(), siamese().fit(zeros).network_.state_dict())


def rows_of_spread(spread):
    """Two rows of unit length whose spread, 1 minus their cosine, is this."""
    angle = math.acos(1 - spread)
    return np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])


@pytest.mark.parametrize(
    ("spreads", "from_widest", "collapsed_at"),
    [
        ([0.01, 1.0, 0.5, 0.24, 0.1], True, 3),
        ([0.01, 1.0, 0.5, 0.24, 0.1], False, None),
        ([1.0, 0.1, 0.2, 0.06], True, None),  # random weights do not count
        ([1.0, 0.1, 0.2, 0.06], False, 1),
        ([1.0, 0.1, 0.2, 0.04], True, 3),
        ([0.4, 0.2, 0.8, 0.21], True, None),
    ],
)
def test_from_scratch_collapse_is_a_share_of_the_widest_spread(spreads, from_widest, collapsed_at):
    found = iter(spreads)
    watch = CollapseWatch(
        lambda: rows_of_spread(next(found)),
        np.zeros(2),
        spread_limit=0.25,
        from_widest=from_widest,
        every=1,
        monitor=dict,
        owner="test",
    )
    for step in range(len(spreads)):
        watch.look(step)
    np.testing.assert_allclose(watch.as_arrays["spread"], spreads, rtol=1e-6)
    assert watch.collapsed_at == collapsed_at


@pytest.mark.parametrize("objective", ["simsiam", "byol"])
def test_stopping_goes_back_to_the_last_good_look(objective, zeros, watched):
    states = {}

    def keep(run, step):
        states[step] = copies(run.task.network.state_dict())

    steps = watched(SelfSupervisedAdapter, then=keep)
    adapter = siamese(objective, collapse_limit=0.999, stop_at_collapse=True, n_steps=60)
    adapter.fit(zeros)
    spread = adapter.training_curve_["spread"]
    assert steps[-1] == adapter.collapsed_at_ < 60
    assert adapter.stopped_at_ == adapter.training_curve_["step"][-2] >= 1
    assert spread[-1] < 0.999 * spread[1:].max()
    assert (spread[1:-1] >= 0.999 * np.maximum.accumulate(spread[1:-1])).all()
    good, last = states[adapter.stopped_at_], states[adapter.collapsed_at_]
    assert same(adapter.network_.state_dict(), good)
    statistics = [name for name in good if name.endswith("running_mean")]
    assert not any(torch.equal(good[name], last[name]) for name in statistics)


def test_collapse_is_told(zeros):
    adapter = siamese(collapse_limit=0.999, n_steps=60)
    advice = r"stop_at_collapse=True, .*n_steps.*learning_rate, or a larger batch_size"
    with pytest.warns(CollapseWarning, match=f"(?s)SelfSupervisedAdapter: .*collapsed: .*{advice}"):
        adapter.fit(zeros)
    assert adapter.stopped_at_ == 60 > adapter.collapsed_at_


# Bad input


@pytest.mark.parametrize(
    "widths",
    [
        *({"projector_widths": []}, {"projector_widths": [0]}, {"projector_widths": [8, -1]}),
        *({"projector_widths": [8.5]}, {"predictor_widths": [0]}),
    ],
    ids=str,
)
def test_widths_of_heads_that_are_none(widths, zeros):
    message = "SelfSupervisedAdapter: projector_widths and predictor_widths must be lists of pos"
    for estimator in (siamese(**widths), nsa(**widths)):
        with pytest.raises(ValueError, match=message):
            estimator.fit(zeros)
        assert not hasattr(estimator, "extractor_")


@pytest.mark.parametrize(
    ("objective", "parameters", "expected"),
    [
        ("simsiam", {}, [[32, 16, 16], [16, 8, 16]]),
        ("byol", {}, [[32, 16, 16], [16, 8, 16]]),
        ("simclr", {"projector_widths": np.array([8])}, [[32, 8]]),
        ("simsiam", {"projector_widths": [5, 6, 7]}, [[32, 5, 6, 7], [7, 8, 7]]),
        (
            "simsiam",
            {"projector_widths": None, "predictor_widths": None},
            [
                [32, 2048, 2048, 2048],
                [2048, 512, 512, 2048],
            ],
        ),
        ("simclr", {"projector_widths": None}, [[32, 512, 128]]),
    ],
)
def test_heads_are_as_wide_as_asked(objective, parameters, expected, zeros, watched):
    runs = []
    watched(SelfSupervisedAdapter, then=lambda run, _: runs.append(run))
    siamese(objective, n_steps=1, **parameters).fit(zeros)
    found = []
    heads = list(runs[-1].task.children())[1:]  # behind the network
    for head in heads[: len(expected)]:
        linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
        found.append([linear[0].in_features, *(module.out_features for module in linear)])
    assert found == expected
    assert len(heads) == len(expected) + (objective == "byol")


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        *(("simsiam", {"n_epochs": 0}), ("simsiam", {"n_steps": 0}), ("simsiam", {"layers": 3})),
        *(("simsiam", {"objective": "msc"}), ("simsiam", {"negatives": "flip"})),
        *(("simsiam", {"temperature": 0}), ("simsiam", {"target_momentum": 1.0})),
        *(("simsiam", {"monitor": 3}), ("simsiam", {"collapse_limit": 1.0})),
        *(("autoencoder", {"n_epochs": None}), ("autoencoder", {"decay_at": 1.1})),
        *(("autoencoder", {"decoder": 3}), ("autoencoder", {"memory_limit": -1})),
        *(("svdd", {"nu": 0}), ("svdd", {"warm_up_epochs": -1}), ("svdd", {"objective": "soft"})),
        *(("rotation", {"n_epochs": 0}), ("rotation", {"output": "logits"})),
        *(("rotation", {"learning_rate": 0}), ("rotation", {"extractor": 3})),
    ],
    ids=str,
)
def test_parameters_out_of_range(kind, parameters, zeros):
    adapter = KINDS[kind](**parameters)
    (name,) = parameters
    message = f"The '{name}' parameter of {type(adapter).__name__}"
    with pytest.raises(ValueError, match=message):
        adapter.fit(zeros)


def test_epochs_are_counted_in_batches(zeros):
    for kind, make in KINDS.items():
        adapter = make(n_steps=None, n_epochs=2, batch_size=7, collapse_limit=0.0)
        assert adapter.fit(zeros).stopped_at_ == 6, kind
    turned = siamese(
        "simclr", negatives="rotation", n_steps=None, n_epochs=2, batch_size=20, collapse_limit=0
    )
    assert turned.fit(zeros).stopped_at_ == 8


@every
def test_training_that_is_not_finite_is_one_clear_error(kind, zeros, others, tmp_path):
    adapter = KINDS[kind](n_steps=12, collapse_limit=0.0, checkpoint=tmp_path)
    adapter.set_params(learning_rate=1e25)
    unfitted = dict(vars(adapter))
    message = f"{type(adapter).__name__}: the .* at step [0-9]+\\b.*learning_rate"
    with pytest.raises(ArithmeticError, match=message) as caught:
        adapter.fit(zeros)
    assert isinstance(caught.value, TrainingError)
    assert vars(adapter) == unfitted
    assert not list(tmp_path.iterdir()), "it would end in the same way"
    good = KINDS[kind]().fit(zeros)
    before = good.transform(others)
    with pytest.raises(ArithmeticError):
        good.set_params(learning_rate=1e25, n_steps=12).fit(zeros)
    np.testing.assert_array_equal(good.transform(others), before)


def test_every_adapter_here_is_one_from_scratch():
    for make in KINDS.values():
        assert isinstance(make(), BaseAdapter)
        plan = make()._plan(20)
        assert plan.from_scratch
        assert plan.trainable == "all"


@pytest.mark.parametrize("name", ["layers", "flattened_layers"])
def test_no_layers_are_no_projection(name, zeros):
    with pytest.raises(ValueError, match="empty"):
        siamese(**{name: []}).fit(zeros)


@pytest.mark.parametrize("name", ["layer9", "projector.2"])
def test_a_wrong_layer_is_told_before_training(name, zeros, watched):
    steps = watched(SelfSupervisedAdapter)
    with pytest.raises(ValueError, match=f"no layer '(encoder.)?{name}'"):
        siamese(layers=[name]).fit(zeros)
    assert not steps


@pytest.mark.parametrize("objective", ["simsiam", "byol"])
def test_a_predictor_may_be_one_linear_map(objective, zeros):
    """Or an error may say that it must not be empty."""
    try:
        adapter = siamese(objective, predictor_widths=[]).fit(zeros)
    except ValueError as error:
        assert "predictor_widths" in str(error)  # noqa: PT017
    else:
        assert adapter.stopped_at_ == 4


def test_names_of_layers_come_in_arrays(zeros):
    names = np.array(["layer1", "layer2"])
    assert extractor(layers=names).fit(zeros).tap_widths_ == [4, 8]
    assert siamese(layers=names).fit(zeros).tap_widths_ == [4, 8]


def test_layers_of_tokens_are_tapped_behind_a_head():
    backbone = partial(timm.create_model, "test_vit")
    images = np.random.RandomState(0).rand(2, 160, 160, 3)
    settings = {"layers": ["blocks.0"], "n_steps": 1, "collapse_limit": 0}
    adapter = siamese(extractor=extractor(backbone), **settings).fit(images)
    assert adapter.transform(images).shape == (2, 64)


def test_a_cache_does_not_hide_the_training_from_a_monitor(zeros, tmp_path):
    def monitor(made):
        return {"sum": float(made.transform(zeros).sum())}

    expected = siamese(monitor=monitor).fit(zeros).training_curve_["sum"]
    found = siamese(extractor=extractor(memory=tmp_path), monitor=monitor).fit(zeros)
    np.testing.assert_array_equal(found.training_curve_["sum"], expected)


def test_monitors_may_give_numbers_of_numpy(zeros, watched, tmp_path):
    def monitor(made):
        return {"one": np.float64(1.0), "two": np.int64(2), "three": torch.tensor(3.0)}

    steps = watched(SelfSupervisedAdapter, break_at=3)
    adapter = siamese(monitor=monitor, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    steps.clear()
    adapter.fit(zeros)
    assert steps == [3, 4]
    np.testing.assert_array_equal(adapter.training_curve_["two"], [2] * 5)


@pytest.mark.parametrize("kind", ["augmentation", "decoder"])
def test_a_callable_is_the_same_in_another_process(kind, zeros, watched, tmp_path):
    """There it has another address, as a copy has it here."""
    if kind == "augmentation":
        adapter, given = siamese(checkpoint=tmp_path), Keep()
    else:
        adapter, given = autoencoder(checkpoint=tmp_path), MakesDrawn()
    steps = watched(type(adapter), break_at=3)
    adapter.set_params(**{kind: given})
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    steps.clear()
    adapter.set_params(**{kind: type(given)()}).fit(zeros)
    assert steps == [3, 4]


class MakesDrawn:
    def __call__(self):
        return Drawn()


def test_stacked_adapters_train_all_of_both(zeros):
    inner = siamese(layers=["projector.1"], collapse_limit=0.0)
    before = clone(inner).fit(zeros).network_.named_parameters()
    after = siamese(extractor=inner, collapse_limit=0.0).fit(zeros).network_.named_parameters()
    assert not [name for (name, one), (_, other) in zip(before, after) if torch.equal(one, other)]


def test_a_layer_before_an_activation_is_not_changed_by_it(zeros):
    """ReLU in place overwrites what was tapped, if the network goes on to another tap."""
    alone = extractor(layers=["layer1.1"]).fit_transform(zeros)
    with_another = extractor(layers=["layer1.1", "layer2"]).fit_transform(zeros)
    np.testing.assert_array_equal(with_another[:, :4], alone)


def test_bfloat16_does_not_round_images_for_networks_with_classifiers(zeros):
    backbone = partial(timm.create_model, "test_resnet", num_classes=7)
    made = extractor(backbone, image_size=32, precision="bfloat16")
    adapter = siamese(extractor=made, n_steps=1).fit(zeros)
    found = adapter.transform(zeros)
    adapter.extractor_.fitted_network_.dtype = torch.float32
    np.testing.assert_allclose(adapter.transform(zeros), found, rtol=1e-5, atol=1e-6)


def test_stages_are_modules_that_images_pass(zeros):
    """The largest part is the code here, so the list of convolutions stays one stage."""
    made = extractor(partial(svdd_mnist, image_size=8, code_dim=128))
    assert siamese(extractor=made, layers="stages").fit(zeros).stopped_at_ == 4


def broken_at(step, adapter, images, watched):
    """Steps of the fit after one that was broken off."""
    steps = watched(type(adapter), break_at=step)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(images)
    steps.clear()
    return steps


def test_what_a_factory_says_of_images_decides_a_training(zeros, watched, tmp_path):
    """The weights are the same whatever the size; a state of smaller images must not go on."""
    smaller, larger = (extractor(partial(small_cnn, width=4, image_size=s)) for s in (8, 12))
    adapter = siamese(extractor=smaller, checkpoint=tmp_path)
    steps = broken_at(3, adapter, zeros, watched)
    adapter.set_params(extractor=larger).fit(zeros)
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize("first", [True, False])
def test_a_monitor_may_come_or_go_before_a_fit_goes_on(first, zeros, watched, tmp_path):
    def monitor(_):
        return {"one": 1.0}

    adapter = siamese(monitor=monitor if first else None, checkpoint=tmp_path)
    steps = broken_at(3, adapter, zeros, watched)
    adapter.set_params(monitor=None if first else monitor).fit(zeros)
    assert steps == [3, 4] or steps == [4]
    found = adapter.training_curve_["one"]
    assert np.isnan(found[-1]) == first
    assert np.isnan(found[0]) != first


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"spread": 1.0}, ValueError, "monitor gives measures .* 'spread'; choose others"),
        (None, TypeError, "monitor must return a dict of numbers by name; got None"),
    ],
)
def test_what_a_monitor_gives_is_checked(given, error, message, zeros):
    with pytest.raises(error, match=message):
        siamese(monitor=lambda _: given).fit(zeros)


def test_collapse_before_the_second_look_is_seen():
    spreads = iter([0.1, 0.0])
    axes = np.eye(4)

    def features_of():
        spread = next(spreads)
        return axes[0] + np.sqrt(spread) * axes[1:3]

    watch = CollapseWatch(
        features_of,
        axes[0],
        spread_limit=0.25,
        from_widest=True,
        every=10,
        monitor=dict,
        owner="test",
    )
    watch.look(0)
    watch.look(10)
    assert watch.collapsed_at == 10


class Spread:
    """Views in a range or of a size that are not theirs."""

    def __init__(self, factor, size):
        self.factor, self.size = factor, size

    def __call__(self, batch, generator):
        images = torch.nn.functional.interpolate(batch.float(), (self.size, self.size))
        return images.div(images.max()).mul(self.factor)


@pytest.mark.parametrize(("factor", "size"), [(255, 8), (1, 7)])
def test_views_are_checked(factor, size, zeros):
    with pytest.raises(
        ValueError, match=r"augmentation must give one view .* 8, 8\), .* in \[0, 1"
    ):
        siamese(augmentation=Spread(factor, size)).fit(zeros)


def test_views_are_not_rounded_in_mixed_precision(zeros, monkeypatch):
    seen = []
    plain = TrainingImages.view_images

    def view_images(self, *arguments):
        images = plain(self, *arguments)
        seen.append(images.clone())
        return images

    monkeypatch.setattr(TrainingImages, "view_images", view_images)
    for precision in ("float32", "bfloat16"):
        siamese(extractor=extractor(precision=precision), n_steps=1).fit(zeros)
    assert torch.equal(*seen)


def test_a_failed_scorer_tells_of_the_training_that_is_kept(zeros, tmp_path, monkeypatch):
    detector = NSA(NET, n_steps=2, checkpoint=tmp_path, **HEADS)

    def fail(self, X, y=None):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(KNNScorer, "fit", fail)
        with pytest.raises(MemoryError) as caught:
            detector.fit(zeros)
    assert str(tmp_path) in caught.value.__notes__[0]
    detector.fit(zeros)
    assert not list(tmp_path.iterdir())


def test_the_stem_is_no_block(zeros):
    made = extractor("test_resnet", image_size=32)
    adapter = siamese(extractor=made, layers="stages", n_steps=1).fit(zeros[:4])
    names = [name.rpartition("_")[0] for name in adapter.get_feature_names_out()]
    layers = [f"layer{i}" for i in range(1, 5)]
    assert list(dict.fromkeys(names)) == [*layers, *(f"{name}_flat" for name in layers[1:])]
    assert list(siamese(layers=["layer1"]).fit(zeros).feature_maps(zeros)) == ["layer1"]
