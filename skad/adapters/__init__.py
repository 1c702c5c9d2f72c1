"""Adapters: extractors that train a copy of another extractor's network on normal images."""

from ..training._watch import CollapseWarning
from ._autoencoder import AutoencoderAdapter
from ._compactness import CompactnessAdapter
from ._deep_svdd import DeepSVDDAdapter
from ._fisher import FisherDiagonal
from ._joint import JointOptimizationAdapter
from ._mean_shifted import MeanShiftedContrastive
from ._outlier_exposure import OutlierExposureAdapter
from ._pseudo_labels import PseudoLabelAdapter
from ._rotation import RotationAdapter
from ._self_supervised import SelfSupervisedAdapter
from ._vicreg import VICRegAdapter

__all__ = [
    "AutoencoderAdapter",
    "CollapseWarning",
    "CompactnessAdapter",
    "DeepSVDDAdapter",
    "FisherDiagonal",
    "JointOptimizationAdapter",
    "MeanShiftedContrastive",
    "OutlierExposureAdapter",
    "PseudoLabelAdapter",
    "RotationAdapter",
    "SelfSupervisedAdapter",
    "VICRegAdapter",
]
