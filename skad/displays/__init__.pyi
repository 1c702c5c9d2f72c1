from ._anomaly_map import AnomalyMapDisplay as AnomalyMapDisplay
from ._contact_sheet import ContactSheetDisplay as ContactSheetDisplay
from ._embedding import EmbeddingDisplay as EmbeddingDisplay
from ._histogram import ScoreHistogramDisplay as ScoreHistogramDisplay
from ._nearest import NearestImagesDisplay as NearestImagesDisplay
from ._roc import ROCDisplay as ROCDisplay
from ._training_curve import TrainingCurveDisplay as TrainingCurveDisplay
