"""A choice among detectors on normal pictures alone."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.datasets import load_digits, load_sample_images
from sklearn.exceptions import NotFittedError

import skad
from skad import DN2, AutoDetector, ConformalDetector, ImageDetector, PatchCore, SklearnScorer
from skad.detectors._auto import KINDS
from skad.detectors._trial import Fold, Trial, best_of
from skad.model_selection import SyntheticAnomalies, SyntheticKFold
from skad.scorers._calibrated import normal_scores

DIGITS, LABELS = load_digits(return_X_y=True)
ZEROS, ONES = (DIGITS[number == LABELS][:60].reshape(-1, 8, 8) / 16 for number in (0, 1))
SMALL = {"image_size": 32}


class Coin(OutlierMixin, BaseEstimator):
    """Scores that have nothing to do with the picture."""

    def fit(self, X, y=None):
        self.offset_ = 0.0
        return self

    def score_samples(self, X):
        return np.sin(1e5 * np.asarray(X).sum(axis=1))


COIN = ImageDetector(skad.FeatureExtractor(**SMALL), scorer=SklearnScorer(Coin()))
GOOD = DN2(**SMALL)


@pytest.fixture(scope="module")
def fitted():
    candidates = {"coin": COIN, "good": GOOD, "early": DN2(layers=["layer2"], **SMALL)}
    return AutoDetector(candidates, n_splits=2).fit(ZEROS[:40])


def test_the_best_is_taken_and_a_coin_is_not(fitted):
    board = fitted.leaderboard_
    assert [row["candidate"] for row in board][-1] == "coin"
    assert board[0]["weight"] > 0
    assert board[-1]["weight"] == 0
    assert sum(row["weight"] for row in board) == pytest.approx(1)
    assert abs(board[-1]["auroc"] - 0.5) < 0.1
    assert board[0]["auroc"] > 0.65
    assert "coin" in str(board).splitlines()[-1]
    assert "<td>coin</td>" in board._repr_html_()
    scores = fitted.score_samples(np.concatenate([ZEROS[40:], ONES[:20]]))
    assert skad.metrics.auroc_score(np.repeat([1, -1], 20), scores) > 0.99


def test_scores_are_those_of_a_search_by_hand(fitted):
    """Folds, anomalies, ranks and their mean, written out."""
    seed = int(np.random.RandomState(0).randint(2**31))
    cv, synthetic = (
        SyntheticKFold(n_splits=2, random_state=seed),
        SyntheticAnomalies(KINDS, per_image=4),
    )
    normal, aurocs = np.full(40, np.nan), []
    for train, held in cv.split(ZEROS[:40]):
        detector = clone(GOOD).fit(ZEROS[train])
        normal[held] = detector.score_samples(ZEROS[held])
        made = synthetic.make(ZEROS[held])
        scores = detector.score_samples(made.images)
        for kind in set(made.kinds) - {"normal"}:
            pairs = (made.kinds == "normal") | (made.kinds == kind)
            aurocs.append(skad.metrics.auroc_score(made.y[pairs], scores[pairs]))
    assert len(aurocs) == 2 * len(set(made.kinds) - {"normal"})
    row = next(row for row in fitted.leaderboard_ if row["candidate"] == "good")
    odds = np.exp(np.mean([np.log(a / (1 - a)) for a in np.clip(aurocs, 0.005, 0.995)]))
    assert row["auroc"] == pytest.approx(odds / (1 + odds))
    alone = AutoDetector({"good": GOOD}, n_splits=2).fit(ZEROS[:40])
    np.testing.assert_array_equal(alone.calibration_scores_[0], np.sort(normal))
    found = np.mean(
        [
            normal_scores(detector.score_samples(ONES), known)
            for detector, known in zip(fitted.detectors_, fitted.calibration_scores_)
        ],
        axis=0,
    )
    np.testing.assert_array_equal(fitted.score_samples(ONES), found)


def test_normal_scores_keep_the_order_and_go_on_beyond():
    calibration = np.random.RandomState(0).exponential(size=199)
    scores = np.sort(np.append(np.linspace(-3, 9, 50), np.nan))
    z = normal_scores(scores, np.sort(calibration))
    assert (np.diff(z[:-1]) > 0).all()
    assert np.isnan(z[-1])
    own = normal_scores(calibration, np.sort(calibration))
    assert abs(own.mean()) < 0.01
    assert own.std() == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(normal_scores(scores * 7 + 3, np.sort(calibration * 7 + 3)), z)
    assert np.isfinite(normal_scores(np.array([0.0, 1.0, 2.0]), np.ones(5))).all()


def test_the_first_is_taken_where_none_is_surely_better():
    twins = {"first": GOOD, "second": DN2(n_neighbors=3, **SMALL)}
    for names in (["first", "second"], ["second", "first"]):
        named = {name: twins[name] for name in names}
        detector = AutoDetector(named, n_splits=2, n_best=1).fit(ZEROS[:16])
        (taken,) = (row["candidate"] for row in detector.leaderboard_ if row["weight"])
        assert taken == names[0]


@pytest.mark.parametrize(("gain", "spread", "taken"), [(0.4, 0.0, 0), (0.7, 0.0, 1), (0.7, 1.0, 0)])
def test_a_gain_counts_beyond_a_margin_and_twice_its_error(gain, spread, taken):
    """Scores whose AUROC, as log-odds, are what is asked for."""
    rng = np.random.RandomState(0)
    kinds = np.repeat(["normal", "a", "b", "c", "d"], 500)
    folds = [Fold(None, None, kinds) for _ in range(2)]

    def trial(name, odds):
        scores = []
        for _ in folds:
            of_kinds = []
            for k in range(4):
                area = 1 / (1 + np.exp(-(odds + spread * (-1) ** k * (name == "other"))))
                of_kinds.append(np.where(rng.rand(500) < area, -1.0, 1.0))
            scores.append(np.concatenate([np.zeros(500), *of_kinds]))
        return Trial(name, scores).judge(folds)

    trials = [trial("first", 1.0), trial("other", 1.0 + gain)]
    assert trials[1].auroc > trials[0].auroc
    assert best_of(trials, folds, 1) == [trials[taken]]


def test_the_same_seed_gives_the_same_bits(fitted):
    again = clone(fitted).fit(ZEROS[:40])
    np.testing.assert_array_equal(again.score_samples(ONES), fitted.score_samples(ONES))
    assert again.offset_ == fitted.offset_


def test_what_can_not_be_fitted_is_told_and_left_out():
    candidates = [GOOD, DN2(n_neighbors=50, **SMALL)]
    with pytest.warns(UserWarning, match="1 of 2 candidates were not tried or could not be fitted"):
        detector = AutoDetector(candidates, n_splits=2).fit(ZEROS[:20])
    assert "n_neighbors=50 needs at least 51" in detector.leaderboard_[-1]["note"]
    with pytest.raises(ValueError, match="no candidate can be fitted to these images: .*50"):
        AutoDetector(candidates[1:], n_splits=2).fit(ZEROS[:20])


def test_time_that_is_up_leaves_the_first():
    with pytest.warns(UserWarning, match="not tried"):
        detector = AutoDetector([GOOD, COIN], n_splits=2, max_minutes=1e-9).fit(ZEROS[:12])
    assert [row["note"] for row in detector.leaderboard_] == ["", "not tried: max_minutes"]


def test_four_pictures_are_enough_and_three_are_not():
    detector = AutoDetector([DN2(n_neighbors=1, **SMALL)]).fit(ZEROS[:4])
    assert np.isfinite(detector.score_samples(ONES)).all()
    with pytest.raises(ValueError, match="at least 4 normal images are needed"):
        AutoDetector([GOOD]).fit(ZEROS[:3])


def test_unreadable_pictures_are_skipped(fitted, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    images = [ONES[0], str(tmp_path / "broken.png"), ONES[1]]
    with pytest.warns(UserWarning, match="AutoDetector: 1 of 3 images could not be read"):
        scores = clone(fitted).set_params(on_error="skip").fit(ZEROS[:40]).score_samples(images)
    np.testing.assert_array_equal(np.isnan(scores), [False, True, False])


def test_it_is_saved_calibrated_and_fitted_to_flat_rows(fitted, tmp_path):
    detector = clone(fitted).set_params(candidates=[GOOD, DN2(layers=["layer3"], **SMALL)])
    skad.save(detector.fit(ZEROS[:40]), tmp_path / "auto.skad")
    loaded = skad.load(tmp_path / "auto.skad")
    np.testing.assert_array_equal(loaded.score_samples(ONES), detector.score_samples(ONES))
    assert str(loaded.leaderboard_) == str(detector.leaderboard_)
    inner = AutoDetector([GOOD], n_splits=2)
    calibrated = ConformalDetector(inner, false_alarm_rate=0.1).fit(ZEROS)
    assert calibrated.p_values(ONES).mean() < 0.2
    rows = AutoDetector([GOOD], n_splits=2).fit(DIGITS[LABELS == 0][:30])
    assert (rows.predict(DIGITS[LABELS == 1][:30]) == -1).mean() > 0.9


def test_maps_are_those_of_the_best_that_has_them(fitted):
    with pytest.raises(AttributeError, match="score_maps"):
        fitted.score_maps(ONES)
    flower = load_sample_images().images[1][:160, :320].reshape(4, 40, 8, 40, 3).swapaxes(1, 2)
    tiles = flower.reshape(32, 40, 40, 3)
    detector = AutoDetector([PatchCore(image_size=32)], n_splits=2).fit(tiles[:20])
    assert {one.shape for one in detector.score_maps(tiles[20:23])} == {(40, 40)}


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"candidates": []}, ValueError, "candidates holds no detector"),
        ({"candidates": [GOOD, clone(GOOD)]}, ValueError, "two candidates of the list print alike"),
        ({"candidates": [SyntheticAnomalies()]}, TypeError, "has no fit and score_samples"),
        ({"candidates": "all"}, ValueError, "candidates"),
        ({"n_splits": 1}, ValueError, "n_splits"),
    ],
)
def test_parameters_that_do_not_fit(parameters, error, message):
    with pytest.raises(error, match=message):
        AutoDetector(**({"candidates": [GOOD]} | parameters)).fit(ZEROS[:8])
    with pytest.raises(NotFittedError):
        AutoDetector().score_samples(ZEROS[:2])
