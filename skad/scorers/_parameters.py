"""Parameters of scorers that detectors have too."""

from numbers import Integral, Real

from .._compat import Interval, StrOptions
from .._decision import CONTAMINATION
from .._parameters import POSITIVE, ParameterGroup, changed, parameter

METRICS = {"cosine", "euclidean", "angle", "mahalanobis", "mahalanobis_cosine"}


class ContaminationParameters(ParameterGroup):
    """Where the threshold lies."""

    contamination: str | float = parameter(
        default="auto",
        limits=CONTAMINATION,
        text='Share of the training samples that fall beyond the threshold `offset_`; "auto" is '
        "0.1. Scorers that compare neighbours score each training sample without itself.",
    )


class CovarianceParameters(ParameterGroup):
    """How a covariance is kept."""

    shrinkage: str | float = parameter(
        default="ledoit_wolf",
        limits=[StrOptions({"ledoit_wolf"}), Interval(Real, 0, 1, closed="both")],
        text='Shrinkage of the covariance, for the "mahalanobis" metrics; see '
        ":class:`~skad.Whitening`.",
    )
    n_components: int | float | None = parameter(
        default=None,
        limits=[
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        text="Directions that whitening keeps; see :class:`~skad.Whitening`.",
    )


class CountParameters(ParameterGroup):
    """How many neighbours."""

    n_neighbors: int = parameter(
        default=2,
        limits=[POSITIVE],
        text="Number of nearest training samples that are compared with.",
    )


class MetricParameters(CountParameters):
    """Between what they are the nearest."""

    metric: str | None = parameter(
        default="cosine",
        limits=[StrOptions(METRICS)],
        text='Distance between features. "cosine" is the angular form of MSC\'s paper, 3.3 points '
        'better on CIFAR-10 than PANDA\'s "euclidean". See :class:`~skad.KNNScorer` for all.',
    )


class CentroidCountParameters(ParameterGroup):
    """Fewer rows to search."""

    n_centroids: int | None = parameter(
        default=None,
        limits=[POSITIVE, None],
        text="Replace the training samples by this many centroids of k-means, for a faster search.",
    )


class PollutionParameters(ParameterGroup):
    """Anomalies among what is taken for normal."""

    pollution: str | float = parameter(
        default=0.0,
        limits=[StrOptions({"estimate"}), Interval(Real, 0, 0.5, closed="left")],
        text="Share of the training samples that are assumed to be anomalies: those farthest from "
        'their ten nearest neighbours. They never serve as neighbours. "estimate" takes the '
        "samples whose log distance lies more than 2.5 deviations above the median, and none "
        "of fewer than 30 samples.",
    )


class NeighborParameters(
    ContaminationParameters,
    PollutionParameters,
    CovarianceParameters,
    CentroidCountParameters,
    MetricParameters,
):
    """Nearest neighbours."""

    n_neighbors: int = changed(default=2, note="(Papers and their code: 2; NSA: 1.)")
    n_centroids: int | None = changed(
        default=None, note="(MSC, table 6: 100 of them lose 0.2 points on CIFAR-10.)"
    )
    aggregation: str = parameter(
        default="sum_of_squares",
        limits=[StrOptions({"sum_of_squares", "mean", "kth"})],
        text='How the distances to the k neighbours become one score. "sum_of_squares": their '
        'squares added (published code of PANDA and MSC). "mean": their mean (SPADE). "kth": '
        "the largest.",
    )
    local_scaling: float = parameter(
        default=0.0,
        limits=[Interval(Real, 0, 1, closed="both")],
        text="How far a score is set in relation to those of the nearest training samples, which "
        "differ where some lie more densely than others; see :class:`~skad.KNNScorer`. 0: not at "
        "all, as in the papers. 0.5: for normal samples of many classes. 1: wholly.",
    )
    index: str = parameter(
        default="auto",
        limits=[StrOptions({"auto", "exact", "ivf", "hnsw"})],
        text='How neighbours are searched. "exact" never misses one. "ivf" (inverted lists of '
        'faiss) and "hnsw" (its graph) are faster and may. "auto" is "exact" up to 200 000 '
        'rows and "hnsw" beyond, with a warning.',
    )
    n_shards: int = parameter(
        default=1,
        limits=[POSITIVE],
        text="Parts into which the gallery is split for the search; joblib's workers share them "
        'where there are any. "exact" finds the same neighbours with any number. See '
        ":class:`~skad.KNNScorer`.",
    )
