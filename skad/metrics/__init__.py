"""Metrics of scores, anomaly maps and clusters."""

from .._lazy import lazy_names

_HOMES = {
    "AUROCScorer": "_auroc",
    "auroc_interval": "_auroc",
    "auroc_score": "_auroc",
    "auroc_scorer": "_auroc",
    "clustering_accuracy": "_clustering",
    "pixel_auroc_score": "_pixels",
    "pixel_average_precision_score": "_pixels",
    "pro_score": "_regions",
    "region_table": "_regions",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
