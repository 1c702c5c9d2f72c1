"""PANDA: compactness, then nearest neighbours."""

from typing import Self

from .._compat import StrOptions, fit_context
from .._parameters import changed, parameter
from .._types import Images, Labels
from ..adapters import CompactnessAdapter
from ..adapters._compactness import CompactnessParameters
from ..features import FeatureExtractor
from ..networks._parameters import (
    LayerParameters,
    MemoryParameters,
    NetworkParameters,
    RandomParameters,
)
from ..scorers import KNNScorer, SampleWiseScorer
from ..scorers._parameters import MetricParameters, NeighborParameters
from ._base import BaseImageDetector


class PANDA(
    RandomParameters,
    MemoryParameters,
    NeighborParameters,
    CompactnessParameters,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""PANDA: draw the features of normal images together, then score by nearest neighbours.

    The network is trained by the compactness loss, see :class:`~skad.CompactnessAdapter`. An image
    is then scored by the distance to its nearest training images, as in :class:`~skad.DN2`.
    ``stopping="sample_wise"`` scores by :class:`~skad.SampleWiseScorer` instead.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.CompactnessAdapter` ("adapter") and
        :class:`~skad.KNNScorer` ("scorer").

    See Also
    --------
    skad.CompactnessAdapter : The adaptation alone.
    skad.MSC : Contrastive adaptation, which collapses more slowly.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import PANDA
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = PANDA(image_size=32, n_steps=5).fit(digits[labels == 0][:100])
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    metric: str | None = changed(
        default=None,
        limits=[*MetricParameters._parameter_constraints["metric"], None],
        note='By default "euclidean" for the squared loss (paper) and "cosine" for the angular.',
    )
    distance: str = parameter(
        default="center",
        limits=[StrOptions({"center", "knn"})],
        text='Distance that "sample_wise" measures: "center", to the centre (paper, by its '
        'equation), or "knn", to the nearest training images. Of the parameters of nearest '
        "neighbours only `n_neighbors` applies.",
    )

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Images,
        y: Labels = None,
        X_source: Images = None,
        y_source: Labels = None,
    ) -> Self:
        """Learn what normal images look like.

        Parameters
        ----------
        X : images
            Normal images, more than `n_neighbors`, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source, y_source : images and array-like, optional
            For ``stopping="elastic"``; see :meth:`skad.CompactnessAdapter.fit`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._fit(X, y, X_source=X_source, y_source=y_source)

    def _make_steps(self):
        adapter = self._make(CompactnessAdapter, extractor=self._make(FeatureExtractor))
        if self.stopping == "sample_wise":
            scorer = self._make(SampleWiseScorer)
        else:
            default = "euclidean" if self.loss == "squared" else "cosine"
            scorer = self._make(KNNScorer, metric=self.metric or default)
        return [("adapter", adapter), ("scorer", scorer)]
