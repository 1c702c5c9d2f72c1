"""k-means by faiss, started by k-means++; of rows in parts, by merge and reduce."""

import numpy as np
from sklearn.utils import check_random_state

from ._faiss import on_card
from ._workers import each_alike

# Centroids that stand for a part, for each one wanted, and passes over all rows that correct what
# these lose: 2 and 5 leave the sum of squares within 2 % of one k-means on blobs and on digits,
# which differs as much from seed to seed. More centroids gain nothing, but for their time.
_FINER, _N_PASSES = 2, 5

# Clusterings of these centroids, which are few, of which the best is taken.
_N_STARTS = 5


def kmeans(rows, n_clusters, *, random_state, owner, weights=None):
    """Cluster rows; centres are the means, in float64, of what faiss puts together in float32.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_samples, n_features)
    n_clusters : int
    random_state : int, RandomState instance or None
    owner : str
        Named in errors.
    weights : ndarray of shape (n_samples,), optional
        How often each row counts.

    Returns
    -------
    centers : ndarray of float64, shape (n_found, n_features)
        As many as `n_clusters`, or fewer where there are fewer distinct rows.
    labels : ndarray of int, shape (n_samples,)
        Cluster of each row.
    """
    import faiss
    from sklearn.cluster import kmeans_plusplus

    n_clusters = int(n_clusters)  # SWIG takes no integers of numpy
    n_samples, n_features = rows.shape
    _check_count(n_samples, n_clusters, owner)
    scaled = rows - rows.mean(axis=0)
    scaled /= np.abs(scaled).max() or 1.0
    scaled = scaled.astype(np.float32)
    random_state = check_random_state(random_state)
    # faiss starts from random rows, and so leaves clusters together that are far apart.
    start, _ = kmeans_plusplus(scaled, n_clusters, sample_weight=weights, random_state=random_state)
    search = faiss.Kmeans(
        n_features,
        n_clusters,
        seed=int(random_state.randint(2**31 - 1)),
        min_points_per_centroid=1,
        max_points_per_centroid=n_samples,
        gpu=on_card(faiss, "kmeans", n_samples),  # True: all of them
    )
    search.train(scaled, weights, init_centroids=start)
    labels = search.assign(scaled)[1]
    labels = np.unique(labels, return_inverse=True)[1]  # without clusters that are empty
    return _means(rows, labels, weights), labels


def _check_count(n_samples, n_clusters, owner):
    if n_samples < n_clusters:
        raise ValueError(
            f"{owner}: {n_clusters} clusters need at least as many training rows; got n_samples = "
            f"{n_samples}. Give more rows or ask for fewer clusters."
        )


def _means(rows, labels, weights):
    """Mean of each cluster."""
    # Summed cluster by cluster: rows.T @ one_hot would hold n_samples x n_clusters values.
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))[:-1]
    parts = np.split(rows[order], ends)
    if weights is None:
        return np.stack([part.mean(axis=0) for part in parts])
    weights = np.split(weights[order], ends)
    return np.stack([np.average(part, axis=0, weights=w) for part, w in zip(parts, weights)])


def kmeans_of_shards(shards, n_clusters, *, random_state, owner, prepare):
    """Cluster rows that lie in parts: each into more clusters, and the means of these, weighted.

    Merge and reduce: a mean stands for its rows, which are as many as it counts, so that what is
    lost is how they lie about it (Guha et al., "Clustering data streams", FOCS 2000). A few passes
    over all rows then move the centres to the means of what is nearest to them. Workers take a part
    each; what is drawn is the same in any number of them.

    Parameters
    ----------
    shards : list of ndarray of shape (n_samples, n_features)
    n_clusters : int
    random_state : int, RandomState instance or None
    owner : str
        Named in errors.
    prepare : callable
        Of a module: makes of a part the rows of float64 that are clustered.

    Returns
    -------
    centers : ndarray of float64, shape (n_found, n_features)
    """
    _check_count(sum(map(len, shards)), n_clusters, owner)
    random_state = check_random_state(random_state)
    seeds = random_state.randint(2**31 - 1, size=len(shards))
    n_finer = _FINER * int(n_clusters)
    parts = ((rows, prepare, n_finer, seed, owner) for rows, seed in zip(shards, seeds))
    finer, counts = map(np.concatenate, zip(*each_alike(_reduced, parts)))
    n_clusters = min(n_clusters, len(finer))  # there may be fewer distinct rows
    centers = _best(finer, counts, n_clusters, random_state, owner)
    for _ in range(_N_PASSES):
        parts = [(rows, prepare, centers) for rows in shards]
        sums, counts = map(sum, zip(*each_alike(_sums, parts)))
        centers = sums[counts > 0] / counts[counts > 0, None]
    return centers


def _best(rows, weights, n_clusters, random_state, owner):
    """Centres of that of several clusterings with the least sum of squares."""
    best, least = None, np.inf
    for _ in range(_N_STARTS):
        how = {"random_state": random_state, "owner": owner, "weights": weights}
        centers, labels = kmeans(rows, n_clusters, **how)
        spread = weights @ np.square(rows - centers[labels]).sum(axis=1)
        if best is None or spread < least:
            best, least = centers, spread
    return best


def _reduced(rows, prepare, n_clusters, seed, owner):
    """Means of the clusters of some rows, and of how many rows each is."""
    rows = prepare(rows)
    n_clusters = min(n_clusters, len(rows))
    centers, labels = kmeans(rows, n_clusters, random_state=seed, owner=owner)
    return centers, np.bincount(labels)


def _sums(rows, prepare, centers):
    """Sums of those rows that are nearest to each centre, and how many they are."""
    import faiss

    rows, middle = prepare(rows), centers.mean(axis=0)
    scale = np.abs(centers - middle).max() or 1.0
    scaled = (((part - middle) / scale).astype(np.float32) for part in (rows, centers))
    labels = faiss.knn(*scaled, 1)[1][:, 0]
    sums, counts = np.zeros(centers.shape), np.bincount(labels, minlength=len(centers))
    found, inverse = np.unique(labels, return_inverse=True)
    sums[found] = _means(rows, inverse, None) * counts[found, None]
    return sums, counts
