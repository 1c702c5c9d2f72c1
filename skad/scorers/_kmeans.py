"""k-means by faiss, started by k-means++."""

import numpy as np
from sklearn.utils import check_random_state


def kmeans(rows, n_clusters, *, random_state, owner):
    """Cluster rows; centres are the means, in float64, of what faiss puts together in float32.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_samples, n_features)
    n_clusters : int
    random_state : int, RandomState instance or None
    owner : str
        Named in errors.

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
    if n_samples < n_clusters:
        raise ValueError(
            f"{owner}: {n_clusters} clusters need at least as many training rows; got n_samples = "
            f"{n_samples}. Give more rows or ask for fewer clusters."
        )
    scaled = rows - rows.mean(axis=0)
    scaled /= np.abs(scaled).max() or 1.0
    scaled = scaled.astype(np.float32)
    random_state = check_random_state(random_state)
    # faiss starts from random rows, and so leaves clusters together that are far apart.
    start, _ = kmeans_plusplus(scaled, n_clusters, random_state=random_state)
    search = faiss.Kmeans(
        n_features,
        n_clusters,
        seed=int(random_state.randint(2**31 - 1)),
        min_points_per_centroid=1,
        max_points_per_centroid=n_samples,
        gpu=False,
    )
    search.train(scaled, init_centroids=start)
    labels = search.assign(scaled)[1]
    labels = np.unique(labels, return_inverse=True)[1]  # without clusters that are empty
    # Summed cluster by cluster: rows.T @ one_hot would hold n_samples x n_clusters values.
    order = np.argsort(labels, kind="stable")
    parts = np.split(rows[order], np.cumsum(np.bincount(labels))[:-1])
    return np.stack([part.mean(axis=0) for part in parts]), labels
