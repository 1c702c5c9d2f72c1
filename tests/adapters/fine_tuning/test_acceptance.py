"""Trainings that have to prove themselves."""

import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from skad import MSC, PANDA, load, save
from skad.displays import TrainingCurveDisplay
from skad.training import _acceptance, _run
from skad.training._run import Training
from tests.adapters.fine_tuning.common import (
    EVERY,
    assert_same_weights,
    compactness,
    contrastive,
    exposure,
    extractor,
    moved,
)

# A training that collapses.
SPOILT = {"loss": "angular", "learning_rate": 0.1, "clip_norm": None, "n_steps": 12}


@pytest.fixture(scope="module")
def zeros():
    digits, labels = load_digits(return_X_y=True)
    return digits[labels == 0][:60]


@pytest.fixture
def hard(monkeypatch):
    """No gain is enough."""
    monkeypatch.setattr(_acceptance, "LEAST_GAIN", 2.0)


@pytest.fixture(scope="module")
def accepted(zeros):
    """A training whose best look is kept, however little it gained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run, "FEWEST_STEPS", 3)
        patch.setattr(_acceptance, "LEAST_GAIN", -1.0)
        adapter = contrastive(n_steps=6, learning_rate=0.05, collapse_limit=0.0)
        return adapter.set_params(accept="if_better").fit(zeros)


def test_what_gains_too_little_leaves_the_network_frozen(normal, hard):
    adapter = compactness(**SPOILT, accept="if_better").fit(normal)  # no warning of collapse
    assert adapter.collapsed_at_ > 0
    assert moved(adapter, normal) == 0
    assert adapter.accepted_at_ == adapter.stopped_at_ == 0
    assert not adapter.acceptance_["accepted"]
    assert adapter.acceptance_["reason"].startswith("the frozen network is kept: at best, step ")
    assert adapter.training_curve_["step"][-1] == 12
    frozen = clone(adapter.extractor).fit(normal)
    np.testing.assert_allclose(adapter.transform(normal), frozen.transform(normal), rtol=1e-5)


def test_the_best_network_by_the_criterion_is_kept(accepted, zeros):
    curve, told = accepted.training_curve_, accepted.acceptance_
    excess = curve["synthetic_gain"] - curve["margin"]
    best = np.argmax(excess)
    assert excess[best] > 0 == excess[0]
    assert accepted.accepted_at_ == accepted.stopped_at_ == curve["step"][best] == told["step"]
    assert told["accepted"]
    assert told["gain"] == curve["synthetic_gain"][best]
    # What is told of each kind was measured on the network that is kept.
    assert np.mean(list(told["kinds"].values())) == pytest.approx(curve["synthetic_auroc"][best])
    assert moved(accepted, zeros) > 0


def test_gains_are_over_the_frozen_network(accepted):
    curve = accepted.training_curve_
    gains = curve["synthetic_auroc"] - curve["synthetic_auroc"][0]
    np.testing.assert_allclose(curve["synthetic_gain"], gains, atol=1e-12)
    assert accepted.acceptance_["frozen_auroc"] == curve["synthetic_auroc"][0]


def test_lengths_alone_prove_nothing(normal, monkeypatch):
    monkeypatch.setattr(_acceptance, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(_acceptance, "CONFIDENCE", 0.5)  # a margin of zero

    def by_lengths(queries, gallery, metric):
        """Anomalies stand out by the euclidean distance after training."""
        scores = np.arange(float(len(queries)))
        seen.append(metric)
        return scores if metric == "euclidean" and len(seen) > 4 else -scores

    seen = []
    monkeypatch.setattr(_acceptance, "nearest", by_lengths)
    adapter = compactness(n_steps=2, accept="if_better").fit(normal)
    curve = adapter.training_curve_
    assert curve["synthetic_auroc"][1] > curve["synthetic_auroc"][0]
    assert curve["synthetic_gain"][1] == 0
    assert adapter.accepted_at_ == 0


def test_collapse_may_end_what_is_not_accepted(normal, hard):
    adapter = compactness(**SPOILT, stop_at_collapse=True, accept="if_better").fit(normal)
    assert adapter.collapsed_at_ == adapter.training_curve_["step"][-1] < 12
    assert adapter.accepted_at_ == 0


def test_always_has_nothing_to_tell(normal):
    adapter = compactness(accept="if_better").fit(normal)
    adapter.set_params(accept="always").fit(normal)
    assert not hasattr(adapter, "acceptance_")
    assert not hasattr(adapter, "accepted_at_")
    assert "synthetic_auroc" not in adapter.training_curve_
    assert_same_weights(adapter, compactness().fit(normal))


@pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)
def test_every_fine_tuning_may_have_to_prove_itself(make, normal, auxiliary):
    given = {"output": "features"} if make is exposure else {}
    adapter = make(accept="if_better", **given)
    fit = auxiliary(adapter)
    adapter.fit(normal, **fit)
    assert adapter.acceptance_["n_held_out"] == 4
    assert len(adapter.transform(normal)) == len(normal)


def test_training_pictures_are_not_those_that_are_held_out(normal, monkeypatch):
    seen, plain = [], Training.__init__

    def noted(self, task, plan, start, *others):
        plain(self, task, plan, start, *others)
        batches = [start.images.sampler(step) for step in range(plan.n_steps)]
        seen.append((set(start.held_out), set(np.concatenate(batches)), self.acceptance))

    monkeypatch.setattr(Training, "__init__", noted)
    compactness(accept="if_better").fit(normal)
    ((held_out, trained, acceptance),) = seen
    assert not held_out & trained
    assert held_out | trained == set(range(len(normal)))
    assert len(acceptance._gallery()) == len(trained)


def test_the_detector_scores_by_all_pictures(normal):
    detector = PANDA("test_resnet", weights=None, image_size=32, n_steps=2, accept="if_better")
    detector.fit(normal)
    assert len(detector.pipeline_["scorer"].gallery_) == len(normal)
    assert detector.acceptance_ == detector.pipeline_["adapter"].acceptance_
    assert detector.accepted_at_ == detector.stopped_at_


def test_it_is_told_by_files_and_pictures(accepted, tmp_path):
    from matplotlib.figure import Figure

    detector = MSC("test_resnet", weights=None, image_size=32, n_steps=2, accept="if_better")
    detector.fit(load_digits().data[:40])
    save(detector, tmp_path / "model.skad")
    assert load(tmp_path / "model.skad").acceptance_ == detector.acceptance_
    measures = ["synthetic_auroc", "synthetic_gain", "margin"]
    display = TrainingCurveDisplay.from_estimator(
        accepted, measures=measures, axes=Figure().subplots(3)
    )
    assert display.stopped_at == accepted.accepted_at_
    assert display.axes_[0].get_ylabel() == "AUROC of\nsynthetic anomalies"


@pytest.mark.parametrize("container", ["rows", "arrays", "twelve bits", "sizes"])
def test_pictures_of_every_kind_are_made_into_anomalies(container, zeros):
    images = zeros[:20].reshape(-1, 8, 8)
    given = {
        "rows": zeros[:20],
        "arrays": images / 16,
        "twelve bits": (images * 255).astype(np.uint16),
        "sizes": [image[: 8 - i % 2] / 16 for i, image in enumerate(images)],
    }[container]
    others = {"value_range": (0, 4080)} if container == "twelve bits" else {}
    adapter = compactness(extractor=extractor(**others), n_steps=1, accept="if_better").fit(given)
    expected = compactness(extractor=extractor(), n_steps=1, accept="if_better").fit(images / 16)
    if container != "sizes":
        np.testing.assert_allclose(
            adapter.training_curve_["synthetic_auroc"],
            expected.training_curve_["synthetic_auroc"],
            atol=0.02,
        )


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (compactness(stopping="sample_wise"), "keeps one network, and stopping='sample_wise'"),
        (exposure(), "output='logit'. Set output='features'"),
    ],
)
def test_what_makes_no_sense_is_told(adapter, message, normal, auxiliary):
    adapter.set_params(accept="if_better")
    with pytest.raises(ValueError, match=re.escape(message)):
        adapter.fit(normal, **auxiliary(adapter))


def test_time_that_is_up_ends_with_a_look(normal):
    adapter = compactness(accept="if_better", n_steps=1000, max_minutes=1e-9).fit(normal)
    assert adapter.training_curve_["step"].tolist() == [0, 1]
    assert adapter.accepted_at_ in (0, 1)
