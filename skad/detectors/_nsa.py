"""NSA: self-supervised features from scratch, and cosine distances after whitening."""

import os
from collections.abc import Callable

from .._compat import StrOptions
from .._parameters import changed, parameter
from ..adapters import SelfSupervisedAdapter
from ..adapters._self_supervised import AgreementParameters
from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..networks._parameters import NetworkParameters, RandomParameters
from ..scorers import CentroidScorer, EnsembleScorer, GaussianScorer, KNNScorer
from ..scorers._parameters import ContaminationParameters
from ._base import BaseImageDetector, ScorerParameters

# The paper's names of its scores of one feature map.
SCORERS = {
    "k_cos": lambda: KNNScorer(1, metric="angle", aggregation="mean"),
    "k_cos_mah": lambda: KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean"),
    "c_cos": lambda: CentroidScorer("cosine"),
    "c_cos_mah": lambda: CentroidScorer("mahalanobis_cosine"),
    "gde": lambda: GaussianScorer(normalize=True, log_likelihood=True),
}


class NSA(
    RandomParameters,
    ContaminationParameters,
    AgreementParameters,
    ScorerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""No Shifted Augmentations: train a network on normal images alone, score by angles.

    From random weights, the network learns to give two views of an image the same features; these
    are scaled to unit length, see :class:`~skad.SelfSupervisedAdapter`. An image is scored by the
    angle to the nearest training image after whitening,

    .. math:: s(x) = -\min_m \arccos \cos(u(x), u(x_m)), \qquad
        u = \Sigma^{-1/2} y / \lVert \Sigma^{-1/2} y \rVert

    with the features y and their covariance :math:`\Sigma` over the training images. It is for
    images unlike those that pretrained networks know, and tolerates some anomalies among the
    training images. Training is long: 4000 epochs by default.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.SelfSupervisedAdapter` ("adapter") and scorer ("scorer").

    See Also
    --------
    skad.SelfSupervisedAdapter : The features alone.
    skad.MSC : For images that a pretrained network knows how to see.

    References
    ----------
    Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA)".

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import NSA
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = NSA(partial(small_cnn, width=8, image_size=8), n_steps=20, batch_size=64)
    >>> detector.fit(digits[labels == 0]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    backbone: str | Callable = changed(
        default=cifar_resnet18,
        note="(Paper: ResNet-18 with a stem for small images.)",
    )
    weights: str | os.PathLike | None = changed(default=None, note="(Paper: random weights.)")

    scorer: str = changed(
        default="k_cos_mah",
        limits=[StrOptions({*SCORERS, "ensemble", "sum"})],
        note='"k_cos": angle to the nearest training image. "k_cos_mah": the same after whitening; '
        'the paper\'s main result, which it calls k-Cos. "c_cos" and "c_cos_mah": angle to the '
        'mean, without and with whitening. "gde": negative log-likelihood of one Gaussian on '
        'features of unit length. "ensemble": the paper\'s Ens. of layers, see '
        ":class:`~skad.EnsembleScorer`; each stage but the first is also taken position by "
        'position (57 344 values an image for ResNet-18 at 32 pixels). "sum": k-Cos + '
        "k-Cos(Mah) over all stages, position by position as well.",
    )
    scaling: str = parameter(
        default="auto",
        limits=EnsembleScorer._parameter_constraints["scaling"],
        text='How the terms of "ensemble" and "sum" are scaled; "quantile" where training images '
        "may include anomalies. See :class:`~skad.EnsembleScorer`.",
    )

    def _make_steps(self):
        layers = {"ensemble": "ensemble", "sum": "stages"}.get(self.scorer)
        extractor = self._make(FeatureExtractor)
        adapter = self._make(SelfSupervisedAdapter, extractor=extractor, layers=layers)
        if layers is None:
            scorer = SCORERS[self.scorer]()
        else:
            preset = "ens" if self.scorer == "ensemble" else "sum"
            scorer = EnsembleScorer(preset, scaling=self.scaling)
        scorer.set_params(contamination=self.contamination)
        return [("adapter", adapter), ("scorer", scorer)]
