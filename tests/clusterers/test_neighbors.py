"""SCAN's neighbours and partners."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skad.clusterers._semantic import NeighborClustering, draw_neighbors
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.clusterers.common import SEED, Views, extractor, nearest, scan, simclr

pytestmark = pytest.mark.filterwarnings(
    "ignore::skad.clusterers.ClusterWarning", "ignore::skad.CollapseWarning"
)


def mined(clusterer, images, watched):
    runs = []
    watched(NeighborClustering, then=lambda run, step: runs.append(run))
    clusterer.set_params(n_self_labelling_epochs=0, n_epochs=1).fit(images)
    return runs[0].task.neighbors


def test_neighbors_are_the_nearest_by_cosine(images, watched):
    found = mined(scan(n_neighbors=5), images, watched)
    assert found.shape == (30, 6)
    np.testing.assert_array_equal(found[:, 0], range(30))
    expected = nearest(extractor().fit_transform(images), 5)
    np.testing.assert_array_equal(found[:, 1:], expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_neighbors_are_those_of_what_the_projector_gives(normalize, images, watched):
    """Which is what the adapter's own loss was taken of."""
    made = simclr(normalize=normalize)
    found = mined(scan(extractor=made, n_neighbors=5), images, watched)[:, 1:]
    adapter = clone(made).fit(images)
    features = adapter.transform(images)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True) if normalize else features
    with torch.no_grad():
        projections = adapter.projector_(torch.from_numpy(rows)).numpy()
    assert (np.sort(nearest(features, 5)) != np.sort(nearest(projections, 5))).any()
    # The last bits of a projection may swap two that are as near.
    assert (np.sort(found) == np.sort(nearest(projections, 5))).mean() > 0.98


@pytest.mark.parametrize(
    ("n_clusters", "n_neighbors", "expected"), [(3, 20, 9), (3, 8, 8), (5, 20, 5), (30, 20, 1)]
)
def test_no_more_neighbors_than_an_even_cluster_holds(
    n_clusters, n_neighbors, expected, images, watched
):
    found = mined(scan(n_clusters=n_clusters, n_neighbors=n_neighbors), images, watched)
    assert found.shape == (30, 1 + expected)


def test_partners_are_drawn_evenly_from_the_list_and_the_image_itself():
    neighbors = np.arange(40).reshape(10, 4) * 7
    indices = np.array([3, 0, 9, 3])
    drawn = np.array([draw_neighbors(neighbors, indices, 5, step) for step in range(2000)])
    for column, index in zip(drawn.T, indices):
        values, counts = np.unique(column, return_counts=True)
        np.testing.assert_array_equal(values, neighbors[index])
        np.testing.assert_allclose(counts, 500, atol=90)  # four standard deviations
    np.testing.assert_array_equal(draw_neighbors(neighbors, indices, 5, 7), drawn[7])
    assert (draw_neighbors(np.arange(4000).reshape(10, 400), indices, 5, 7) % 400).std() > 1
    many = np.arange(50)
    table = np.arange(5000).reshape(50, 100)
    first = draw_neighbors(table, many, 5, 7)
    assert (first != draw_neighbors(table, many, 6, 7)).mean() > 0.9
    assert (first != draw_neighbors(table, many, 5, 8)).mean() > 0.9


def test_views_are_of_images_and_their_partners(images):
    views = Views()
    clusterer = NeighborClustering(extractor(), n_clusters=3, n_neighbors=4, n_epochs=1)
    clusterer.set_params(batch_size=10, augmentation=views).fit(images)
    neighbors = nearest(extractor().fit_transform(images), 4)
    neighbors = np.column_stack([np.arange(30), neighbors])
    batch_of = BatchSampler(30, 10, SEED, fewest=2)
    views = clusterer.augmentation.seen
    assert len(views) == 3
    for step, seen in enumerate(views):
        indices = batch_of(step)
        partners = draw_neighbors(neighbors, indices, SEED, step)
        expected = images[np.concatenate([indices, partners])]
        np.testing.assert_allclose(seen[:, 0], expected, atol=1e-6)
