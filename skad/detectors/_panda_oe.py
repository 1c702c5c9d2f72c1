"""PANDA-OE: normal images against outliers of any kind."""

from typing import Self

from .._compat import fit_context
from .._types import Images, Labels
from ..adapters import OutlierExposureAdapter
from ..adapters._outlier_exposure import OutlierExposureParameters
from ..features import FeatureExtractor
from ..networks._parameters import (
    LayerParameters,
    MemoryParameters,
    NetworkParameters,
    RandomParameters,
)
from ..scorers import LogitScorer
from ..scorers._parameters import ContaminationParameters
from ._base import BaseImageDetector


class PANDAOE(
    RandomParameters,
    MemoryParameters,
    ContaminationParameters,
    OutlierExposureParameters,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""PANDA-OE: fine-tune a pretrained network to tell normal images from outliers of any kind.

    The score is minus the logit of being an outlier,

    .. math:: s(x) = -l(x), \qquad l(x) = w^\top \psi(x) + b,

    where w and b are trained along with the network's last stages, see
    :class:`~skad.OutlierExposureAdapter`. Give the outliers to `fit` as ``X_outliers``; in a
    search, request them: ``set_fit_request(X_outliers=True)``. If they do not resemble the
    anomalies to come, :class:`~skad.PANDA` is better (paper: Fashion-MNIST, cats and dogs).

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.OutlierExposureAdapter` ("adapter") and
        :class:`~skad.LogitScorer` ("scorer").

    See Also
    --------
    skad.OutlierExposureAdapter : The adaptation alone.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier
    Exposure", ICLR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import PANDAOE
    >>> digits, labels = load_digits(return_X_y=True)
    >>> zeros, others = digits[labels == 0][:50], digits[labels > 1][:50]
    >>> detector = PANDAOE(image_size=32, n_steps=20).fit(zeros, X_outliers=others)
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: Labels = None, X_outliers: Images = None) -> Self:
        """Learn to tell normal images from outliers.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out; they do not serve as outliers.
        X_outliers : images
            Images that are not normal, at least two, none of them in `X`. If there are as many as
            in `X`, a search splits them as it does `X`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if outliers are training images; if a
            parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._fit(X, y, X_outliers=X_outliers)

    def _make_steps(self):
        extractor = self._make(FeatureExtractor)
        return [
            ("adapter", self._make(OutlierExposureAdapter, extractor=extractor)),
            ("scorer", self._make(LogitScorer)),
        ]
