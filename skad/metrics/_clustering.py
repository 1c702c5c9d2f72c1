"""Accuracy of clusters."""

from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from .._types import ArrayLike


def clustering_accuracy(y_true: ArrayLike, labels: ArrayLike) -> float:
    r"""Compute the share of samples that are right if each cluster is given its best class.

    .. math:: \max_m \frac1n \sum_{i=1}^n \mathbf 1 \{ y_i = m(c_i) \}

    with classes y, clusters c, and m over all one-to-one matchings of clusters and classes.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Classes: numbers or strings.
    labels : array-like of shape (n_samples,)
        Clusters: numbers or strings, whatever the classes are. -1 is a cluster like any other.

    Returns
    -------
    accuracy : float
        In (0, 1]; 1 if the clusters are the classes under other names.

    Raises
    ------
    ValueError
        If there are no samples, or the lengths differ.

    See Also
    --------
    sklearn.metrics.normalized_mutual_info_score : The mutual information (NMI), between 0 and 1.
    sklearn.metrics.adjusted_rand_score : The share of pairs that agree, corrected for chance (ARI).

    Notes
    -----
    The best matching is found by the Hungarian method. If there are more clusters than classes, or
    fewer, samples without a match are wrong.

    References
    ----------
    Xie, Girshick, Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016.

    Examples
    --------
    >>> from skad.metrics import clustering_accuracy
    >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 2])
    0.75
    """
    y_true, labels = column_or_1d(y_true), column_or_1d(labels)
    check_consistent_length(y_true, labels)
    if not len(y_true):
        raise ValueError("clustering_accuracy: y_true is empty; at least one sample is needed.")
    counts = contingency_matrix(y_true, labels)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(y_true))
