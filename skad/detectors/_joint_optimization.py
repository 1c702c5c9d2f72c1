"""Joint optimisation: compactness beside the network's own task, then nearest neighbours."""

from typing import Self

from .._compat import fit_context
from .._parameters import changed
from .._types import Images, Labels
from ..adapters import JointOptimizationAdapter
from ..adapters._joint import JointParameters
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


class JointOptimization(
    RandomParameters,
    MemoryParameters,
    NeighborParameters,
    JointParameters,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""JO: draw normal images together while the network keeps classifying other images.

    The network is trained for both, see :class:`~skad.JointOptimizationAdapter`. An image is then
    scored by the distance to its nearest training images, as in :class:`~skad.DN2`.

    Give the labelled source images to `fit` as ``X_source`` and ``y_source``. In a search, request
    them: ``set_fit_request(X_source=True, y_source=True)``.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.JointOptimizationAdapter` ("adapter") and
        :class:`~skad.KNNScorer` ("scorer").

    See Also
    --------
    skad.JointOptimizationAdapter : The adaptation alone.
    skad.PANDA : Compactness without other images.

    References
    ----------
    Perera, Patel, "Learning Deep Features for One-Class Classification", IEEE Transactions on Image
    Processing 2019; as PANDA's paper (CVPR 2021) compares with it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import JointOptimization
    >>> digits, labels = load_digits(return_X_y=True)
    >>> source = digits[labels > 4][:100], labels[labels > 4][:100]
    >>> detector = JointOptimization(image_size=32, n_steps=3)
    >>> detector.fit(digits[labels == 0][:50], X_source=source[0], y_source=source[1]).stopped_at_
    3
    """

    metric: str = changed(default="euclidean", note="(Paper.)")

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Images,
        y: Labels = None,
        X_source: Images = None,
        y_source: Labels = None,
    ) -> Self:
        """Learn what normal images look like, while still telling source images apart.

        Parameters
        ----------
        X : images
            Normal images, more than `n_neighbors`, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source : images
            Images of the task that the network was trained for, or of a similar one.
        y_source : array-like of shape (n_source_images,)
            Classes of the source images.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images or labels are missing, broken, or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._fit(X, y, X_source=X_source, y_source=y_source)

    def _make_steps(self):
        extractor = self._make(FeatureExtractor)
        return [
            ("adapter", self._make(JointOptimizationAdapter, extractor=extractor)),
            ("scorer", self._make(KNNScorer)),
        ]
