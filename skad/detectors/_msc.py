"""MSC: mean-shifted contrastive training, then nearest neighbours."""

from ..adapters import MeanShiftedContrastive
from ..adapters._mean_shifted import MeanShiftParameters
from ..features import FeatureExtractor
from ..networks._parameters import (
    LayerParameters,
    MemoryParameters,
    NetworkParameters,
    RandomParameters,
)
from ..scorers import KNNScorer
from ..scorers._parameters import NeighborParameters
from ._base import BaseImageDetector


class MSC(
    RandomParameters,
    MemoryParameters,
    NeighborParameters,
    MeanShiftParameters,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""MSC: train by contrast around the mean of normal images, score by nearest neighbours.

    The network is trained by the mean-shifted contrastive loss, see
    :class:`~skad.MeanShiftedContrastive`. The score of an image x is

    .. math:: s(x) = -\sum_{j=1}^{k} \lVert z(x) - z(x_{(j)}) \rVert_2^2
        = -2 \sum_{j=1}^{k} \bigl( 1 - \cos(z(x), z(x_{(j)})) \bigr)

    over its k nearest training images, with features z of unit length.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.MeanShiftedContrastive` ("adapter") and
        :class:`~skad.KNNScorer` ("scorer").

    See Also
    --------
    skad.MeanShiftedContrastive : The adaptation alone.
    skad.PANDA : Adaptation by compactness.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import MSC
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = MSC(image_size=32, n_steps=2).fit(digits[labels == 0][:100])
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    def _make_steps(self):
        extractor = self._make(FeatureExtractor)
        return [
            ("adapter", self._make(MeanShiftedContrastive, extractor=extractor)),
            ("scorer", self._make(KNNScorer)),
        ]
