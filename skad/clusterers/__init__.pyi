from ._base import ClusterWarning as ClusterWarning
from ._dec import DEC as DEC
from ._scan import SCAN as SCAN
