"""Detectors: the papers' methods, each a composition of extractor, adapter and scorer."""

from ._clad import CLAD
from ._deep_clustering import DeepClustering
from ._deep_svdd import DeepSVDD
from ._dn2 import DN2
from ._image import ImageDetector
from ._joint_optimization import JointOptimization
from ._map import MapDetector
from ._msc import MSC
from ._nsa import NSA
from ._padim import PaDiM
from ._panda import PANDA
from ._panda_oe import PANDAOE
from ._patch_core import PatchCore
from ._rotation_prediction import RotationPrediction
from ._scan_features import SCANFeatures
from ._spade import SPADE

__all__ = [
    "CLAD",
    "DN2",
    "MSC",
    "NSA",
    "PANDA",
    "PANDAOE",
    "SPADE",
    "DeepClustering",
    "DeepSVDD",
    "ImageDetector",
    "JointOptimization",
    "MapDetector",
    "PaDiM",
    "PatchCore",
    "RotationPrediction",
    "SCANFeatures",
]
