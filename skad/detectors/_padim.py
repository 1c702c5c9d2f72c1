"""PaDiM: what was seen at each place of aligned normal images, as a Gaussian."""

from .._compat import StrOptions
from .._parameters import changed
from ..features import FeatureExtractor
from ..maps import GaussianPixels
from ..maps._parameters import FusionParameters, GaussianParameters
from ..networks._parameters import (
    ImagesTogether,
    NetworkParameters,
    RandomParameters,
    ViewParameters,
)
from ..scorers import KNNScorer
from ..training._parameters import AdapterParameters
from ._base import composed
from ._map import BaseMapDetector


class PaDiM(
    RandomParameters,
    GaussianParameters,
    FusionParameters,
    AdapterParameters,
    ImagesTogether,
    ViewParameters,
    NetworkParameters,
    BaseMapDetector,
):
    r"""Images and pixels, scored by the Mahalanobis distance to the Gaussian of each place.

    For images that are aligned: parts in a holder, cells in a grid. The maps of three layers are
    joined, the coarser ones interpolated, and some of their channels are drawn at random. These
    have a mean and a covariance over the training images at each place p. A pixel is scored by

    .. math:: d(x, p) = \sqrt{(F(x, p) - \mu_p)^T \Sigma_p^{-1} (F(x, p) - \mu_p)},

    blurred by a Gaussian, and an image by its worst pixel. Nothing is trained, unless an `adapter`
    is given.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.FeatureExtractor` ("extractor") and a scorer of pooled features
        ("scorer"), for ``image_score="features"``.

    See Also
    --------
    skad.PatchCore : For images that are not aligned.
    skad.maps.GaussianPixels : The Gaussians.

    Notes
    -----
    A training image is compared with the Gaussians of the other training images. Its map, and
    the thresholds that come from such maps, are therefore leave-one-out; see
    :class:`skad.maps.GaussianPixels`.

    Images that are not aligned have nothing to compare with at a place: on circuit boards of many
    layouts the detector was no better than chance.

    Memory and time grow with the number of places times the square of `n_dimensions`, not with the
    number of training images. The paper resizes to 256 pixels and cuts out 224, enlarges the
    coarser layers by repetition, and adds 0.01 to all variances.

    References
    ----------
    Defard, Setkov, Loesch, Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
    Detection and Localization", ICPR 2020. Ledoit, Wolf, "A Well-Conditioned Estimator for
    Large-Dimensional Covariance Matrices", Journal of Multivariate Analysis, 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import PaDiM
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = PaDiM(n_dimensions=20).fit(tiles[:30])
    >>> detector.score_maps(tiles[30:]).shape
    (10, 80, 80)
    """

    resize: str = changed(
        default="whole",
        limits=[StrOptions({"crop", "whole"})],
        note='Here "whole", so that every pixel is looked at.',
    )
    image_score: str = changed(default="map", note="(Paper.)")
    adapter: object = changed(default=None, kw_only=True)

    def _make_steps(self):
        extractor = self._make(FeatureExtractor, layers=None)
        return composed("PaDiM", extractor, self.adapter, self._make(KNNScorer))

    def _make_gallery(self):
        return self._make(GaussianPixels)
