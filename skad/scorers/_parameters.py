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
        text="Share of the training samples beyond the threshold `offset_`, scored leave-one-out "
        'by neighbours; "auto" is 0.1.',
    )


class CovarianceParameters(ParameterGroup):
    """How a covariance is kept."""

    shrinkage: str | float = parameter(
        default="ledoit_wolf",
        limits=[StrOptions({"ledoit_wolf"}), Interval(Real, 0, 1, closed="both")],
        text='Of the covariance, for the "mahalanobis" metrics; see :class:`~skad.Whitening`.',
    )
    n_components: int | float | None = parameter(
        default=None,
        limits=[
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        text="Directions kept in whitening, see :class:`~skad.Whitening`.",
    )


class CountParameters(ParameterGroup):
    """How many neighbours."""

    n_neighbors: int = parameter(
        default=2, limits=[POSITIVE], text="Number of nearest training samples that count."
    )


class MetricParameters(CountParameters):
    """Between what they are the nearest."""

    metric: str | None = parameter(
        default="cosine",
        limits=[StrOptions(METRICS)],
        text='"cosine" is the angular form of MSC\'s paper, 3.3 points better on CIFAR-10 than '
        'PANDA\'s "euclidean"; see :class:`~skad.KNNScorer`.',
    )


class CentroidCountParameters(ParameterGroup):
    """Fewer rows to search."""

    n_centroids: int | None = parameter(
        default=None,
        limits=[POSITIVE, None],
        text="Search so many centroids of k-means instead of what they stand for.",
    )


class PollutionParameters(ParameterGroup):
    """Anomalies among what is taken for normal."""

    pollution: str | float = parameter(
        default=0.0,
        limits=[StrOptions({"estimate"}), Interval(Real, 0, 0.5, closed="left")],
        text="Share of the training samples that are taken for anomalies, and are no neighbours: "
        'those farthest from their ten nearest. "estimate" takes those whose distance lies more '
        "than 2.5 deviations beyond the median, as logarithms, none of fewer than 30.",
    )


class NeighborParameters(
    ContaminationParameters,
    PollutionParameters,
    CovarianceParameters,
    CentroidCountParameters,
    MetricParameters,
):
    """Nearest neighbours."""

    n_neighbors: int = changed(default=2, note="k (papers and their code: 2; NSA: 1).")
    n_centroids: int | None = changed(
        default=None, note="(MSC, table 6: 100 of them lose 0.2 points on CIFAR-10.)"
    )
    aggregation: str = parameter(
        default="sum_of_squares",
        limits=[StrOptions({"sum_of_squares", "mean", "kth"})],
        text="Sum of squared distances (the published code of PANDA and MSC), mean distance "
        "(SPADE), or distance to the k-th neighbour.",
    )
    index: str = parameter(
        default="auto",
        limits=[StrOptions({"auto", "exact", "ivf", "hnsw"})],
        text='How neighbours are found. "ivf" (inverted lists of faiss) and "hnsw" (its graph) '
        'may miss a neighbour; "exact" never does. "auto" is "exact" up to 200 000 rows and '
        '"hnsw" beyond, with a warning.',
    )
    n_shards: int = parameter(
        default=1,
        limits=[POSITIVE],
        text="Parts that the gallery is searched in, by joblib's workers where there are any; "
        '"exact" finds the same in any number. See :class:`~skad.KNNScorer`.',
    )
