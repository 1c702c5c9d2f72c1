"""Choosing: splits, the protocols of papers, and choosing without labelled anomalies."""

from .._lazy import lazy_names

_HOMES = {
    "Leaderboard": "_leaderboard",
    "OneClassKFold": "_folds",
    "SyntheticAUROC": "_search",
    "SyntheticAnomalies": "_synthetic",
    "SyntheticKFold": "_search",
    "SyntheticSet": "_synthetic",
    "Task": "_protocols",
    "leave_one_class_out": "_protocols",
    "one_vs_rest": "_protocols",
    "pollute": "_protocols",
    "super_categories": "_protocols",
    "synthetic_auroc_scorer": "_search",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
