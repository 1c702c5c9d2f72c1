"""Detectors: the papers' methods, each a composition of extractor, adapter and scorer."""

from ._dn2 import DN2
from ._joint_optimization import JointOptimization
from ._msc import MSC
from ._panda import PANDA
from ._panda_oe import PANDAOE

__all__ = ["DN2", "MSC", "PANDA", "PANDAOE", "JointOptimization"]
