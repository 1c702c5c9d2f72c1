"""Trainings from scratch: seeds, breaks, checkpoints."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import (
    NSA,
    AutoencoderAdapter,
    CentroidScorer,
    DeepSVDD,
    DeepSVDDAdapter,
    KNNScorer,
    LogitScorer,
    RotationAdapter,
    RotationPrediction,
    SelfSupervisedAdapter,
)
from skad.adapters import _rotation
from skad.backbones import wide_resnet
from skad.training import _run as _run
from tests.adapters.from_scratch.common import (
    ADAPTERS,
    CODER,
    HEADS,
    KINDS,
    NET,
    SOFT,
    autoencoder,
    copies,
    every,
    extractor,
    rotation,
    same,
    siamese,
    svdd,
)

DROPPING = partial(wide_resnet, depth=10, widening=1, image_size=8)


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
