"""Diagnostics against slow numpy versions, known distributions, and what they promise."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.special import gammaln, ive, logsumexp

from skad import diagnostics
from skad.diagnostics import (
    augmentation_distance,
    collapse,
    effective_rank,
    mean_pairwise_cosine,
    uniformity_mmd,
    vmf_concentration,
)

ON_THE_SPHERE = [vmf_concentration, uniformity_mmd, mean_pairwise_cosine, collapse]
ALL = [*ON_THE_SPHERE, effective_rank]


def slow_units(X):
    units = []
    for row in np.asarray(X, dtype=np.float64):
        row = row / max(abs(value) for value in row)
        units.append(row / np.sqrt((row**2).sum()))
    return np.array(units)


def slow_ratio(d, kappa):
    """Ratio of the power series of the Bessel functions, all terms positive, as logarithms."""
    v = d / 2 - 1
    k = np.arange(int(kappa + 40 * np.sqrt(kappa + 1)) + 60)
    logs = 2 * k * np.log(kappa / 2) - gammaln(k + 1) - gammaln(k + v + 1)
    return kappa / 2 * np.exp(logsumexp(logs - np.log(k + v + 1)) - logsumexp(logs))


def exact_ratio(d, kappa):
    """The same to 50 digits, with one minus it."""
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 50, 10**12, -(10**12)
        v, x = Decimal(d) / 2 - 1, Decimal(kappa)
        term, k = Decimal(1), 0
        below, above = Decimal(1), 1 / (v + 1)
        while term > below * Decimal("1e-45"):
            k += 1
            term *= x * x / 4 / (k * (k + v))
            below += term
            above += term / (k + v + 1)
        ratio = x / 2 * above / below
        return float(ratio), float(1 - ratio)


def slow_concentration(X):
    """Bisection with the series; the length of the mean from the distances of all pairs."""
    units = slow_units(X)
    n, d = units.shape
    spread = sum(((u - w) ** 2).sum() for u in units for w in units) / (2 * n**2)
    length = np.sqrt(1 - spread)
    low, high = 0.0, 4.0 * d / spread
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slow_ratio(d, middle) < length else (low, middle)
    return low


def slow_mmd(X):
    units = slow_units(X)
    n, d = units.shape
    uniform = slow_units(np.random.RandomState(0).normal(size=(n, d)))
    pooled = np.concatenate([units, uniform])
    squared = np.array([[((a - b) ** 2).sum() for b in pooled] for a in pooled])
    median = np.median([squared[i, j] for i in range(2 * n) for j in range(i)])
    total = 0.0
    for i in range(2 * n):
        for j in range(2 * n):
            sign = 1 if (i < n) == (j < n) else -1
            total += sign * np.exp(-squared[i, j] / (2 * median))
    return np.sqrt(total) / n


def slow_cosine(X):
    units = slow_units(X)
    n = len(units)
    return np.mean([units[i] @ units[j] for i in range(n) for j in range(n) if i != j])


def slow_rank(X):
    """From the eigenvalues, plus and minus the singular values, of a symmetric matrix."""
    X = np.asarray(X, dtype=np.float64) / np.abs(X).max()
    R = np.linalg.qr(X.T if len(X) < X.shape[1] else X)[1]
    values = np.linalg.eigvalsh(np.block([[0 * R, R.T], [R, 0 * R]]))
    values = values[values > 0]
    shares = values / values.sum()
    return np.prod(shares**-shares)


def slow_collapse(X):
    return 1 - np.log(slow_rank(slow_units(X))) / np.log(min(np.shape(X)))


SLOW = {
    vmf_concentration: slow_concentration,
    uniformity_mmd: slow_mmd,
    mean_pairwise_cosine: slow_cosine,
    effective_rank: slow_rank,
    collapse: slow_collapse,
}


def data(kind, n=40):
    rng = np.random.RandomState(1)
    if kind == "duplicates":
        return np.repeat(rng.normal(size=(n // 10, 6)), 10, axis=0)
    if kind == "constant columns":
        return np.hstack([rng.normal(size=(n, 5)), np.full((n, 3), 2.0)])
    if kind == "two rows":
        return rng.normal(size=(2, 5))
    if kind == "two columns":
        return rng.normal(size=(n, 2)) + 0.5
    if kind == "more columns than rows":
        return rng.normal(size=(n // 2, 300)) + 0.3
    if kind == "deep features":
        return np.maximum(rng.normal(size=(n // 2, 2048)), 0)
    if kind == "tiny numbers":
        return rng.normal(size=(n, 8)) * 1e-20
    if kind == "large numbers":
        return rng.normal(size=(n, 8)) * 1e20
    if kind == "rows of all lengths":
        return (rng.normal(size=(n, 8)) + 0.2) * 10.0 ** np.linspace(-20, 20, n)[:, None]
    return rng.normal(size=(n, 8))


KINDS = [
    "random",
    "duplicates",
    "constant columns",
    "two rows",
    "two columns",
    "more columns than rows",
    "deep features",
    "tiny numbers",
    "large numbers",
    "rows of all lengths",
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_equals_the_slow_version(function, kind, dtype):
    X = data(kind).astype(dtype)
    found = function(X)
    assert type(found) is float
    assert found == pytest.approx(SLOW[function](X), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_distance_equals_the_slow_version(kind, dtype):
    X = data(kind).astype(dtype)
    noise = np.random.RandomState(2).normal(size=(3, *X.shape)) * np.abs(X).max(axis=1)[:, None]
    views = (X + 0.1 * noise).astype(dtype)
    expected = [[1 - u @ v for u, v in zip(slow_units(X), slow_units(view))] for view in views]
    assert augmentation_distance(X, views) == pytest.approx(np.mean(expected), rel=1e-6)
    assert augmentation_distance(X, views[1]) == pytest.approx(np.mean(expected[1]), rel=1e-6)


def test_augmentation_distance_keeps_the_digits_of_small_angles():
    angle = 1e-9  # whose cosine is 1 in float64
    found = augmentation_distance([[1.0, 0.0]], [[np.cos(angle), np.sin(angle)]])
    assert found == pytest.approx(angle**2 / 2, rel=1e-9)


@pytest.mark.parametrize("d", [2, 3, 10, 64])
@pytest.mark.parametrize("kappa", [1e-3, 0.5, 3.0, 10.0, 100.0, 1e4])
def test_bessel_ratio_equals_scipy(d, kappa):
    found, _ = diagnostics._bessel_ratio(d, kappa)
    assert found == pytest.approx(ive(d / 2, kappa) / ive(d / 2 - 1, kappa), rel=1e-10)


@pytest.mark.parametrize("d", [2, 3, 64, 512, 2048, 32768])
@pytest.mark.parametrize("kappa", [1e-20, 1e-3, 1.0, 10.0, 30.0, 300.0, 3000.0])
def test_bessel_ratio_equals_the_series_to_all_digits(d, kappa):
    ratio, complement = exact_ratio(d, kappa)
    found = diagnostics._bessel_ratio(d, kappa)
    assert found == pytest.approx((ratio, complement), rel=4e-15)


@pytest.mark.parametrize("d", [2, 64, 2048])
@pytest.mark.parametrize("kappa", [1e8, 1e10, 1e16])
def test_bessel_ratio_equals_its_asymptotic_form(d, kappa):
    expected = (d - 1) / (2 * kappa) + (d - 1) * (3 - d) / (8 * kappa**2)
    assert diagnostics._bessel_ratio(d, kappa)[1] == pytest.approx(expected, rel=1e-12)


def sample_vmf(n, d, kappa, rng):
    """Wood's rejection sampler about the first axis (Communications in Statistics 1994)."""
    b = (d - 1) / (2 * kappa + np.sqrt(4 * kappa**2 + (d - 1) ** 2))
    x = (1 - b) / (1 + b)
    c = kappa * x + (d - 1) * np.log(1 - x**2)
    cosines = np.empty(0)
    while len(cosines) < n:
        beta = rng.beta((d - 1) / 2, (d - 1) / 2, size=2 * n)
        w = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
        kept = kappa * w + (d - 1) * np.log(1 - x * w) - c >= np.log(rng.rand(2 * n))
        cosines = np.concatenate([cosines, w[kept]])
    cosines = cosines[:n, None]
    tangent = slow_units(rng.normal(size=(n, d - 1)))
    return np.hstack([cosines, np.sqrt(1 - cosines**2) * tangent])


@pytest.mark.parametrize("d", [2, 64, 512, 2048])
@pytest.mark.parametrize("share", [0.3, 1.0, 4.0])
def test_recovers_the_concentration_of_a_known_distribution(d, share):
    kappa, n = share * d, 1500
    found = vmf_concentration(sample_vmf(n, d, kappa, np.random.RandomState(3)))
    ratio, _ = exact_ratio(d, kappa)
    slope = 1 - ratio**2 - (d - 1) * ratio / kappa  # also the Fisher information of one sample
    bias = (1 - ratio**2) / (2 * n * ratio) / slope  # the mean of samples is longer than its own
    assert abs(found - kappa - bias) < 4 / np.sqrt(n * slope)


@pytest.mark.parametrize("d", [2, 64, 2048])
def test_solution_is_exact_from_the_flattest_to_the_sharpest(d):
    for kappa in 10.0 ** np.arange(-12, 10):
        length, complement = diagnostics._bessel_ratio(d, kappa)
        spread = complement * (1 + length)
        found = diagnostics._solve_concentration(d, length, spread)
        assert found == pytest.approx(kappa, rel=1e-10)


def test_two_close_directions_have_the_concentration_of_the_theory():
    angle = 1e-7  # either side of the mean: 1 - R^2 is its square, which 1 - cos^2 would lose
    X = [[np.cos(angle), np.sin(angle)], [np.cos(angle), -np.sin(angle)]]
    found = vmf_concentration(X, max_concentration=np.inf)
    assert found == pytest.approx(1 / angle**2, rel=1e-8)


@pytest.mark.parametrize("cap", [1e10, 50.0, np.inf])
def test_one_direction_gives_the_cap(cap):
    assert vmf_concentration([[1.0, 0.0], [1.0, 0.0]], max_concentration=cap) == cap
    same = np.outer([1.0, 3.0, 7.0], np.random.RandomState(0).normal(size=2048))
    found = vmf_concentration(same, max_concentration=cap)
    assert found == cap if np.isfinite(cap) else found > 1e30  # rounding is left, no more


def test_cap_is_not_felt_below():
    X = data("random")
    found = vmf_concentration(X)
    assert vmf_concentration(X, max_concentration=found * 1.01) == found
    assert vmf_concentration(X, max_concentration=found * 0.99) == found * 0.99


def test_opposite_directions_have_no_concentration():
    assert vmf_concentration([[1.0, 2.0], [-1.0, -2.0]]) == 0.0
    X = data("more columns than rows")
    assert vmf_concentration(np.vstack([X, -X])) == pytest.approx(0, abs=1e-12)


def rotation(d):
    return np.linalg.qr(np.random.RandomState(5).normal(size=(d, d)))[0]


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", ["random", "more columns than rows"])
def test_order_and_scale_do_not_matter(function, kind):
    X = data(kind)
    expected = pytest.approx(function(X), rel=1e-9)
    assert function(X[::-1]) == expected
    for scale in (1e-200, 1e-7, 1e200):  # the squares of the outer ones are out of range
        assert function(X * scale) == expected
    assert function(X.astype(np.float32).astype(np.float64)) == function(X.astype(np.float32))
    if function in ON_THE_SPHERE:
        lengths = np.random.RandomState(4).uniform(1e-3, 1e3, size=(len(X), 1))
        assert function(X * lengths) == expected


@pytest.mark.parametrize("kind", ["random", "more columns than rows"])
def test_rotation_does_not_matter(kind):
    X = data(kind)
    Q = rotation(X.shape[1])
    for function in (vmf_concentration, mean_pairwise_cosine, effective_rank, collapse):
        assert function(X @ Q) == pytest.approx(function(X), rel=1e-9)
    views = np.stack([X + 0.1, X - 0.2])
    expected = augmentation_distance(X, views)
    assert augmentation_distance(X @ Q, views @ Q) == pytest.approx(expected, rel=1e-9)
    # The uniform directions do not turn with the rows: equal but for their luck.
    X = data("random", n=1000) + 0.3
    expected = uniformity_mmd(X)
    assert uniformity_mmd(X @ rotation(8)) == pytest.approx(expected, rel=0.1)


def test_more_concentrated_rows_give_larger_figures():
    rng = np.random.RandomState(6)
    noise = rng.normal(size=(200, 64))
    for function in ON_THE_SPHERE:
        figures = [function(noise + shift) for shift in (0, 0.25, 0.5, 1, 2, 4, 8)]
        assert np.all(np.diff(figures) > 0), function.__name__
    ranks = [effective_rank(noise + shift) for shift in (0, 0.25, 0.5, 1, 2, 4, 8)]
    assert np.all(np.diff(ranks) < 0)


def test_collapse_ends_at_one_point_and_begins_at_even_spread():
    Q = rotation(12)
    assert collapse(Q) == pytest.approx(0, abs=1e-12)
    assert collapse(np.vstack([Q, Q * 3])) == pytest.approx(0, abs=1e-12)
    assert collapse(Q[:5]) == pytest.approx(0, abs=1e-12)
    point = np.ones((30, 12))
    assert collapse(point) == pytest.approx(1, abs=1e-9)
    assert collapse(point * np.linspace(-2, 3, 30)[:, None]) == pytest.approx(1, abs=1e-9)
    assert collapse(point + 1e-9 * np.random.RandomState(0).normal(size=(30, 12))) > 0.999
    assert collapse(np.repeat(Q[:3], 10, axis=0)) == pytest.approx(1 - np.log(3) / np.log(12))


def test_uniform_rows_have_the_smallest_mmd():
    rng = np.random.RandomState(7)
    expected = np.sqrt(2 * (1 - np.exp(-0.5)) / 300)  # all pairs at right angles
    found = uniformity_mmd(rng.normal(size=(300, 2048)))
    assert found == pytest.approx(expected, rel=0.02)
    assert uniformity_mmd(np.abs(rng.normal(size=(300, 2048)))) > 5 * found
    two_poles = rng.choice([-1.0, 1.0], size=(300, 1)) * np.ones(8)
    assert uniformity_mmd(two_poles) > 3 * uniformity_mmd(rng.normal(size=(300, 8)))


def test_mmd_sees_its_own_uniform_rows_as_uniform():
    uniform = np.random.RandomState(0).normal(size=(50, 6))
    assert uniformity_mmd(uniform, random_state=0) == pytest.approx(0, abs=1e-7)
    assert uniformity_mmd(uniform, random_state=1) > 0.05


def test_mmd_of_many_rows_takes_some():
    X = np.random.RandomState(8).normal(size=(500, 6)) + 1
    assert uniformity_mmd(X, n_max=500) == uniformity_mmd(X)
    figures = [uniformity_mmd(X, n_max=300, random_state=seed) for seed in (0, 0, 1)]
    assert figures[0] == figures[1] != figures[2]
    assert figures[0] == pytest.approx(uniformity_mmd(X), rel=0.1)
    chosen = np.random.RandomState(0).permutation(500)[:300]
    rng = np.random.RandomState(0)
    rng.permutation(500)
    assert figures[0] == pytest.approx(uniformity_mmd(X[chosen], random_state=rng), rel=1e-12)


def test_wide_features_need_no_square_matrix():
    X = np.random.RandomState(9).normal(size=(4, 300_000))  # d x d would take 720 GB
    for function in ALL:
        assert np.isfinite(function(X))


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_input_and_global_random_state_are_left_alone(function):
    X = data("random")
    before, state = X.copy(), np.random.get_state()[1].copy()
    function(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1.0, np.nan], [1.0, 2.0]], "X of {} contains NaN"),
        ([[1.0, np.inf], [1.0, 2.0]], "X of {} contains infinity"),
        ([1.0, 2.0], "Expected 2D array"),
        (np.ones((2, 2, 2)), "dim 3, while dim <= 2 is required by {}"),
        (np.empty((0, 3)), "required by {}"),
        ([["a", "b"], ["c", "d"]], "could not convert string"),
    ],
)
def test_bad_arrays(function, bad, message):
    with pytest.raises(ValueError, match=message.format(function.__name__)):
        function(bad)


@pytest.mark.parametrize("function", ON_THE_SPHERE, ids=lambda f: f.__name__)
def test_directions_need_two_rows_two_columns_and_no_zeros(function):
    name = function.__name__
    with pytest.raises(ValueError, match=f"1 sample.*minimum of 2 is required by {name}"):
        function([[1.0, 2.0]])
    with pytest.raises(ValueError, match=f"1 feature.*minimum of 2 is required by {name}"):
        function([[1.0], [2.0]])
    with pytest.raises(ValueError, match=f"{name}: .* 2 of the 3 rows of X are zero.* row 1"):
        function([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])


def test_effective_rank_of_one_row_and_of_nothing():
    assert effective_rank([[3.0]]) == 1.0
    assert effective_rank([[0.0, 0.0], [1.0, 2.0]]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="effective_rank: X is zero throughout"):
        effective_rank(np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 4, 3), (0, 3, 3), (1, 2, 3, 3), (3,)])
def test_augmentations_must_match(shape):
    with pytest.raises(ValueError, match="augmentation_distance|Expected 2D"):
        augmentation_distance(np.ones((3, 3)), np.ones(shape))


def test_bad_augmentations_are_named():
    X = np.eye(3)
    with pytest.raises(ValueError, match="1 of the 3 rows of X_augmented are zero.* row 2"):
        augmentation_distance(X, [np.eye(3), np.diag([1.0, 1.0, 0.0])])
    with pytest.raises(ValueError, match="X_augmented of augmentation_distance contains NaN"):
        augmentation_distance(X, X * np.nan)


@pytest.mark.parametrize("cap", [0, -1.0, np.nan, None, "large"])
def test_bad_cap(cap):
    with pytest.raises(ValueError, match="vmf_concentration: max_concentration must be"):
        vmf_concentration(np.eye(3), max_concentration=cap)


def test_bad_number_of_rows():
    with pytest.raises(ValueError, match="n_max of uniformity_mmd == 1, must be >= 2"):
        uniformity_mmd(np.eye(3), n_max=1)
    with pytest.raises(TypeError, match="n_max of uniformity_mmd must be an instance of"):
        uniformity_mmd(np.eye(3), n_max=2.5)
