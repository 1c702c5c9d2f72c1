"""Accuracy of clusters."""

from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from .._types import ArrayLike


def clustering_accuracy(y_true: ArrayLike, labels: ArrayLike) -> float:
    r"""Share of samples that are right if each cluster is given its best class.

    .. math:: \max_m \frac1n \sum_{i=1}^n \mathbf 1 \{ y_i = m(c_i) \}

    with the clusters c and m running over all ways to match clusters and classes one to one.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Classes: numbers or strings.
    labels : array-like of shape (n_samples,)
        Clusters: numbers or strings, not of the same kind as the classes necessarily. -1 is a
        cluster as any other.

    Returns
    -------
    accuracy : float
        Above 0 and at most 1; 1 if clusters are classes under other names.

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
    The best matching is found by the Hungarian method. There may be more clusters than classes, or
    fewer: what is left without a match is wrong.

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
