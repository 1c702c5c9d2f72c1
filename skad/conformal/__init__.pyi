from ._detector import ConformalDetector as ConformalDetector
from ._maps import ConformalMapDetector as ConformalMapDetector
