"""A fitted detector as one module: pixels in; score, decision, p-value and map out."""

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .._verdicts import detectors_within
from ..conformal import ConformalMapDetector
from ..detectors import AutoDetector
from ._features import features_graph, fitted_on_cpu
from ._maps import maps_graph, mean_of_lowest
from ._parts import ExportError, constant
from ._pixels import Pixels
from ._scorers import Calibrated, scorer_graph


class DetectorGraph(nn.Module):
    """A fitted detector, from pixels to its decision.

    Parameters
    ----------
    detector : estimator
        A detector of skad, a Pipeline of an extractor (or adapter) and a scorer, or a
        ConformalDetector or ConformalMapDetector around one of these.

    Attributes
    ----------
    offset : float
        Threshold on the score of the detector.
    outputs : list of str
        Names of what comes out.

    Raises
    ------
    ExportError
        If a part has no graph; the message says which one, and why.
    """

    def __init__(self, detector):
        super().__init__()
        check_is_fitted(detector)
        self.owner, self.outputs = type(detector).__name__, ["score", "anomaly"]
        self.offset = float(getattr(detector, "steps", [(None, detector)])[-1][1].offset_)
        inner, self.calibrated = inner_detector(detector), nn.Identity()
        if hasattr(detector, "false_alarm_rate"):
            (known,) = detector.calibration_scores_
            self.register_buffer("calibration_scores", constant(known))
            self.outputs.append("p_value")
        if isinstance(inner, AutoDetector):
            self.calibrated = Calibrated(inner.calibration_scores_[0])
            inner = _only_one_of(inner)
        first, *others = [step for _, step in _steps(inner)]
        _refuse_rows(first, self.owner)
        fitted = fitted_on_cpu(getattr(first, "extractor_", first), self.owner)
        self.preprocessing, self.backbone = fitted.preprocessing, type(fitted.network).__name__
        self.pixels = Pixels(fitted.preprocessing)
        self.maps = self.scorers = None
        self.image_score = "features"
        if hasattr(inner, "gallery_"):
            self.fitted, self.network, self.layers = fitted, fitted.network, inner.layers_
            self.maps = maps_graph(inner, fitted, self.owner)
            self.image_score = inner._fitted.image_score
            self.top_share = getattr(inner._fitted, "top_share", None)  # unknown to earlier skads
            if isinstance(detector, ConformalMapDetector):
                self.image_score = "map"
            self.outputs.append("map")
        else:
            self.features = features_graph(first, self.owner)
        if self.image_score == "features":
            self.scorers = nn.ModuleList(scorer_graph(one, self.owner) for one in others)

    def forward(self, pixels):
        """Score images of one size.

        Parameters
        ----------
        pixels : tensor of uint8, shape (n, height, width, channels)

        Returns
        -------
        outputs : tuple of tensors
            By the names in `outputs`: `score` (float64, below 0 for anomalies) and `anomaly`
            (bool), of shape (n,); `p_value` (float64); `map` (float32, (n, height, width)).
        """
        images, maps = self.pixels(pixels), None
        if self.maps is None:
            rows = self.features(images)
        else:
            rows, found = self.fitted.outputs_and_maps(images, self.layers)
            maps = self.maps(found, pixels.shape[1:3])
        if self.image_score == "map":
            scores = maps.flatten(1).amin(1).double()
        elif self.image_score == "top":
            scores = mean_of_lowest(maps.flatten(1), self.top_share)
        elif self.image_score == "peak":
            scores = -self.maps.peaks(found).double()
        else:
            for scorer in self.scorers:
                rows = scorer(rows)
            scores = rows
        scores = self.calibrated(scores)
        outputs = [scores - self.offset, scores < self.offset]
        if "p_value" in self.outputs:
            known = self.calibration_scores
            count = (known <= scores[:, None]).sum(1)
            outputs.append((1 + count).double() / (1 + len(known)))
        return tuple(outputs) if maps is None else (*outputs, maps)


def inner_detector(detector):
    """The one detector that gives the scores."""
    found = detectors_within(detector)
    if len(found) > 1:
        raise ExportError(
            f'ConformalDetector: method="cross" holds {len(found)} detectors, and so as many '
            'networks. Use method="split".'
        )
    return found[0]


def _only_one_of(auto):
    """The detector that an AutoDetector took."""
    if len(auto.detectors_) > 1:
        raise ExportError(
            f"AutoDetector: combines {len(auto.detectors_)} detectors, and so as many networks. "
            "Fit it with n_best=1, or export one of detectors_."
        )
    return auto.detectors_[0]


def _steps(detector):
    pipeline = getattr(detector, "pipeline_", detector)
    if not isinstance(pipeline, Pipeline):
        raise ExportError(
            f"{type(detector).__name__}: takes no images; a detector of images can be exported, or "
            "a Pipeline of an extractor and a scorer."
        )
    steps = []
    for name, step in pipeline.steps:
        while isinstance(step, FrozenEstimator):
            step = step.estimator
        steps.append((name, step))
    return steps


def _refuse_rows(first, owner):
    """Flat rows, and images of other values, are no bytes of pixels."""
    rows, given = getattr(first, "pixel_range_", None), first._reading.value_range
    if rows is not None or given not in (None, (0.0, 255.0)):
        what = f"flat rows of values {rows}" if rows is not None else f"value_range={given}"
        raise ExportError(
            f"{owner}: was fitted to {what}, and a graph takes pixels as bytes, 0 to 255. Fit to "
            "images of uint8."
        )
