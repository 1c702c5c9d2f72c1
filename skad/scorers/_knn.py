"""Distance to the nearest training rows: the score of DN2, PANDA, MSC and NSA."""

from numbers import Integral

import numpy as np

from .._parameters import RandomStateParameters, changed
from .._rows import angle_of, nonzero, plain_rows, same_within, unit_rows
from .._types import ArrayLike
from .._warnings import warn
from ._base import IncrementalScorer
from ._blocks import blockwise
from ._kmeans import kmeans, kmeans_of_shards
from ._neighbors import LARGE, IndexFromGallery, NeighborIndex
from ._parameters import NeighborParameters
from ._pollution import N_NEIGHBORS, likely_anomalies
from ._shards import ShardedIndex
from ._whitening import Whitening

# Nearest training rows that `local_scaling` compares with, and the least scale, as a share of the
# mean, so that copies of one row do not put all others infinitely far.
_N_LOCAL, _LEAST_SCALE = 10, 1e-6


class KNNScorer(RandomStateParameters, NeighborParameters, IndexFromGallery, IncrementalScorer):
    r"""Score by the distance to the nearest training rows.

    .. math:: s(x) = -\sum_{j=1}^{k} d(x, x_{(j)})^2

    where :math:`x_{(j)}` is the j-th nearest training row. The distance d depends on `metric`:

    - "euclidean": :math:`\lVert x - x_{(j)} \rVert_2`;
    - "cosine": the same between rows scaled to unit length, so its square is
      :math:`2 (1 - \cos(x, x_{(j)}))`;
    - "angle": :math:`\arccos \cos(x, x_{(j)})`, in radians;
    - "mahalanobis": the euclidean distance between whitened rows :math:`\Sigma^{-1/2} x`;
    - "mahalanobis_cosine": the angle between whitened rows.

    NSA's k-Cos is ``KNNScorer(1, metric="angle", aggregation="mean")``, and its k-Cos(Mah) the same
    with ``metric="mahalanobis_cosine"``. NSA writes the latter with centred rows,
    :math:`\Sigma^{-1/2} (x - \mu)`. Rows are not centred here: angles about the mean rank anomalies
    as normal (39 AUROC on CIFAR-10 with the network "tiny", and 91 without centring), and NSA's
    c-Cos(Mah) would be undefined. For the formula as printed, use
    ``make_pipeline(Whitening(), KNNScorer(1, metric="angle"))``.

    With `local_scaling` :math:`\beta > 0` the sum a(x), or the mean or largest distance by
    `aggregation`, is divided by those of the ten nearest training rows:

    .. math:: s(x) = -a(x) \Big/ \Big(\frac{1}{10} \sum_{j=1}^{10} a(x_{(j)})\Big)^{\beta}

    What is far for a row among many alike is near for one among few. The whole relation,
    :math:`\beta = 1`, is that of local outlier factors, and too much where classes overlap: with
    one class left out and "tiny" it ranks worse than 0 on CIFAR-10, MNIST and Fashion-MNIST, and
    0.5 better on each. The :math:`a(x_{(j)})` are leave-one-out, but count x where it is a training
    row itself.

    A query that equals a training row up to rounding (128 units in the last place of its type) is
    taken to be that row, and the row is not its own neighbour. A second copy of the row is a
    neighbour. If all features have collapsed to one point, up to this rounding, every query equals
    a training row.

    With `pollution` some rows are taken for anomalies. They stay in `gallery_` but are not used as
    neighbours, nor for whitening, centroids and threshold.

    Scores of training rows, and therefore the threshold, are leave-one-out. By the "mahalanobis"
    metrics the neighbours of such a row are those of the whitening by all rows, and their distances
    those of the whitening without the row: by Sherman and Morrison's formula, exact but for
    `shrinkage` and the mean variance.

    Attributes
    ----------
    gallery_ : ndarray of shape (n_samples, n_features) or (n_centroids, n_coordinates)
        The training rows. With `n_centroids` the centroids, in the coordinates of the metric (unit
        length, whitened or plain); fewer than `n_centroids` if fewer rows are distinct in float32.
    inlier_mask_ : ndarray of bool, shape (n_samples,)
        True for training rows that may be neighbours: all of them without `pollution`.
    local_scales_ : ndarray of float64, shape (n_samples,)
        The :math:`a(x_i)` of the training rows; with `local_scaling` alone.
    index_ : str
        How neighbours are searched: "exact", "ivf" or "hnsw".
    whitening_ : Whitening
        The whitening of the "mahalanobis" metrics, and of no other.
    offset_ : float
        Threshold: a quantile of the leave-one-out scores of the rows that may be neighbours.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    faiss searches in float32, on centred and scaled rows. The distances to the rows it proposes are
    computed again in float64. If float32 cannot prove for a query that no nearer row was missed,
    the query is searched again in float64.

    Pickles include the lists of "ivf" and the graph of "hnsw", which take long to build and contain
    a second copy of the gallery. A faiss that cannot read them builds them again, with a warning.

    With `n_shards` each part proposes its nearest rows, and the nearest of these in float64 are the
    neighbours. Distances and scores of "exact" are the same to the bit as with one part; "ivf" and
    "hnsw" miss no more than with one. The workers of a joblib backend
    (``joblib.parallel_config("loky", n_jobs=2)``, "dask", "threading") search the parts for 256
    queries or more. Processes on this machine map a part from memory, and keep the last eight
    indexes that they built.

    With `n_shards` and `n_centroids`, k-means is approximate and holds one part at a time in
    float64. Each part is clustered into twice as many centroids; these, weighted by their number of
    rows, are clustered into `n_centroids`; five passes over all rows then move these to the means
    of their rows. On blobs the sum of squares is within 2 % of that of one k-means.

    `partial_fit` searches the larger gallery for its own rows again, as `fit` does.

    A zero row has no direction. For "cosine" and "angle" its distance to every other row is 1
    (60 degrees).

    See Also
    --------
    skad.DN2 : This scorer on the features of a pretrained network.
    skad.CentroidScorer : Angle to the mean only.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection",
    AAAI 2023. Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA)", section 2.5.
    Breunig, Kriegel, Ng, Sander, "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000.
    Wilkinghoff et al., "Local Density-Based Anomaly Score Normalization for Domain
    Generalization", arXiv:2509.10951, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skad import KNNScorer
    >>> gallery = np.array([[0.0, 1.0], [0.1, 1.0], [0.0, 2.0], [0.2, 1.5]])
    >>> scorer = KNNScorer(metric="euclidean").fit(gallery)
    >>> scorer.score_samples([[0.0, 1.1], [3.0, 1.0]]).round(2)
    array([ -0.03, -16.5 ])
    >>> scorer.predict([[0.0, 1.1], [3.0, 1.0]])
    array([ 1, -1])
    """

    n_neighbors: int = changed(default=2, kw_only=False)

    def _fit(self, X):
        given = self._fitted
        if self._local_scaling and given.n_centroids is not None:
            raise ValueError(
                f"{type(self).__name__}: local_scaling={self._local_scaling} needs the training "
                f"rows, but with n_centroids={given.n_centroids} only centroids are kept. Use "
                "local_scaling=0 or n_centroids=None."
            )
        if given.n_centroids is None and len(X) <= given.n_neighbors:
            raise ValueError(
                f"{type(self).__name__}: n_neighbors={given.n_neighbors} needs at least "
                f"{given.n_neighbors + 1} training rows, since a row is not its own neighbour; got "
                f"n_samples = {len(X)}. Give more rows or lower n_neighbors."
            )
        self._whiten(X)
        self.inlier_mask_ = self._inliers(X)
        if not self.inlier_mask_.all():
            self._whiten(X[self.inlier_mask_])
        if given.n_centroids is None:
            self.gallery_ = X
        else:
            self.gallery_ = self._centroids(X[self.inlier_mask_])
        self.index_ = self._index_for(self.n_searched)
        self._build_index()
        self._scale_locally(X)

    def _scale_locally(self, X):
        vars(self).pop("local_scales_", None)
        if self._local_scaling:
            own = self._aggregated(self._nearest(X, self._n_found)[0])
            self.local_scales_ = np.maximum(own, _LEAST_SCALE * nonzero(own.mean()))

    def _whiten(self, X):
        vars(self).pop("whitening_", None)
        given = self._fitted
        if given.metric.startswith("mahalanobis"):
            self.whitening_ = Whitening(
                center=given.metric == "mahalanobis",  # numbers stay small; angles need the mean
                shrinkage=given.shrinkage,
                n_components=given.n_components,
            )._fit(X, owner=type(self).__name__)

    def _inliers(self, X):
        """Which rows are not likely to be anomalies themselves."""
        pollution = getattr(self._fitted, "pollution", 0.0)  # which earlier pickles don't have
        if pollution == 0 or len(X) < 2:
            return np.ones(len(X), dtype=bool)
        kind = "exact" if len(X) <= LARGE else "hnsw"
        n_neighbors = min(N_NEIGHBORS, len(X) - 1)
        rows = self._whitened(X)
        squared, _ = NeighborIndex(rows, self._prepare, kind).search(rows, n_neighbors + 1)
        # The nearest is the row itself, or a copy at the same distance.
        likely = likely_anomalies(np.sqrt(squared[:, 1:]).mean(axis=1), pollution)
        n_left = len(X) - likely.sum()
        if self._fitted.n_centroids is None and n_left <= self._fitted.n_neighbors:
            raise ValueError(
                f"{type(self).__name__}: pollution={pollution!r} leaves {n_left} of {len(X)} "
                f"training rows, but n_neighbors={self._fitted.n_neighbors} needs at least "
                f"{self._fitted.n_neighbors + 1}. Give more rows or lower either."
            )
        return ~likely

    def _threshold_rows(self, X):
        return X[self.inlier_mask_]

    def _centroids(self, X):
        rows, given = self._whitened(X), self._fitted
        how = {"random_state": given.random_state, "owner": type(self).__name__}
        if given.n_shards == 1:
            centroids, _ = kmeans(self._prepare(rows), given.n_centroids, **how)
        else:
            shards = np.array_split(rows, min(given.n_shards, len(rows)))
            centroids = kmeans_of_shards(shards, given.n_centroids, prepare=self._prepare, **how)
        return self._prepare(centroids)  # of unit length again, for angles

    def _index_for(self, n_rows):
        if self._fitted.index != "auto":
            return self._fitted.index
        if n_rows <= LARGE:
            return "exact"
        warn(
            f"{type(self).__name__}: for {n_rows} rows, more than {LARGE}, index='auto' takes "
            "'hnsw', which may miss a neighbour. index='exact' never does; index='hnsw' gives no "
            "warning."
        )
        return "hnsw"

    def _build_index(self, built=None):
        if self._fitted.n_centroids is not None:
            self._index = NeighborIndex(self.gallery_, self._prepare, self.index_, built)
            return
        rows = self._whitened(self._searched)
        n_shards = getattr(self._fitted, "n_shards", 1)  # which earlier pickles don't have
        if n_shards == 1:
            self._index = NeighborIndex(rows, self._prepare, self.index_, built)
        else:
            self._index = ShardedIndex(rows, self._prepare, self.index_, n_shards, built)

    @property
    def _dropped(self):
        """Whether there are rows of the gallery that are no neighbours."""
        if self._fitted.n_centroids is not None or not hasattr(self, "inlier_mask_"):
            return False  # the latter in earlier pickles
        return not self.inlier_mask_.all()

    @property
    def _searched(self):
        return self.gallery_[self.inlier_mask_] if self._dropped else self.gallery_

    @property
    def n_searched(self) -> int:
        """Number of training rows, or centroids, that may be neighbours."""
        return int(self.inlier_mask_.sum()) if self._dropped else len(self.gallery_)

    @property
    def _prepare(self):
        """What makes rows between which distances are euclidean."""
        return plain_rows if self._fitted.metric in ("euclidean", "mahalanobis") else unit_rows

    def _whitened(self, X):
        return self.whitening_._whiten(X) if self._fitted.metric.startswith("mahalanobis") else X

    def _score(self, X):
        if not self._local_scaling:
            return -self._aggregated(self._nearest(X, self._n_neighbors)[0])
        distances, indices = self._nearest(X, self._n_found)
        scales = self.local_scales_[indices[:, : self._n_local]].mean(axis=1)
        return -self._aggregated(distances) / scales**self._local_scaling

    def _aggregated(self, distances):
        """One number for the distances to the neighbours of each row, larger where they are far."""
        distances = distances[:, : self._n_neighbors]
        if self._fitted.aggregation == "sum_of_squares":
            return np.square(distances).sum(axis=1)
        return distances.mean(axis=1) if self._fitted.aggregation == "mean" else distances[:, -1]

    @property
    def _local_scaling(self):
        return getattr(self._fitted, "local_scaling", 0.0)  # which earlier pickles don't have

    @property
    def _n_local(self):
        return min(_N_LOCAL, self.n_searched - 1)

    @property
    def _n_found(self):
        """Neighbours that a score in relation to theirs is made of."""
        return max(self._n_neighbors, self._n_local)

    @property
    def _n_neighbors(self):
        return min(self._fitted.n_neighbors, self.n_searched)

    def _nearest(self, X, n_neighbors):
        """Distances and indices of the nearest gallery rows, without the query itself."""
        rows = self._whitened(X)
        if self._fitted.n_centroids is not None:
            squared, indices = self._index.search(rows, n_neighbors)
        else:
            squared, indices = self._search(rows, n_neighbors + 1)
            same = self._is_itself(X, squared, indices)
            skipped = np.where(same.any(axis=1), same.argmax(axis=1), n_neighbors)
            itself = np.take_along_axis(indices, skipped[:, None], 1)[:, 0]
            kept = np.arange(n_neighbors) + (np.arange(n_neighbors) >= skipped[:, None])
            squared, indices = (np.take_along_axis(part, kept, 1) for part in (squared, indices))
            known = np.flatnonzero(same.any(axis=1))
            if self._fitted.metric.startswith("mahalanobis") and len(known):
                found = self._without(itself[known], rows[known], indices[known])
                squared[known], indices[known] = found
        distances = np.sqrt(squared)
        if self._fitted.metric in ("angle", "mahalanobis_cosine"):
            distances = angle_of(distances)
        return distances, indices

    def _without(self, itself, rows, indices):
        """Squared distances of training rows to their neighbours, whitened without the row itself.

        With few rows, each has so much of its own in the covariance that it is nearer to all others
        than a new row is: by those distances the threshold would call half of new normal rows
        anomalies.
        """
        center = self.whitening_._whiten(self.whitening_.mean_[None])
        whitened = self._index.gallery
        places = np.cumsum(self.inlier_mask_) - 1 if self._dropped else np.arange(len(whitened))

        def measure(block):
            centered = whitened[places[itself[block]]] - center
            neighbors = whitened[places[indices[block]]]
            vectors = np.concatenate([rows[block, None], neighbors], axis=1)
            vectors = self.whitening_.covariance_.without(vectors, centered, self.n_searched)
            vectors = self._prepare(vectors.reshape(-1, vectors.shape[2])).reshape(vectors.shape)
            apart = vectors[:, 1:] - vectors[:, :1]
            return np.einsum("nkd,nkd->nk", apart, apart)

        # Three arrays of them are held at a time.
        values = 3 * (indices.shape[1] + 1) * rows.shape[1]
        squared = blockwise(measure, np.arange(len(rows)), values)
        order = np.lexsort((indices, squared))
        return np.take_along_axis(squared, order, 1), np.take_along_axis(indices, order, 1)

    def _search(self, rows, n_neighbors):
        """Squared distances, and places in the gallery."""
        squared, indices = self._index.search(rows, n_neighbors)
        if self._dropped:
            indices = np.flatnonzero(self.inlier_mask_)[indices]
        return squared, indices

    def _is_itself(self, X, squared, indices):
        """Which of the rows found are the query but for rounding, shape as `indices`."""
        tolerance = same_within(X.dtype, self.gallery_.dtype)
        if self._fitted.metric in ("cosine", "angle"):
            return np.sqrt(squared) <= tolerance
        tolerance = tolerance * np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
        if self._fitted.metric == "euclidean":
            return np.sqrt(squared) <= tolerance
        # Whitening magnifies rounding, so the rows are compared as they came.
        same = np.empty(indices.shape, dtype=bool)
        for j, column in enumerate(indices.T):
            apart = np.subtract(X, self.gallery_[column], dtype=np.float64)
            same[:, j] = np.linalg.norm(apart, axis=1) <= tolerance[:, 0]
        return same

    def kneighbors(
        self, X: ArrayLike, n_neighbors: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest training rows, the nearest first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of the samples.
        n_neighbors : int, optional
            Number of neighbours; by default the scorer's.

        Returns
        -------
        distances : ndarray of float64, shape (n_samples, n_neighbors)
            Distances by `metric`; of training rows as they are scored, see above.
        indices : ndarray of int, shape (n_samples, n_neighbors)
            Indices of rows of `gallery_`: the training rows in order, without labelled anomalies.

        Raises
        ------
        ValueError
            If there are fewer training rows or centroids than that.
        """
        X = self._validated(X)
        self._check_rows_are_kept("kneighbors")
        n_neighbors = self._fitted.n_neighbors if n_neighbors is None else n_neighbors
        if not isinstance(n_neighbors, Integral) or not 1 <= n_neighbors < self.n_searched:
            raise ValueError(
                f"{type(self).__name__}: n_neighbors must be a whole number in "
                f"1..{self.n_searched - 1}, one less than there are rows to search; got "
                f"{n_neighbors}."
            )
        return self._nearest(X, n_neighbors)

    def _check_rows_are_kept(self, method):
        if self._fitted.n_centroids is not None:
            raise ValueError(
                f"{type(self).__name__}: {method} needs the training rows, but with "
                f"n_centroids={self._fitted.n_centroids} only centroids are kept. Fit without "
                "n_centroids."
            )

    def holds(self, X: ArrayLike) -> np.ndarray:
        """Tell which rows equal a training row, up to rounding.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of the samples.

        Returns
        -------
        held : ndarray of bool, shape (n_samples,)
            True for rows that are found in the gallery, and so are not their own neighbours.

        Raises
        ------
        ValueError
            If only centroids are kept.
        """
        X = self._validated(X)
        self._check_rows_are_kept("holds")
        squared, indices = self._search(self._whitened(X), 1)
        return self._is_itself(X, squared, indices)[:, 0]

    def _obstacle_to_extending(self, parameters):
        if parameters.n_centroids is not None:
            return (
                f"no partial_fit with n_centroids={parameters.n_centroids}, since the training "
                "rows behind the centroids are not kept. Use n_centroids=None, or fit to all rows."
            )

    def _extend(self, X):
        self._fit(np.concatenate([self.gallery_, X]))
        return self._threshold_rows(self.gallery_)
