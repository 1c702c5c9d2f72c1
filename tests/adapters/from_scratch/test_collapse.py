"""Monitors and collapse of trainings from scratch."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad import (
    CollapseWarning,
    SelfSupervisedAdapter,
)
from skad.training import _run as _run
from skad.training._watch import CollapseWatch
from tests.adapters.from_scratch.common import copies, nsa, same, siamese


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
