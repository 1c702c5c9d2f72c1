"""Search on normal pictures alone."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skad import DN2, SPADE, FeatureExtractor, KNNScorer
from skad.model_selection import (
    SyntheticAnomalies,
    SyntheticAUROC,
    SyntheticKFold,
    synthetic_auroc_scorer,
)

from ..test_features import Counted

ZEROS = load_digits(n_class=1).images[:24] / 16
KINDS = ["stain", "tiles", "blur"]


def test_folds_deal_out_all_normal_pictures():
    cv = SyntheticKFold(n_splits=4)
    folds = list(cv.split(ZEROS))
    assert len(folds) == cv.get_n_splits() == 4
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(24))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.append(train, test)), np.arange(24))
    assert any((np.diff(test) < 0).any() or (np.diff(test) > 1).any() for _, test in folds)
    for (a, _), (b, _) in zip(folds, cv.split(ZEROS)):
        np.testing.assert_array_equal(a, b)


def test_too_few_pictures_and_anomalies_are_refused():
    with pytest.raises(ValueError, match="SyntheticKFold: 5 pictures are too few for n_splits=3"):
        list(SyntheticKFold().split(ZEROS[:5]))
    with pytest.raises(ValueError, match="y tells of anomalies"):
        list(SyntheticKFold().split(ZEROS, np.repeat([1, -1], 12)))


def mean_of(areas):
    areas = np.clip(areas, 0.005, 0.995)
    odds = np.exp(np.mean(np.log(areas / (1 - areas))))
    return odds / (1 + odds)


def test_score_is_the_mean_over_kinds():
    synthetic = SyntheticAnomalies(KINDS, per_image=2)
    detector = DN2(image_size=32).fit(ZEROS[:16])
    scorer = SyntheticAUROC(synthetic)
    made = synthetic.make(ZEROS[16:])
    scores = detector.score_samples(made.images)
    expected = {}
    for kind in KINDS:
        chosen = (made.kinds == "normal") | (made.kinds == kind)
        expected[kind] = roc_auc_score(made.y[chosen], scores[chosen])
    assert scorer.by_kind(detector, ZEROS[16:]) == pytest.approx(expected)
    assert scorer(detector, ZEROS[16:]) == pytest.approx(mean_of(list(expected.values())))


def test_each_picture_goes_through_the_network_once_in_a_search(tmp_path):
    Counted.images = 0
    synthetic = SyntheticAnomalies(KINDS, per_image=2)
    cv = SyntheticKFold(synthetic, n_splits=2)
    pipeline = Pipeline(
        [
            ("extractor", FeatureExtractor(Counted, weights=None, memory=tmp_path)),
            ("scorer", KNNScorer()),
        ]
    )
    grid = {"scorer__n_neighbors": [1, 2, 5], "scorer__metric": ["cosine", "euclidean"]}
    search = GridSearchCV(pipeline, grid, cv=cv, scoring=cv.scorer).fit(ZEROS)
    n_fits = 6 * 2 + 1  # each tries its network on one picture
    assert Counted.images == 24 * (1 + 2) + n_fits
    assert len(search.cv_results_["mean_test_score"]) == 6
    assert len(search.best_estimator_["scorer"].gallery_) == 24


def test_pixels_of_a_map_detector():
    spade = SPADE(image_size=32, n_neighbors=3).fit(ZEROS[:16])
    synthetic = SyntheticAnomalies(["stain", "tiles"], strength="coarse")
    found = SyntheticAUROC(synthetic, pixels=True).by_kind(spade, ZEROS[16:])
    assert set(found) == {"stain"}, "shifts have no place"
    assert found["stain"] > 0.7


def test_the_ready_scorer_makes_all_kinds():
    detector = DN2(image_size=32).fit(ZEROS[:16])
    assert synthetic_auroc_scorer(detector, ZEROS[16:20]) == pytest.approx(
        mean_of(list(SyntheticAUROC(SyntheticAnomalies()).by_kind(detector, ZEROS[16:20]).values()))
    )
