"""Rotation prediction (multi-head RotNet), a baseline trained from scratch."""

import os
from collections.abc import Callable

from .._parameters import changed
from ..adapters import RotationAdapter
from ..adapters._rotation import RotationParameters
from ..backbones import wide_resnet
from ..features import FeatureExtractor
from ..networks._parameters import LayerParameters, NetworkParameters, RandomParameters
from ..scorers import LogitScorer
from ..scorers._parameters import ContaminationParameters
from ._base import BaseImageDetector


class RotationPrediction(
    RandomParameters,
    ContaminationParameters,
    RotationParameters,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    """MHRot: score by how surely a network tells how an image was turned and shifted.

    From random weights, the network learns to tell 36 ways of turning and shifting normal images,
    see :class:`~skad.RotationAdapter`. On anomalies it is less confident. One prediction takes 36
    forward passes.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.RotationAdapter` ("adapter") and :class:`~skad.LogitScorer`
        ("scorer").
    collapsed_at_ : None
        Collapse is not looked for.

    See Also
    --------
    skad.NSA : Features from scratch that need no such task.

    References
    ----------
    Hendrycks, Mazeika, Kadavath, Song, "Using Self-Supervised Learning Can Improve Model Robustness
    and Uncertainty", NeurIPS 2019.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import RotationPrediction
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = RotationPrediction(partial(small_cnn, width=8, image_size=8), n_steps=40)
    >>> detector.fit(digits[labels == 4][:100]).predict(digits[[4, 1]])  # a four and a one
    array([ 1, -1])
    """

    backbone: str | Callable = changed(
        default=wide_resnet,
        note="(A WRN-16-4: code.)",
    )
    weights: str | os.PathLike | None = changed(default=None, note="(Paper: random weights.)")

    def _make_steps(self):
        adapter = self._make(RotationAdapter, extractor=self._make(FeatureExtractor))
        return [("adapter", adapter), ("scorer", self._make(LogitScorer))]
