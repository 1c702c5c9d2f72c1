"""Files of trainings are kept until the outermost fit is over; what is frozen is gone on from."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skad import (
    DN2,
    MSC,
    SPADE,
    CompactnessAdapter,
    FeatureExtractor,
    KNNScorer,
    MeanShiftedContrastive,
    Whitening,
)
from skad.training._journal import journal
from tests.instances import SMALL, SMALLEST


@pytest.fixture(scope="module")
def zeros():
    digits, labels = load_digits(return_X_y=True)
    return digits[labels == 0][:20]


class Kept:
    """What stands for a checkpoint: it counts what is done to it."""

    def __init__(self):
        self.removed, self.noted = 0, []

    def remove(self):
        self.removed += 1

    def note(self, error):
        self.noted.append(error)


def test_the_outermost_exit_removes():
    first, second = Kept(), Kept()
    with journal() as outer:
        outer.append(first)
        with journal() as inner:
            assert inner is outer
            inner.append(second)
        assert first.removed == second.removed == 0
    assert first.removed == second.removed == 1
    with journal() as later:
        assert later == []


def test_an_error_keeps_and_is_noted_once():
    kept = Kept()

    def fit():
        with journal() as outer, journal():
            outer.append(kept)
            raise KeyError("x")

    with pytest.raises(KeyError) as raised:
        fit()
    assert kept.removed == 0
    assert kept.noted == [raised.value]
    with journal() as later:
        assert later == []


def test_other_threads_have_journals_of_their_own():
    def inside():
        with journal() as found:
            return found

    with journal() as ours, ThreadPoolExecutor(1) as threads:
        assert threads.submit(inside).result() is not ours


def test_nested_trainings_are_kept_until_the_scorer_is_fitted(zeros, tmp_path):
    inner = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=10, checkpoint=tmp_path / "inner")
    outer = MeanShiftedContrastive(inner, n_steps=10, checkpoint=tmp_path / "outer")
    seen = []

    class Failing(KNNScorer):
        def fit(self, X, y=None):
            seen.append([len(list(folder.iterdir())) for folder in sorted(tmp_path.iterdir())])
            return super().fit(X, y)

    make_pipeline(outer, Failing()).fit(zeros)
    assert seen == [[0, 0]], "a Pipeline of scikit-learn's knows no journal"
    with journal():
        make_pipeline(outer, Failing()).fit(zeros)
    assert seen[1] == [1, 1]
    assert [len(list(folder.iterdir())) for folder in sorted(tmp_path.iterdir())] == [0, 0]


def test_a_frozen_adapter_is_gone_on_from(zeros):
    fitted = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=2).fit(zeros)
    before = fitted.transform(zeros)
    further = MeanShiftedContrastive(FrozenEstimator(fitted), n_steps=2).fit(zeros)
    stacked = MeanShiftedContrastive(
        CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=2), n_steps=2
    ).fit(zeros)
    np.testing.assert_array_equal(further.transform(zeros), stacked.transform(zeros))
    np.testing.assert_array_equal(fitted.transform(zeros), before)
    with pytest.raises(TypeError, match="FeatureExtractor or an adapter; got a Whitening"):
        MeanShiftedContrastive(FrozenEstimator(Whitening().fit(np.eye(5)))).fit(zeros)


def test_a_refit_keeps_nothing_of_a_training(zeros):
    adapter = CompactnessAdapter(n_steps=2)
    detector = SPADE(**SMALLEST, adapter=adapter, n_threshold_images=2).fit(zeros)
    assert len(detector.training_curve_["loss"])
    detector.set_params(adapter=None).fit(zeros)
    assert not hasattr(detector, "training_curve_")
    assert not hasattr(detector, "stopped_at_")
    assert hasattr(MSC(**SMALL, n_steps=2).fit(zeros), "training_curve_")
    assert not hasattr(DN2(**SMALL).fit(zeros), "training_curve_")
