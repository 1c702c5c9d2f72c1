"""Coresets: the centres of a slow greedy search; nearly as good where rows come in parts."""

import numpy as np
import pytest
import torch

from benchmarks.timing import measured
from skad.maps import greedy_centers
from skad.maps._coreset import Coreset
from skad.maps._nearest import neighbors_among


def slowly(rows, n_centers, first):
    """One centre after another, each by the distances of all rows."""
    nearest, chosen = np.square(rows - rows[first]).sum(1), [first]
    while len(chosen) < n_centers and nearest.max() > 1e-12:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(rows - rows[chosen[-1]]).sum(1))
    return chosen


def radius(rows, centers):
    """Distance of the row that is the farthest from its centre."""
    apart = np.square(rows[:, None] - centers[None]).sum(2)
    return np.sqrt(apart.min(1).max())


def clustered(n_rows, n_features, seed=0):
    rng = np.random.RandomState(seed)
    scales = np.exp(rng.normal(size=(n_rows, 1)))
    return rng.normal(size=(12, n_features))[rng.randint(12, size=n_rows)] * 3 + (
        rng.normal(size=(n_rows, n_features)) * scales
    )


@pytest.mark.parametrize(("n_rows", "n_features", "n_centers"), [(2000, 6, 700), (90, 3, 90)])
@pytest.mark.parametrize("seed", range(3))
def test_centres_are_those_of_the_slow_search(n_rows, n_features, n_centers, seed):
    rows = clustered(n_rows, n_features, seed)
    expected = slowly(rows, n_centers, seed)
    assert greedy_centers(torch.from_numpy(rows), n_centers, seed).tolist() == expected


def test_rows_that_are_equal_count_once():
    rows = np.repeat(clustered(40, 4), 30, axis=0)
    chosen = greedy_centers(torch.from_numpy(rows), 500)
    assert len(np.unique(rows[chosen], axis=0)) == 40
    assert radius(rows, rows[chosen]) < 1e-6
    assert greedy_centers(torch.ones(5, 2), 3).tolist() == [0]
    assert greedy_centers(torch.ones(1, 2), 3).tolist() == [0]


def test_no_way_of_few_centres_is_twice_as_good():
    rows = clustered(60, 2)
    found = radius(rows, rows[greedy_centers(torch.from_numpy(rows), 3)])
    best = min(radius(rows, rows[[i, j, k]]) for i in range(60) for j in range(i) for k in range(j))
    assert best <= found <= 2 * best


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_nearly_as_good_as_the_whole(seed):
    rows = clustered(6000, 8, seed)
    whole = rows[greedy_centers(torch.from_numpy(rows), 200)]
    coreset, held = Coreset(200, limit=1000, random_state=seed), []
    for part in np.array_split(rows, 60):
        coreset.add(torch.from_numpy(part))
        held.append(coreset._n_held)
    centers = coreset.centers().numpy()
    assert len(centers) == 200
    assert max(held) <= 1000
    assert radius(rows, centers) <= 1.1 * radius(rows, whole)
    assert {tuple(row) for row in centers} <= {tuple(row) for row in rows}


@pytest.mark.parametrize("limit", [1e9, 600])
@pytest.mark.parametrize("seed", range(3))
def test_coresets_of_parts_merge_into_one_of_all(seed, limit):
    rows = clustered(4000, 6, seed)
    rows = rows[np.argsort(rows[:, 0])]  # so that no part knows of the others
    parts = []
    for i, part in enumerate(np.array_split(rows, 4)):
        coreset = Coreset(100, limit, random_state=i)
        for some in np.array_split(part, 5):
            coreset.add(torch.from_numpy(some))
        chosen = Coreset(100, limit, random_state=i)
        chosen.add(coreset.centers())
        parts.append(chosen)
    merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    assert merged is parts[0]
    assert parts[1]._n_held == 0
    centers = merged.centers().numpy()
    assert len(centers) == 100
    assert {tuple(row) for row in centers} <= {tuple(row) for row in rows}
    slow = radius(rows, rows[slowly(rows, 100, seed)])
    assert radius(rows, centers) <= 1.25 * slow


def test_merged_coresets_are_never_worse_than_four_times_the_best():
    for seed in range(20):
        rows = np.random.RandomState(seed).standard_cauchy((24, 2))
        merged = Coreset(2, 1e9, random_state=seed)
        for part in np.array_split(rows, 3):
            coreset = Coreset(2, 1e9, random_state=seed)
            coreset.add(torch.from_numpy(part))
            chosen = Coreset(2, 1e9)
            chosen.add(coreset.centers())
            merged.merge(chosen)
        best = min(radius(rows, rows[[i, j]]) for i in range(24) for j in range(i))
        assert radius(rows, merged.centers().numpy()) <= 4 * best


def test_few_directions_do():
    rows = clustered(1000, 300)
    whole = rows[greedy_centers(torch.from_numpy(rows), 100)]
    coreset = Coreset(100, limit=1e9, n_projected=128)
    coreset.add(torch.from_numpy(rows))
    drawn = rows[np.random.RandomState(0).permutation(1000)[:100]]
    found = radius(rows, coreset.centers().numpy())
    assert found <= 1.1 * radius(rows, whole)
    assert radius(rows, drawn) > 1.3 * radius(rows, whole)


def test_neighbors_begin_with_the_row_itself():
    rows = np.concatenate([clustered(50, 3), np.zeros((20, 3))])
    found = neighbors_among(torch.from_numpy(rows))
    assert found.shape == (70, 9)
    np.testing.assert_array_equal(found[:, 0], np.arange(70))
    assert all(len({*row}) == 9 for row in found.tolist())
    apart = np.square(rows[:, None] - rows).sum(2)
    expected = np.sort(apart, axis=1)[:, :9]
    np.testing.assert_allclose(np.take_along_axis(apart, found, 1), expected, atol=1e-9)
    assert neighbors_among(torch.ones(2, 3)).tolist() == [[0, 1], [1, 0]]


def test_choosing_takes_no_second_copy_of_what_is_held():
    coreset = Coreset(50, limit=1e9, n_projected=16)
    with torch.inference_mode():
        for _ in range(32):
            coreset.add(torch.randn(4096, 128))  # 64 MiB in all, 8 MiB projected
        _, grown = measured(coreset.centers)
    assert grown < 48
