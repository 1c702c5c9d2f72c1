"""Collapse of fine-tuned networks."""

import numpy as np
import pytest

from skad import (
    CollapseWarning,
)
from skad._rows import unit_rows
from skad.training import _run as _run
from tests.adapters.fine_tuning.common import assert_same_weights, compactness, moved

COLLAPSING = {
    "angular": {"loss": "angular", "learning_rate": 0.1},
    "squared": {"loss": "squared", "learning_rate": 4.0, "n_steps": 14},
}


def collapsing(kind, **parameters):
    return compactness(**{"clip_norm": None, "n_steps": 12} | COLLAPSING[kind] | parameters)


@pytest.mark.parametrize("kind", COLLAPSING)
def test_collapse_is_told(kind, normal):
    adapter = collapsing(kind)
    advice = r"stop_at_collapse=True, .*n_steps.*learning_rate.*trainable='last'.*'elastic'"
    with pytest.warns(CollapseWarning, match=f"(?s)CompactnessAdapter: .*collapsed: .*{advice}"):
        adapter.fit(normal)
    spread, steps = adapter.training_curve_["spread"], adapter.training_curve_["step"]
    first = np.flatnonzero(spread < 0.25 * spread[0])[0]
    assert adapter.collapsed_at_ == steps[first] > 0
    assert adapter.stopped_at_ == adapter.n_steps == steps[-1]


@pytest.mark.parametrize("kind", COLLAPSING)
def test_training_stops_at_collapse(kind, normal):
    adapter = collapsing(kind, stop_at_collapse=True).fit(normal)  # warnings are errors
    spread, steps = adapter.training_curve_["spread"], adapter.training_curve_["step"]
    assert adapter.collapsed_at_ == steps[-1] < adapter.n_steps
    assert adapter.stopped_at_ == steps[-2]
    assert (spread[:-1] >= 0.25 * spread[0]).all()
    assert_same_weights(adapter, collapsing(kind, n_steps=adapter.stopped_at_).fit(normal))


def test_going_back_may_be_a_long_way(normal, monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 100)
    adapter = collapsing("angular", stop_at_collapse=True).fit(normal)
    assert (adapter.stopped_at_, adapter.collapsed_at_) == (0, 12)
    assert moved(adapter, normal) == 0


def test_sample_wise_keeps_its_width_in_collapse(normal):
    adapter = collapsing("angular", stopping="sample_wise", stop_at_collapse=True).fit(normal)
    blocks = np.hsplit(adapter.transform(normal), 4)
    np.testing.assert_allclose(blocks[-1], unit_rows(adapter.extractor_.transform(normal)), 1e-6)
    assert adapter.checkpoint_steps_[-1] == adapter.stopped_at_


def test_the_limit_is_a_parameter(normal):
    adapter = collapsing("angular", collapse_limit=0.0).fit(normal)
    assert adapter.collapsed_at_ is None
    strict = compactness(collapse_limit=0.999, stop_at_collapse=True).fit(normal)
    assert strict.collapsed_at_ == 1
