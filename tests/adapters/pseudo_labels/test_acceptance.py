"""Averaged weights that have to prove themselves."""

import numpy as np
import pytest
from sklearn.base import clone

from skad.training import _acceptance
from tests.adapters.pseudo_labels.common import pseudo


def test_a_frozen_network_has_no_average(images, monkeypatch):
    monkeypatch.setattr(_acceptance, "LEAST_GAIN", 2.0)
    adapter = pseudo(accept="if_better").fit(images)
    assert adapter.accepted_at_ == 0
    assert adapter.acceptance_["margin"] > 2  # of a look at an average, not of one before the first
    frozen = clone(adapter.extractor).fit(images)
    np.testing.assert_allclose(adapter.transform(images), frozen.transform(images), rtol=1e-5)
    assert len(adapter.labels_) == len(images)


def test_the_average_is_measured_and_kept(images, monkeypatch):
    monkeypatch.setattr(_acceptance, "LEAST_GAIN", -2.0)
    adapter = pseudo(accept="if_better", averaged_epochs=[1, 2]).fit(images)
    curve, told = adapter.training_curve_, adapter.acceptance_
    at = curve["step"].tolist().index(adapter.accepted_at_)
    assert adapter.accepted_at_ > 0
    # Before the first epoch has ended the average is the network before training.
    n_steps = curve["step"][-1] // 3
    assert (curve["synthetic_gain"][:n_steps] == 0).all()
    assert curve["synthetic_auroc"][at] == pytest.approx(np.mean(list(told["kinds"].values())))


def test_the_head_of_a_frozen_network_is_refused(images):
    adapter = pseudo(accept="if_better", output="logits")
    with pytest.raises(ValueError, match="PseudoLabelAdapter: .*output='logits'"):
        adapter.fit(images)
