"""Folds and protocols of one-class learning."""

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skad import DN2, FeatureExtractor, KNNScorer, OneClassKFold, auroc_scorer
from skad.model_selection import leave_one_class_out, one_vs_rest, pollute, super_categories

from ..test_features import Counted


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_splits", [2, 3, 5])
def test_folds_train_on_normal_and_test_on_both(n_splits, shuffle):
    y = np.where(np.arange(47) % 4 == 0, -1, 1)
    cv = OneClassKFold(n_splits, shuffle=shuffle, random_state=0)
    folds = list(cv.split(np.zeros((47, 2)), y))
    assert len(folds) == cv.get_n_splits() == n_splits
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(47))
    for train, test in folds:
        assert (y[train] == 1).all()
        assert len(np.intersect1d(train, test)) == 0
        assert len(train) == (y == 1).sum() - (y[test] == 1).sum()
        for kind in (1, -1):
            assert abs((y[test] == kind).sum() - (y == kind).sum() / n_splits) < 1


def test_labels_in_blocks_are_no_trap():
    y = np.repeat([1, -1], [30, 10])
    for _, test in OneClassKFold(5).split(y, y):
        assert set(y[test]) == {1, -1}


def test_folds_follow_the_seed():
    y = np.repeat([1, -1], [30, 10])
    cv = [OneClassKFold(3, shuffle=True, random_state=s) for s in (0, 0, 1)]
    first, again, other = ([test.tolist() for _, test in c.split(y, y)] for c in cv)
    assert first == again != other


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs the labels y"),
        ([0, 1] * 5, "Unknown label type"),
        ([1] * 10, "only 0 samples are anomalous"),
        ([1] * 6 + [-1] * 4, "n_splits=5, but only 4 samples are anomalous"),
        ([-1] * 6 + [1] * 4, "n_splits=5, but only 4 samples are normal"),
        ([1, -1], "X has 10 samples, but y has 2 labels"),
    ],
)
def test_folds_that_can_not_be(y, message):
    with pytest.raises(ValueError, match=message):
        list(OneClassKFold(5).split(np.zeros(10), y))


LABELS = np.array([0, 0, 1, 1, 2, 2, 2])


def test_one_vs_rest():
    tasks = list(one_vs_rest(np.arange(7), LABELS, np.arange(7) * 10, LABELS))
    assert [task.name for task in tasks] == [0, 1, 2]
    np.testing.assert_array_equal(tasks[2].X_train, [4, 5, 6])
    np.testing.assert_array_equal(tasks[2].y_train, [2, 2, 2])
    np.testing.assert_array_equal(tasks[2].y_test, [-1, -1, -1, -1, 1, 1, 1])
    assert [t.name for t in one_vs_rest(LABELS, LABELS, LABELS, LABELS, classes=[1])] == [1]


def test_leave_one_class_out_is_the_opposite():
    for one, left in zip(
        one_vs_rest(LABELS, LABELS, LABELS, LABELS),
        leave_one_class_out(LABELS, LABELS, LABELS, LABELS),
    ):
        assert one.name == left.name
        np.testing.assert_array_equal(one.y_test, -left.y_test)
        np.testing.assert_array_equal(np.sort([*one.X_train, *left.X_train]), LABELS)


def test_super_categories():
    (task,) = super_categories(LABELS, LABELS, LABELS, LABELS, groups={"even": [0, 2]})
    assert task.name == "even"
    np.testing.assert_array_equal(task.y_train, [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(task.y_test, [1, 1, -1, -1, 1, 1, 1])


def test_protocols_take_lists_of_images(tiles):
    images = [Image.fromarray(tile) for tile in tiles[::8]]
    labels = ["temple"] * 3 + ["flower"] * 3
    for task in one_vs_rest(images, labels, images, labels):
        assert all(isinstance(image, Image.Image) for image in task.X_train)
        assert DN2().fit(task.X_train).predict(task.X_test).shape == (6,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": [9]}, r"classes \[9\] are not among the labels"),
        ({"y_test": [0, 0, 0, 0, 0, 0, 0]}, "7 normal test images and 0 anomalies"),
        ({"y_train": [0, 1]}, "X_train has 7 images, y_train 2 labels"),
    ],
)
def test_protocols_that_can_not_be(change, message):
    given = {"X_train": LABELS, "y_train": LABELS, "X_test": LABELS, "y_test": LABELS, **change}
    with pytest.raises(ValueError, match=message):
        list(one_vs_rest(**given))


def test_groups_of_unknown_classes():
    with pytest.raises(ValueError, match=r"group 'x': classes \[7\] are not among"):
        list(super_categories(LABELS, LABELS, LABELS, LABELS, groups={"x": [0, 7]}))


def test_pollution_is_a_share_of_the_whole():
    X, y = pollute(np.arange(5000), -np.arange(1, 2001), 0.1, random_state=0)
    assert len(X) == len(y) == 5556
    assert (y == -1).sum() == 556
    np.testing.assert_array_equal(X < 0, y == -1)
    assert len(np.unique(X)) == 5556, "drawn without replacement, none lost"
    again, _ = pollute(np.arange(5000), -np.arange(1, 2001), 0.1, random_state=0)
    np.testing.assert_array_equal(X, again)
    assert len(pollute([1, 2], [3], 0.0)[0]) == 2


@pytest.mark.parametrize(
    ("p", "message"), [(1.0, "share in"), (-0.1, "share in"), (0.9, "takes 90")]
)
def test_pollution_that_can_not_be(p, message):
    with pytest.raises(ValueError, match=message):
        pollute(np.arange(10), np.arange(10), p)


def make_search(folder, grid):
    pipeline = Pipeline(
        [
            ("extract", FeatureExtractor(Counted, image_size=32, memory=folder)),
            ("score", KNNScorer()),
        ],
        memory=str(folder),
    )
    return GridSearchCV(pipeline, grid, cv=OneClassKFold(3), scoring=auroc_scorer)


@pytest.mark.parametrize(
    "grid",
    [
        {"score__n_neighbors": [1]},
        {"score__n_neighbors": [1, 2, 3, 5], "score__metric": ["cosine", "euclidean"]},
    ],
)
def test_search_runs_the_backbone_once_per_image(grid, tiles, tmp_path):
    y = np.repeat([1, -1], 24)
    Counted.images = 0
    search = make_search(tmp_path, grid).fit(tiles, y)
    trials = 4  # fit sends one blank image through: three folds and the refit
    assert len(tiles) <= Counted.images <= len(tiles) + trials
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert len(best[-1].gallery_) == 24, "the refit leaves labelled anomalies out"


def test_search_over_a_detector(tiles):
    y = np.repeat([-1, 1], 24)
    grid = {"n_neighbors": [1, 2], "metric": ["cosine", "euclidean"], "layers": [None, ["layer3"]]}
    search = GridSearchCV(DN2(), grid, cv=OneClassKFold(3), scoring=auroc_scorer).fit(tiles, y)
    assert search.best_score_ > 0.85
    nested = search.get_params()
    assert nested["estimator__n_neighbors"] == 2
    assert len(search.best_estimator_.pipeline_[-1].gallery_) == 24
