"""Adapters: extractors that train a copy of another extractor's network on normal images."""

from ._compactness import CompactnessAdapter
from ._fisher import FisherDiagonal
from ._joint import JointOptimizationAdapter
from ._mean_shifted import MeanShiftedContrastive
from ._outlier_exposure import OutlierExposureAdapter
from ._watch import CollapseWarning

__all__ = [
    "CollapseWarning",
    "CompactnessAdapter",
    "FisherDiagonal",
    "JointOptimizationAdapter",
    "MeanShiftedContrastive",
    "OutlierExposureAdapter",
]
