"""How right scores, clusters and anomaly maps are."""

from ._auroc import AUROCScorer, auroc_interval, auroc_score, auroc_scorer
from ._clustering import clustering_accuracy
from ._pixels import pixel_auroc_score, pixel_average_precision_score
from ._regions import pro_score, region_table

__all__ = [
    "AUROCScorer",
    "auroc_interval",
    "auroc_score",
    "auroc_scorer",
    "clustering_accuracy",
    "pixel_auroc_score",
    "pixel_average_precision_score",
    "pro_score",
    "region_table",
]
