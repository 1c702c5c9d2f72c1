"""Adapters: extractors that train a copy of another extractor's network on normal pictures."""

from .._lazy import lazy_names

_HOMES = {
    "AutoencoderAdapter": "_autoencoder",
    "CollapseWarning": ".training._watch",
    "CompactnessAdapter": "_compactness",
    "DeepSVDDAdapter": "_deep_svdd",
    "FisherDiagonal": "_fisher",
    "JointOptimizationAdapter": "_joint",
    "MeanShiftedContrastive": "_mean_shifted",
    "OutlierExposureAdapter": "_outlier_exposure",
    "PseudoLabelAdapter": "_pseudo_labels",
    "RotationAdapter": "_rotation",
    "SelfSupervisedAdapter": "_self_supervised",
    "VICRegAdapter": "_vicreg",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
