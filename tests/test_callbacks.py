"""scikit-learn's callbacks: fits, steps of trainings and searches are told of, and may be ended."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skad
from skad import (
    DN2,
    PANDA,
    SPADE,
    CompactnessAdapter,
    FeatureExtractor,
    KNNScorer,
    OneClassKFold,
    auroc_scorer,
)
from tests.instances import SMALL, SMALLEST


class Witness:
    """Notes what it is told of; ends trainings after some steps."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.told, self.losses, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.told.append(("setup", type(estimator).__name__, context.task_name))

    def teardown(self, estimator, context):
        self.told.append(("teardown", type(estimator).__name__, context.task_name))

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", type(estimator).__name__, context.task_name))

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        self.told.append(("end", type(estimator).__name__, context.task_name))
        if context.task_name == "step":
            self.losses.append(metadata["loss"])
            return self.stop_after is not None and len(self.losses) >= self.stop_after
        return None

    def count(self, *what):
        return self.told.count(what)


@pytest.fixture(scope="module")
def digits_zero():
    X, y = load_digits(return_X_y=True)
    return X[y == 0][:30]


def test_a_detector_tells_of_its_parts(digits_zero):
    witness = Witness()
    DN2(**SMALL).set_callbacks(witness).fit(digits_zero)
    assert witness.told == [
        ("setup", "DN2", "fit"),
        ("begin", "DN2", "fit"),
        ("begin", "FeatureExtractor", "fit"),
        ("end", "FeatureExtractor", "fit"),
        ("begin", "KNNScorer", "fit"),
        ("end", "KNNScorer", "fit"),
        ("end", "DN2", "fit"),
        ("teardown", "DN2", "fit"),
    ]


def test_a_training_tells_of_its_steps_and_their_losses(digits_zero):
    witness = Witness()
    detector = PANDA(**SMALL, n_steps=12).set_callbacks(witness).fit(digits_zero)
    step = "CompactnessAdapter", "step"
    assert witness.count("begin", *step) == witness.count("end", *step) == 12
    mean = np.mean(witness.losses[:10])
    np.testing.assert_allclose(mean, detector.training_curve_["loss"][1], rtol=1e-6)
    plain = PANDA(**SMALL, n_steps=12).fit(digits_zero)
    np.testing.assert_array_equal(
        plain.score_samples(digits_zero), detector.score_samples(digits_zero)
    )


def test_a_callback_may_end_a_training(digits_zero):
    adapter = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=40)
    adapter.set_callbacks(Witness(stop_after=3)).fit(digits_zero)
    assert adapter.stopped_at_ == 3
    shorter = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=3).fit(digits_zero)
    np.testing.assert_array_equal(adapter.transform(digits_zero), shorter.transform(digits_zero))


def test_an_error_is_torn_down_too_and_leaves_nothing(digits_zero):
    witness = Witness()
    detector = PANDA(**SMALL, n_steps=5, learning_rate=1e30, clip_norm=None)
    with pytest.raises(ArithmeticError):
        detector.set_callbacks(witness).fit(digits_zero)
    assert witness.told[0] == ("setup", "PANDA", "fit")
    assert witness.told[-1] == ("teardown", "PANDA", "fit")
    assert vars(detector).keys() == vars(clone(detector)).keys()


def test_pipelines_and_searches(digits_zero):
    witness = Witness()
    adapter = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=2)
    pipeline = make_pipeline(adapter, KNNScorer()).set_callbacks(witness)
    pipeline.fit(digits_zero)
    assert witness.count("end", "CompactnessAdapter", "step") == 2
    assert witness.count("end", "KNNScorer", "fit") == 1
    witness = Witness()
    X = np.concatenate([digits_zero, 16 - digits_zero[:10]])
    y = np.r_[np.ones(len(digits_zero)), -np.ones(10)]
    search = GridSearchCV(
        PANDA(**SMALL, n_steps=2),
        {"n_neighbors": [1, 2]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
    )
    search.set_callbacks(witness).fit(X, y)
    assert witness.count("setup", "GridSearchCV", "fit") == 1
    assert witness.count("end", "PANDA", "fit") == 5, "two folds of two, and once more"
    assert witness.count("end", "CompactnessAdapter", "step") == 10


def test_frozen_parts_and_maps(digits_zero):
    frozen = FrozenEstimator(CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=2))
    frozen.estimator.fit(digits_zero)
    for detector in (
        skad.ImageDetector(adapter=frozen),
        SPADE(**SMALLEST, n_neighbors=2, n_threshold_images=2),
    ):
        witness = Witness()
        detector.set_callbacks(witness).fit(digits_zero[:12])
        assert witness.told[-1] == ("teardown", type(detector).__name__, "fit")


def test_callbacks_stay_out_of_files(digits_zero, tmp_path):
    detector = DN2(**SMALL).set_callbacks(Witness()).fit(digits_zero)
    skad.save(detector, tmp_path / "model.skad")
    loaded = skad.load(tmp_path / "model.skad")
    assert not hasattr(loaded, "_skl_callbacks")
    for one in (loaded, pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(
            one.score_samples(digits_zero), detector.score_samples(digits_zero)
        )


@pytest.mark.parametrize(
    "make", [lambda **p: PANDA(**SMALL, **p), lambda **p: skad.MSC(**SMALL, **p)]
)
def test_a_training_ends_when_its_time_is_up(make, digits_zero):
    detector = make(n_steps=100_000, max_minutes=0.01, batch_size=8).fit(digits_zero)
    assert 1 <= detector.stopped_at_ < 100_000
    assert detector.training_curve_["step"][-1] == detector.stopped_at_
    with pytest.raises(ValueError, match="max_minutes.*> 0|max_minutes.*range"):
        make(max_minutes=0).fit(digits_zero)
