"""ConformalDetector: its p-values, what they guarantee, and what it wraps."""

import pickle
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skad import DN2, FeatureExtractor, KNNScorer, OneClassKFold, auroc_scorer
from skad.conformal import ConformalDetector
from skad.conformal._ranks import whole_part
from skad.metrics import auroc_score

RATES = np.array([0.01, 0.05, 0.1])
DIGITS, LABELS = load_digits(return_X_y=True)
NORMAL, OUTLIERS = DIGITS[LABELS < 5], DIGITS[LABELS >= 5]
METHODS = [{"method": "split", "calibration_share": 0.5}, {"method": "cross"}]


class FirstColumn(OutlierMixin, BaseEstimator):
    """Scores by the first column, less its training mean where `centred`: scores as one likes."""

    def __init__(self, *, centred=False):
        self.centred = centred

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)[0] if self.centred else 0.0
        return self

    def decision_function(self, X):
        return np.asarray(X)[:, 0] - self.mean_


class Nearest(OutlierMixin, BaseEstimator):
    """Distance to the nearest training row, fast enough for hundreds of fits."""

    def fit(self, X, y=None):
        self.X_ = X
        return self

    def decision_function(self, X):
        return -cdist(X, self.X_, "sqeuclidean").min(axis=1)


def slow_p_values(detector, X):
    """The definition, one sample, one detector, one calibration score at a time."""
    p_values = []
    for index in range(len(X)):
        count = n = 0
        for inner, known in zip(detector.detectors_, detector.calibration_scores_):
            score = (getattr(inner, "score_samples", None) or inner.decision_function)(X)[index]
            count += sum(1 for one in known if one <= score)
            n += len(known)
        p_values.append((1 + count) / (n + 1))
    return np.array(p_values)


@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("inner", [KNNScorer(), FirstColumn(centred=True)])
def test_p_values_are_those_of_a_slow_loop(inner, options):
    detector = ConformalDetector(inner, **options).fit(NORMAL[:103])
    X = np.concatenate([NORMAL[:8], NORMAL[103:111], OUTLIERS[:8]])
    np.testing.assert_array_equal(detector.p_values(X), slow_p_values(detector, X))
    assert sum(map(len, detector.calibration_scores_)) == (103 if "cross" in str(options) else 52)


def test_calibration_scores_are_out_of_fold():
    """Of a detector that remembers its training rows, which score 0 with it."""
    detector = ConformalDetector(Nearest(), method="cross", n_folds=4).fit(NORMAL[:50])
    assert [len(inner.X_) for inner in detector.detectors_] == [37, 37, 38, 38]
    assert all((scores < 0).all() for scores in detector.calibration_scores_)
    used = np.sort([scores.size for scores in detector.calibration_scores_])
    np.testing.assert_array_equal(used, [12, 12, 13, 13])


@pytest.mark.parametrize("method", ["split", "cross"])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("n", [19, 20, 39, 99, 100])
def test_anomalies_are_where_the_p_value_is_at_most_the_rate(n, centred, method):
    rng = np.random.RandomState(n)
    X = rng.randint(-6, 7, (2 * n if method == "split" else n, 1)).astype(float)  # many ties
    far = np.array([[-1e300], [-1e9], [-7.0], [-6.5], [7.0], [1e300]])
    X_test = np.concatenate([np.unique(X)[:, None], far])
    inner = FirstColumn(centred=centred)
    rates = [k / (n + 1) for k in (1, 2, n // 3, n)] + [0.05 + 1e-9, 0.1, 0.3, 0.55]
    for rate in rates:
        detector = ConformalDetector(
            inner, false_alarm_rate=rate, method=method, calibration_share=0.5
        )
        if rate * (n + 1) < 1 - 1e-9:
            with pytest.raises(ValueError, match="needs at least"):
                detector.fit(X)
            continue
        detector.fit(X)
        expected = np.where(detector.p_values(X_test) <= rate, -1, 1)
        assert set(expected) == {-1, 1}
        np.testing.assert_array_equal(detector.predict(X_test), expected)
        np.testing.assert_array_equal(detector.decision_function(X_test) < 0, expected == -1)
        np.testing.assert_array_equal(
            detector.score_samples(X_test) < detector.offset_, expected == -1
        )


def test_shares_of_whole_numbers_are_exact():
    assert (0.29 * 100 < 29, whole_part(0.29, 100)) == (True, 29)
    for share in ("0.01", "0.05", "0.07", "0.1", "0.15", "0.29", "0.3", "0.55", "0.999"):
        for n in range(0, 1200):
            exact = Fraction(share) * n
            assert whole_part(float(share), n) == exact.numerator // exact.denominator


def test_offset_of_split_is_a_calibration_score():
    detector = ConformalDetector(KNNScorer(), false_alarm_rate=0.1, calibration_share=0.5)
    detector.fit(NORMAL[:98])
    (scores,) = detector.calibration_scores_
    assert len(scores) == 49
    assert detector.offset_ == scores[4]  # the 5th lowest: 0.1 * (49 + 1)
    (inner,) = detector.detectors_
    np.testing.assert_array_equal(detector.score_samples(OUTLIERS), inner.score_samples(OUTLIERS))


def test_cross_ranks_samples_beyond_the_calibration_scores():
    X = np.random.RandomState(0).normal(size=(60, 1))
    detector = ConformalDetector(FirstColumn(centred=True), method="cross").fit(X)
    beyond = -np.logspace(1, 5, 50)[:, None]
    assert len(np.unique(detector.p_values(beyond))) == 1
    assert (np.diff(detector.score_samples(beyond)) < 0).all()
    assert (np.diff(detector.score_samples(np.sort(X, axis=0)).ravel()) > 0).all()


def test_cross_ranks_as_well_as_its_detector():
    y = np.repeat([1, -1], [200, 200])
    X = np.concatenate([NORMAL[-200:], OUTLIERS[:200]])
    plain = KNNScorer().fit(NORMAL[:600])
    cross = ConformalDetector(KNNScorer(), method="cross").fit(NORMAL[:600])
    difference = auroc_score(y, cross.score_samples(X)) - auroc_score(y, plain.score_samples(X))
    assert abs(difference) < 0.01


def p_values_over_splits(options, n_splits, *, n_train, n_normal, n_outliers, inner=None):
    """p-values of normal samples and of outliers, one row for each random split of the data."""
    found = []
    for seed in range(n_splits):
        rng = np.random.RandomState(seed)
        normal, outliers = rng.permutation(NORMAL), rng.permutation(OUTLIERS)
        detector = ConformalDetector(inner or Nearest(), random_state=seed, **options)
        detector.fit(normal[:n_train])
        test = np.concatenate([normal[n_train : n_train + n_normal], outliers[:n_outliers]])
        found.append((detector, test, detector.p_values(test)))
    return found


def mean_and_error(values):
    """Mean over splits and its standard error."""
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def test_false_alarms_of_split_have_the_rate_that_was_asked_for():
    runs = p_values_over_splits(METHODS[0], 300, n_train=398, n_normal=400, n_outliers=0)
    rate, error = mean_and_error([(p[:, None] <= RATES).mean(axis=0) for _, _, p in runs])
    assert (error < 0.002).all(), "else this shows nothing"
    # Exactly the rate, as 199 + 1 times each rate is whole and no scores are tied.
    assert (np.abs(rate - RATES) < 4 * error).all(), f"{rate} +- {error}"


def test_false_alarms_of_cross_are_near_the_rate_and_within_the_bound():
    options = {"method": "cross", "n_folds": 10}
    runs = p_values_over_splits(options, 100, n_train=199, n_normal=400, n_outliers=0)
    rate, error = mean_and_error([(p[:, None] <= RATES).mean(axis=0) for _, _, p in runs])
    bound = 2 * RATES + 2 * 9 / 209
    assert (rate < bound).all()
    assert (rate < RATES + 4 * error).all(), f"{rate} +- {error}"
    assert (rate > 0.5 * RATES).all(), f"{rate} +- {error}"


@pytest.mark.parametrize("options", METHODS)
def test_false_discoveries_are_few(options):
    n_normal, n_outliers = 80, 40
    runs = p_values_over_splits(options, 60, n_train=500, n_normal=n_normal, n_outliers=n_outliers)
    for q in (0.05, 0.1, 0.2):
        proportions, found = [], []
        for detector, batch, _ in runs:
            alarm = detector.predict_fdr(batch, false_discovery_rate=q) == -1
            proportions.append(alarm[:n_normal].sum() / max(1, alarm.sum()))
            found.append(alarm[n_normal:].mean())
        proportion, error = mean_and_error(proportions)
        assert proportion < q * n_normal / (n_normal + n_outliers) + 4 * error
        assert np.mean(found) > (0.3 if q < 0.1 else 0.6)


def test_fdr_is_the_procedure_of_benjamini_and_hochberg():
    detector = ConformalDetector(FirstColumn(), calibration_share=0.5)
    detector.fit(np.arange(398.0)[:, None])
    batch = np.concatenate([-np.ones(2), np.arange(-4, 380, 8.0)])[:, None]
    p_values = detector.p_values(batch)
    for q in (0.05, 0.1, 0.2, 0.5):
        ordered, m = np.sort(p_values), len(batch)
        passed = [j for j in range(1, m + 1) if ordered[j - 1] <= j * q / m + 1e-12]
        expected = np.where(p_values <= ordered[max(passed) - 1], -1, 1) if passed else 1
        np.testing.assert_array_equal(detector.predict_fdr(batch, false_discovery_rate=q), expected)


def test_fdr_counts_equality_in_whatever_way_it_rounds():
    """n outliers of m samples, with a calibration set that is just large enough for them."""
    for q in (0.05, 0.1, 0.15, 0.3):
        for n_outliers in (1, 2, 3, 6, 7):
            n = round(8 * 20 / (n_outliers * q)) - 1
            if abs(q * n_outliers * (n + 1) - 160) > 1e-9:
                continue
            inner = FrozenEstimator(FirstColumn().fit(np.zeros((1, 1))))
            detector = ConformalDetector(inner, false_alarm_rate=0.5, calibration_share=1.0)
            detector.fit(np.arange(n, dtype=float)[:, None])
            batch = np.repeat([-1.0, n], [n_outliers, 160 - n_outliers])[:, None]
            labels = detector.predict_fdr(batch, false_discovery_rate=q)
            assert (labels == -1).sum() == n_outliers, (q, n_outliers, n)


@pytest.mark.parametrize("rate", [0, 1, -0.1, "0.1", None])
def test_fdr_that_can_not_be(rate):
    detector = ConformalDetector(KNNScorer()).fit(NORMAL[:100])
    with pytest.raises(ValueError, match="false_discovery_rate must be a float in"):
        detector.predict_fdr(NORMAL[:5], false_discovery_rate=rate)


def polluted_runs(normal, outliers, *, pollution, share, n_splits=80, n_train=120, **options):
    """Rates of false alarms and of outliers found, one row for each split; `share` is the truth."""
    n_bad = round(share * n_train)
    rates = []
    for seed in range(n_splits):
        rng = np.random.RandomState(seed)
        good, bad = rng.permutation(normal), rng.permutation(outliers)
        X = np.concatenate([good[: n_train - n_bad], bad[:n_bad]])
        detector = ConformalDetector(
            Nearest(), pollution=pollution, random_state=seed, false_alarm_rate=0.1, **options
        ).fit(X)
        tests = good[n_train - n_bad :], bad[n_bad : n_bad + 300]
        rates.append([(detector.predict(X) == -1).mean() for X in tests])
    return mean_and_error(rates)


@pytest.mark.parametrize("options", METHODS)
def test_pollution_loses_anomalies_and_the_option_finds_them_again(options):
    zeros, others = DIGITS[LABELS == 0], DIGITS[LABELS != 0]
    (_, clean), _ = polluted_runs(zeros, others, pollution=0.0, share=0.0, **options)
    (far, lost), _ = polluted_runs(zeros, others, pollution=0.0, share=0.1, **options)
    (restored, found), (error, _) = polluted_runs(
        zeros, others, pollution=0.1, share=0.1, **options
    )
    assert clean > 0.97
    assert far < 0.05
    assert lost < clean - 0.08
    assert found > lost + 0.05
    assert 0.05 < restored < 0.1 + 0.02 + 4 * error


def test_dropping_what_the_detector_can_not_tell_costs_false_alarms_as_documented():
    rates, errors = polluted_runs(
        NORMAL, OUTLIERS, pollution=0.2, share=0.2, n_train=250, calibration_share=0.4
    )
    expected = 0.1 + (1 - rates[1]) * 0.2 / 0.8
    assert expected > 0.13, "the detector is weak enough to show it"
    assert abs(rates[0] - expected) < 4 * errors.sum()
    assert rates[0] < 0.1 + 0.2 * 0.9


@pytest.mark.parametrize("method", ["split", "cross"])
def test_dropped_are_the_lowest_scores(method):
    X = np.concatenate([np.random.RandomState(0).normal(size=90), np.full(10, -50.0)])[:, None]
    options = {"method": method, "calibration_share": 0.5}
    kept = ConformalDetector(FirstColumn(), pollution=0.1, **options).fit(X).calibration_scores_
    every = ConformalDetector(FirstColumn(), **options).fit(X).calibration_scores_
    n = len(np.concatenate(every))
    assert len(np.concatenate(kept)) == n - n // 10
    if method == "cross":
        assert np.concatenate(kept).min() > -50
    else:
        np.testing.assert_array_equal(kept[0], every[0][5:])


@pytest.mark.parametrize("options", METHODS)
def test_splits_follow_the_seed_and_leave_the_global_one_alone(options):
    before = np.random.get_state()
    first, again, other = (
        ConformalDetector(KNNScorer(), random_state=seed, **options).fit(NORMAL[:100])
        for seed in (0, 0, 1)
    )
    after = np.random.get_state()
    assert all(np.array_equal(a, b) for a, b in zip(before, after))
    np.testing.assert_array_equal(first.p_values(OUTLIERS), again.p_values(OUTLIERS))
    assert not np.array_equal(first.p_values(OUTLIERS), other.p_values(OUTLIERS))


@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("as_mask", [False, True])
def test_labelled_anomalies_neither_train_nor_calibrate(as_mask, options):
    y = np.where(LABELS < 5, 1, -1)
    labelled = ConformalDetector(KNNScorer(), **options).fit(DIGITS, y == -1 if as_mask else y)
    clean = ConformalDetector(KNNScorer(), **options).fit(NORMAL)
    assert labelled.offset_ == clean.offset_
    np.testing.assert_array_equal(labelled.p_values(DIGITS), clean.p_values(DIGITS))


@pytest.mark.parametrize(
    ("options", "n", "message"),
    [
        ({}, 40, r"needs at least 19 calibration images, got 10: of n_samples = 40 normal images"),
        ({"false_alarm_rate": 0.01, "method": "cross"}, 98, "at least 99 calibration images, got"),
        ({"false_alarm_rate": 1 / 49, "method": "cross"}, 47, "at least 48 calibration images"),
        ({"pollution": 0.1, "method": "cross"}, 20, "got 18: .*pollution=0.1 drops 2"),
        ({"calibration_share": 0.01, "false_alarm_rate": 0.5}, 30, "at least 1 calibration"),
        ({"method": "cross", "false_alarm_rate": 0.5}, 4, "n_folds=5 needs as many normal images"),
        ({"calibration_share": 1.0}, 30, "FrozenEstimator"),
        ({"calibration_share": 1.0}, 12, r"more images, a larger false_alarm_rate\.$"),
    ],
)
def test_too_few_images(options, n, message):
    with pytest.raises(ValueError, match=message):
        ConformalDetector(KNNScorer(), **options).fit(NORMAL[:n])


@pytest.mark.parametrize(
    ("rate", "enough"), [(0.05, 19), (0.01, 99), (1 / 49, 48), (0.3, 3), (0.003, 333)]
)
def test_as_many_images_as_the_error_asks_for_are_enough(rate, enough):
    frozen = FrozenEstimator(Nearest().fit(NORMAL[:100]))
    detector = ConformalDetector(frozen, false_alarm_rate=rate, calibration_share=1.0)
    with pytest.raises(ValueError, match=f"needs at least {enough} calibration images"):
        detector.fit(NORMAL[100 : 99 + enough])
    detector.fit(NORMAL[100 : 100 + enough])
    assert detector.predict(np.full((1, 64), 1e3)) == [-1]


def test_a_frozen_detector_is_calibrated_on_all_rows():
    inner = KNNScorer().fit(NORMAL[:100])
    detector = ConformalDetector(FrozenEstimator(inner), calibration_share=1.0)
    detector.fit(NORMAL[100:300])
    assert len(inner.gallery_) == 100
    (scores,) = detector.calibration_scores_
    np.testing.assert_array_equal(scores, np.sort(inner.score_samples(NORMAL[100:300])))


def test_nan_scores_do_not_pass_for_normal():
    class Broken(FirstColumn):
        def decision_function(self, X):
            return np.where(np.asarray(X)[:, 0] > 1e6, np.nan, 0.0)

    detector = ConformalDetector(Broken()).fit(NORMAL[:100])
    with pytest.raises(ValueError, match="score of sample 3 by Broken is NaN"):
        detector.predict(np.concatenate([NORMAL[:3], np.full((1, 64), 1e7)]))


@pytest.mark.parametrize(
    "inner",
    [
        IsolationForest(n_estimators=20, random_state=0),
        LocalOutlierFactor(novelty=True),
        OneClassSVM(),
        make_pipeline(PCA(10, random_state=0), EllipticEnvelope(random_state=0)),
        GaussianMixture(reg_covar=1.0, random_state=0),
    ],
    ids=lambda inner: type(inner).__name__,
)
@pytest.mark.parametrize("options", METHODS)
def test_detectors_of_scikit_learn(inner, options):
    zeros, others = DIGITS[LABELS == 0], DIGITS[LABELS != 0]
    detector = ConformalDetector(inner, false_alarm_rate=0.1, **options).fit(zeros[:150])
    assert detector.n_features_in_ == 64
    np.testing.assert_array_equal(
        detector.predict(others), np.where(detector.p_values(others) <= 0.1, -1, 1)
    )
    assert (detector.predict(others) == -1).mean() > 0.5
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(
        again.decision_function(others), detector.decision_function(others)
    )


@pytest.mark.parametrize("inner", [StandardScaler(), LocalOutlierFactor(), "KNNScorer"])
def test_what_gives_no_scores_is_refused(inner):
    with pytest.raises(ValueError, match="'detector' parameter of ConformalDetector must be"):
        ConformalDetector(inner).fit(NORMAL)


def test_column_names_come_from_the_detector():
    frame = pd.DataFrame(NORMAL[:100], columns=[f"pixel{i}" for i in range(64)])
    detector = ConformalDetector(KNNScorer()).fit(frame)
    assert detector.feature_names_in_[1] == "pixel1"
    assert not hasattr(ConformalDetector(KNNScorer()).fit(NORMAL[:100]), "feature_names_in_")
    detector.fit(NORMAL[:100])
    assert not hasattr(detector, "feature_names_in_")


def test_parameters_of_the_detector_can_be_set_and_searched():
    detector = clone(ConformalDetector(KNNScorer())).set_params(detector__n_neighbors=3)
    assert detector.fit(NORMAL[:100]).detectors_[0].n_neighbors == 3
    X, y = np.concatenate([NORMAL[:150], OUTLIERS[:50]]), np.repeat([1, -1], [150, 50])
    grid = {"detector__n_neighbors": [1, 20], "method": ["split", "cross"]}
    cv = OneClassKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(detector, grid, cv=cv, scoring=auroc_scorer).fit(X, y)
    assert search.best_params_["detector__n_neighbors"] == 1
    assert search.best_score_ > 0.9
    assert (search.predict(OUTLIERS[50:]) == -1).mean() > 0.3


@pytest.mark.parametrize("break_with", ["too few", "NaN", "parameter", "label"])
def test_a_fit_that_fails_changes_nothing(break_with):
    detector = ConformalDetector(KNNScorer()).fit(NORMAL[:100])
    before, state = detector.decision_function(OUTLIERS), dict(vars(detector))
    X, y = NORMAL[:200].copy(), None
    if break_with == "too few":
        X = X[:5]
    elif break_with == "NaN":
        X[np.arange(0, 200, 3)] = np.nan
    elif break_with == "label":
        y = np.full(200, "normal")
    else:
        detector.detector = KNNScorer(n_neighbors=0)
    with pytest.raises(ValueError, match="needs at least|NaN|n_neighbors|Unknown label"):
        detector.fit(X, y)
    detector.detector = state["detector"]
    assert vars(detector) == state
    np.testing.assert_array_equal(detector.decision_function(OUTLIERS), before)


def test_every_container_of_images_decides_alike(tiles, tmp_path):
    flowers = tiles[24:]
    images = [Image.fromarray(tile) for tile in flowers]
    paths = [str(tmp_path / f"{index}.png") for index in range(len(images))]
    for image, path in zip(images, paths):
        image.save(path)

    class DataSet:
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            if index >= len(images):
                raise IndexError(index)
            return images[index], 0

    p_values = []
    for X in (flowers, images, paths, np.array(paths), DataSet()):
        detector = ConformalDetector(
            DN2(n_neighbors=1, metric="cosine"), false_alarm_rate=0.2, calibration_share=0.5
        ).fit(X)
        assert not hasattr(detector, "n_features_in_")
        p_values.append(detector.p_values(tiles))
        assert (detector.predict(tiles[:24]) == -1).mean() > 0.5
    np.testing.assert_array_equal(p_values, np.broadcast_to(p_values[0], (5, 48)))


@pytest.mark.bits
def test_the_network_may_stay_outside(tiles):
    pipeline = make_pipeline(
        FeatureExtractor(), ConformalDetector(KNNScorer(1), false_alarm_rate=0.2, method="cross")
    )
    detector = DN2(n_neighbors=1, metric="cosine")
    inside = ConformalDetector(detector, false_alarm_rate=0.2, method="cross")
    np.testing.assert_allclose(
        pipeline.fit(tiles[24:]).score_samples(tiles),
        inside.fit(tiles[24:]).score_samples(tiles),
        rtol=1e-4,
        # One rank of 25: features of a training image differ in their last bits with the batch, on
        # some processors, and so do scores that are equal otherwise.
        atol=1 / 25 + 1e-6,
    )
