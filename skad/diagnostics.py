"""Diagnostics: what training does to features, seen as points on the unit sphere."""

from numbers import Integral, Real

import numpy as np
from scipy.linalg import svdvals
from scipy.optimize import brentq
from sklearn.utils import check_array, check_random_state, check_scalar

from ._rows import unit_rows
from ._types import ArrayLike, RandomState

__all__ = [
    "augmentation_distance",
    "collapse",
    "effective_rank",
    "mean_pairwise_cosine",
    "uniformity_mmd",
    "vmf_concentration",
]

# Terms of the continued fraction. 60 reach the rounding error for every dimension and every
# concentration; the slowest are 2 dimensions and a concentration of about 10.
_N_TERMS = 80


def vmf_concentration(X: ArrayLike, *, max_concentration: float = 1e10) -> float:
    r"""Estimate the concentration of the directions of rows, by a von Mises-Fisher distribution.

    Its density at a unit vector z of d dimensions is proportional to :math:`\exp(\kappa \mu^\top
    z)`. The maximum-likelihood concentration :math:`\kappa` solves

    .. math:: \frac{I_{d/2}(\kappa)}{I_{d/2-1}(\kappa)} = \bar R
        = \Bigl\lVert \frac1n \sum_{i=1}^n \frac{x_i}{\lVert x_i \rVert_2} \Bigr\rVert_2

    with the modified Bessel functions I. NSA observes it during training: lower = more uniform.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features, at least two rows and columns; only directions count, so no row may be zero.
    max_concentration : float, default=1e10
        Upper limit of the result. Rows with the same direction have no finite concentration.

    Returns
    -------
    concentration : float
        :math:`\kappa`, in [0, `max_concentration`]; 0 if the mean of the directions is 0.

    Raises
    ------
    ValueError
        If `X` is not a finite array of such rows, or `max_concentration` is not positive.

    See Also
    --------
    uniformity_mmd : A measure of uniformity without a model of the distribution.
    mean_pairwise_cosine : A function of :math:`\bar R` alone.

    Notes
    -----
    Few rows look concentrated. For n uniform rows, :math:`\bar R` is about :math:`n^{-1/2}`, and
    the concentration about :math:`d n^{-1/2}`. Compare only samples of the same size.

    In hundreds of dimensions the Bessel functions underflow, but their ratio does not; it is
    computed by Perron's continued fraction.

    References
    ----------
    Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA): compact distributions for
    robust self-supervised Anomaly Detection", WACV 2023. Banerjee, Dhillon, Ghosh, Sra, "Clustering
    on the Unit Hypersphere using von Mises-Fisher Distributions", JMLR 2005. Gautschi, Slavik, "On
    the Computation of Modified Bessel Function Ratios", Mathematics of Computation 1978.

    Examples
    --------
    >>> from skad.diagnostics import vmf_concentration
    >>> round(vmf_concentration([[1.0, 0.1], [2.0, -0.2], [3.0, 0.0]]), 1)
    151.4
    >>> vmf_concentration([[1.0, 2.0], [2.0, 4.0]])
    10000000000.0
    """
    owner = "vmf_concentration"
    units = _directions(_check_features(X, owner), owner)
    if not (isinstance(max_concentration, Real) and max_concentration > 0):
        raise ValueError(
            f"{owner}: max_concentration must be a positive number; got {max_concentration!r}."
        )
    length, spread = _mean_direction(units)
    if length == 0:
        return 0.0
    if spread == 0:
        return float(max_concentration)
    concentration = _solve_concentration(units.shape[1], length, spread)
    return float(min(concentration, max_concentration))


def uniformity_mmd(X: ArrayLike, *, n_max: int = 1000, random_state: RandomState = 0) -> float:
    r"""Compute the maximum mean discrepancy between the directions of rows and uniform ones.

    .. math:: \mathrm{MMD}^2 = \frac{1}{n^2} \sum_{i,j}
        \bigl[ k(z_i, z_j) + k(u_i, u_j) - 2 k(z_i, u_j) \bigr],
        \qquad k(a, b) = \exp\Bigl( -\frac{\lVert a - b \rVert_2^2}{2 \sigma^2} \Bigr)

    with n unit rows z, n draws u from the uniform distribution on the sphere, and :math:`\sigma^2`
    the median of the squared distances between all 2n points. NSA observes it during training, but
    does not name the kernel; these are the usual choices.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features, at least two rows and columns; only directions count, so no row may be zero.
    n_max : int, default=1000
        Largest number of rows to use; if there are more, they are drawn at random. Memory and time
        grow with its square (32 MB for each matrix at 1000).
    random_state : int, RandomState instance or None, default=0
        Seeds the uniform directions and the choice of rows.

    Returns
    -------
    mmd : float
        The root of the biased (V-statistic) estimate, in [0, sqrt(2)]; lower = more uniform.

    Raises
    ------
    ValueError, TypeError
        If `X` is not a finite array of such rows, or `n_max` is not an integer of at least 2.

    See Also
    --------
    vmf_concentration : A parametric measure, by the mean direction only.

    Notes
    -----
    The result is not 0 for uniform rows. In high dimensions all points are about equally far apart,
    which leaves about :math:`\sqrt{0.8 / n}`. Compare only samples of the same size.

    References
    ----------
    Gretton, Borgwardt, Rasch, Schoelkopf, Smola, "A Kernel Two-Sample Test", JMLR 2012, equation 5.
    Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA): compact distributions for
    robust self-supervised Anomaly Detection", WACV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.diagnostics import uniformity_mmd
    >>> spread = np.random.RandomState(1).normal(size=(200, 8))
    >>> uniformity_mmd(spread) < uniformity_mmd(spread + 1) < uniformity_mmd(spread + 9)
    True
    """
    owner = "uniformity_mmd"
    units = _directions(_check_features(X, owner), owner)
    check_scalar(n_max, f"n_max of {owner}", Integral, min_val=2)
    rng = check_random_state(random_state)
    if len(units) > n_max:
        units = units[rng.permutation(len(units))[:n_max]]
    n_samples = len(units)
    uniform = _directions(rng.normal(size=units.shape), owner)
    pooled = np.concatenate([units, uniform])
    squared = np.maximum(2 - 2 * pooled @ pooled.T, 0)
    median = np.median(squared[np.triu_indices(2 * n_samples, k=1)])
    kernel = np.exp(squared / (-2 * median))
    within = kernel[:n_samples, :n_samples].mean() + kernel[n_samples:, n_samples:].mean()
    between = kernel[:n_samples, n_samples:].mean()
    return float(np.sqrt(max(within - 2 * between, 0)))


def mean_pairwise_cosine(X: ArrayLike) -> float:
    r"""Compute the mean cosine over all pairs of distinct rows.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \neq j} z_i^\top z_j
        = \frac{\lVert \sum_i z_i \rVert_2^2 - n}{n (n - 1)}, \qquad z_i = x_i / \lVert x_i \rVert_2

    It is MSC's measure of uniformity. The right-hand side needs no matrix of pairs.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features, at least two rows and columns; only directions count, so no row may be zero.

    Returns
    -------
    cosine : float
        In [-1 / (n_samples - 1), 1]: 1 for rows with the same direction, about 0 for uniform ones.

    Raises
    ------
    ValueError
        If `X` is not a finite array of such rows.

    See Also
    --------
    vmf_concentration : The same on a scale that does not end at 1.
    augmentation_distance : The other term of a contrastive loss.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> from skad.diagnostics import mean_pairwise_cosine
    >>> round(mean_pairwise_cosine([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), 4)
    0.4714
    """
    owner = "mean_pairwise_cosine"
    units = _directions(_check_features(X, owner), owner)
    _, spread = _mean_direction(units)
    # The same as above in the variance about the mean, which keeps its digits near a cosine of 1.
    return float(1 - spread * len(units) / (len(units) - 1))


def augmentation_distance(X: ArrayLike, X_augmented: ArrayLike) -> float:
    r"""Compute the mean cosine distance between each image and its augmentations.

    .. math:: \frac{1}{n v} \sum_{i=1}^n \sum_{j=1}^v \bigl( 1 - \cos(x_i, x_i^{(j)}) \bigr)

    It is MSC's measure of what contrastive training minimises.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features of the images; only directions count, so no row may be zero.
    X_augmented : array-like of shape (n_samples, n_features) or (n_views, n_samples, n_features)
        Features of one or several augmentations of the same images, in the same order.

    Returns
    -------
    distance : float
        In [0, 2]; 0 if the directions do not change.

    Raises
    ------
    ValueError
        If the arrays are not finite, have zero rows, or do not match in shape.

    See Also
    --------
    mean_pairwise_cosine : Similarity between different images; collapse makes both trivial.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> from skad.diagnostics import augmentation_distance
    >>> augmentation_distance([[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [1.0, 0.0]])
    0.5
    """
    owner = "augmentation_distance"
    units = _directions(_check_features(X, owner, min_samples=1), owner)
    views = _check_array(X_augmented, "X_augmented", owner, allow_nd=True)
    if views.ndim not in (2, 3) or views.shape[-2:] != units.shape or not len(views):
        raise ValueError(
            f"{owner}: X_augmented must have the shape of X, {units.shape}, or (n_views, "
            f"{units.shape[0]}, {units.shape[1]}); got {views.shape}. Give the features of each "
            "image's augmentations in the order of X."
        )
    views = views.reshape(-1, *units.shape)
    # Half the squared distance of unit vectors: 1 - cos would lose the digits of small angles.
    squared = [((_directions(view, owner, "X_augmented") - units) ** 2).sum() for view in views]
    return float(np.sum(squared) / (2 * len(views) * len(units)))


def effective_rank(X: ArrayLike) -> float:
    r"""Compute the number of directions that rows fill: the exponential of an entropy.

    .. math:: \exp\Bigl( -\sum_k p_k \log p_k \Bigr), \qquad
        p_k = \frac{\sigma_k}{\sum_l \sigma_l}

    with the singular values :math:`\sigma_k` of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features, not all zero. Longer rows have more weight.

    Returns
    -------
    rank : float
        In [1, min(n_samples, n_features)].

    Raises
    ------
    ValueError
        If `X` is not a finite array, or all zero.

    See Also
    --------
    collapse : The same for directions, scaled to [0, 1].

    Notes
    -----
    As in RankMe, `X` is not centred. Rows at a single point then have rank 1, the sign of collapse.
    Centred, they would be zero, or noise of full rank.

    References
    ----------
    Roy, Vetterli, "The Effective Rank: a Measure of Effective Dimensionality", EUSIPCO 2007.
    Garrido, Balestriero, Najman, LeCun, "RankMe: Assessing the Downstream Performance of Pretrained
    Self-Supervised Representations by Their Rank", ICML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.diagnostics import effective_rank
    >>> round(effective_rank(np.eye(5)), 6)
    5.0
    >>> round(effective_rank(np.ones((5, 3))), 6)
    1.0
    """
    owner = "effective_rank"
    X = _check_features(X, owner, min_samples=1, min_features=1)
    if not X.any():
        raise ValueError(f"{owner}: X is zero throughout, so it has no directions to count.")
    return float(np.exp(_spectral_entropy(X)))


def collapse(X: ArrayLike) -> float:
    r"""Measure how far the directions of rows have collapsed, without labels.

    .. math:: 1 - \frac{\log \mathrm{erank}(Z)}{\log \min(n, d)}

    with erank the :func:`effective_rank` of Z, the n rows of `X` scaled to unit length.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features, at least two rows and columns; only directions count, so no row may be zero.

    Returns
    -------
    collapse : float
        In [0, 1]: 0 if the rows evenly fill all directions that their number and dimension allow,
        1 if all lie on one line through the origin, for example at one point.

    Raises
    ------
    ValueError
        If `X` is not a finite array of such rows.

    See Also
    --------
    effective_rank : The number of directions itself.
    mean_pairwise_cosine : Shows collapse to one direction, but not to a few.

    Notes
    -----
    The value depends on the number of rows. Observe it during training on the same images.

    References
    ----------
    Garrido, Balestriero, Najman, LeCun, "RankMe: Assessing the Downstream Performance of Pretrained
    Self-Supervised Representations by Their Rank", ICML 2023, for the rank; the scale is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.diagnostics import collapse
    >>> round(collapse(np.eye(5)), 6), round(collapse(np.ones((5, 3))), 6)
    (0.0, 1.0)
    """
    owner = "collapse"
    units = _directions(_check_features(X, owner), owner)
    share = _spectral_entropy(units) / np.log(min(units.shape))
    return float(np.clip(1 - share, 0, 1))


def _check_features(X, owner, min_samples=2, min_features=2):
    return _check_array(
        X, "X", owner, ensure_min_samples=min_samples, ensure_min_features=min_features
    )


def _check_array(X, name, owner, **limits):
    """Finite float64 values; messages name the argument and the function."""
    return check_array(
        X, dtype=np.float64, input_name=f"{name} of {owner}", estimator=owner, **limits
    )


def _directions(X, owner, name="X"):
    """Rows scaled to unit length."""
    zero = np.flatnonzero(~X.any(axis=1))
    if len(zero):
        raise ValueError(
            f"{owner}: every row needs a direction, but {len(zero)} of the {len(X)} rows of {name} "
            f"are zero, the first is row {zero[0]}. Leave such rows out."
        )
    return unit_rows(X)


def _mean_direction(units):
    """Length of the mean of unit vectors, and one minus its square, each with all its digits."""
    mean = units.mean(axis=0)
    spread = ((units - mean) ** 2).sum(axis=1).mean()
    return np.linalg.norm(mean), spread


def _bessel_ratio(n_features, concentration):
    r"""Mean length of a von Mises-Fisher distribution, and one minus that, by Perron's fraction.

    .. math:: \frac{I_{d/2}(\kappa)}{I_{d/2-1}(\kappa)} = \cfrac{\kappa}{\kappa + d
        - \cfrac{(d + 1) \kappa}{d + 1 + 2 \kappa
        - \cfrac{(d + 3) \kappa}{d + 2 + 2 \kappa - \cdots}}}
    """
    d, kappa = n_features, concentration
    tail = 0.0
    for k in range(_N_TERMS, 0, -1):
        tail = (d + 2 * k - 1) * kappa / (d + k + 2 * kappa - tail)
    return kappa / (kappa + d - tail), (d - tail) / (kappa + d - tail)


def _solve_concentration(n_features, length, spread):
    """Concentration at which the Bessel ratio is `length`, whose square is 1 - `spread`."""
    # The ratio A grows and is concave, and A' = 1 - A^2 - (d - 1) A / kappa; so A' > 0 and
    # A' < A / kappa enclose the root between d - 1 and d in this unit.
    unit = length / spread

    def excess(multiple):
        ratio, complement = _bessel_ratio(n_features, multiple * unit)
        # Of the two forms, the one that does not subtract nearly equal numbers.
        return ratio - length if length < 0.5 else spread / (1 + length) - complement

    margin = 1e-9  # for rounding, where the root is at an end
    return unit * brentq(excess, (n_features - 1) * (1 - margin), n_features * (1 + margin))


def _spectral_entropy(X):
    """Entropy in nats of the singular values, scaled to sum to one."""
    shares = svdvals(X)
    shares = shares[shares > 0] / shares.sum()
    return -(shares * np.log(shares)).sum()
