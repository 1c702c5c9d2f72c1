"""Warnings name the user's line, whatever lies between it and their cause."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skad
from skad import (
    DN2,
    SCAN,
    CollapseWarning,
    CompactnessAdapter,
    ConformalDetector,
    FeatureExtractor,
    KNNScorer,
    OneClassKFold,
    auroc_scorer,
)
from skad.clusterers import ClusterWarning
from skad.scorers import _knn
from skad.training import _run as _run

from .instances import SMALLEST

ROWS = np.random.RandomState(0).rand(40, 64)
CLASSES = np.arange(40) % 2
LABELS = np.where(CLASSES, 1, -1)


def ignored(estimator):
    return lambda: estimator.fit(ROWS, CLASSES)


def two_groups():
    """Black and white, no two the same."""
    noise = np.random.RandomState(0).rand(12, 8, 8) / 100
    noise[6:] += 0.99
    return noise


def collapsing():
    extractor = FeatureExtractor("test_resnet", weights=None, image_size=32)
    settings = {"learning_rate": 0.1, "clip_norm": None, "n_steps": 12, "collapse_limit": 0.99}
    return CompactnessAdapter(extractor, **settings)


def with_empty_clusters():
    extractor = FeatureExtractor(SMALLEST["backbone"], weights=None, std=0.02)
    settings = {"n_clusters": 4, "n_neighbors": 2, "n_epochs": 20, "n_self_labelling_epochs": 0}
    return SCAN(extractor, augmentation=None, trainable="head", learning_rate=0.3, **settings)


def searched():
    search = GridSearchCV(
        KNNScorer(), {"n_neighbors": [1, 2]}, cv=OneClassKFold(2), scoring=auroc_scorer
    )
    return search.fit(np.vstack([ROWS] * 5), np.tile(LABELS, 5))


ROUTES = {
    "scorer": (UserWarning, "y is ignored", ignored(KNNScorer())),
    "detector": (UserWarning, "y is ignored", ignored(DN2(**SMALLEST))),
    "fit_predict": (UserWarning, "y is ignored", lambda: KNNScorer().fit_predict(ROWS, CLASSES)),
    "pipeline": (UserWarning, "y is ignored", ignored(make_pipeline(KNNScorer()))),
    "conformal": (
        UserWarning,
        "y is ignored",
        ignored(ConformalDetector(KNNScorer(), false_alarm_rate=0.3)),
    ),
    "index": (UserWarning, "takes 'hnsw'", lambda: KNNScorer().fit(ROWS)),
    "more rows": (UserWarning, "takes 'hnsw'", lambda: KNNScorer().partial_fit(ROWS)),
    "search": (UserWarning, "takes 'hnsw'", searched),
    "collapse": (CollapseWarning, "collapsed", lambda: collapsing().fit(ROWS)),
    "clusters": (ClusterWarning, "have no images", lambda: with_empty_clusters().fit(two_groups())),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("route", ROUTES)
def test_a_warning_names_the_line_of_the_user(route, monkeypatch):
    category, words, action = ROUTES[route]
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)
    if "hnsw" in words:
        monkeypatch.setattr(_knn, "LARGE", 30)
    with pytest.warns(category, match=words) as found:
        action()
    ours = [warning for warning in found if words in str(warning.message)]
    assert ours
    assert {warning.filename for warning in ours} == {__file__}


def test_nothing_else_warns():
    for path in Path(skad.__file__).parent.rglob("*.py"):
        assert path.name == "_warnings.py" or "warnings.warn" not in path.read_text(), path
