"""SPADE: where an image is abnormal, by the nearest pixels of similar normal images."""

from numbers import Real

from .._compat import Interval, StrOptions
from .._parameters import changed, parameter
from ..features import FeatureExtractor
from ..maps import CentroidPixels, RetrievedCentroids, RetrievedCoreset, RetrievedPixels
from ..maps._parameters import (
    CoresetShareParameters,
    GalleryParameters,
    PixelCentroidParameters,
    StoreParameters,
)
from ..networks._parameters import (
    ImagesTogether,
    NetworkParameters,
    RandomParameters,
    ViewParameters,
)
from ..scorers import KNNScorer
from ..scorers._parameters import MetricParameters
from ..training._parameters import AdapterParameters
from ._base import composed
from ._map import BaseMapDetector


class SPADE(
    RandomParameters,
    StoreParameters,
    PixelCentroidParameters,
    CoresetShareParameters,
    GalleryParameters,
    MetricParameters,
    AdapterParameters,
    ImagesTogether,
    ViewParameters,
    NetworkParameters,
    BaseMapDetector,
):
    r"""Images and pixels, scored by the distance to their nearest normal counterparts.

    An image is scored as a whole by the mean distance of its pooled feature :math:`\psi` to those
    of the K nearest training images. A pixel p is scored by the distance of its features
    :math:`F(x, p)`, of several layers, to the :math:`\kappa` nearest pixels of those K images,

    .. math:: d(x, p) = \frac1\kappa \sum_{f \in N_\kappa(F(x, p))} \lVert F(x, p) - f \rVert_2,

    blurred by a Gaussian. Nothing is trained, unless an `adapter` is given.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.FeatureExtractor` ("extractor"), with a trained network if there
        is an adapter, and :class:`~skad.KNNScorer` ("scorer").
    See Also
    --------
    skad.DN2 : The score of images alone.
    skad.metrics.pro_score : How well maps find regions.
    skad.displays.AnomalyMapDisplay : Pictures of maps.

    Notes
    -----
    A training image is not compared with itself, so its map is leave-one-out.

    A pickle, a copy, and a detector sent to another process contain the maps of all training
    images, also those in the temporary file. Making one takes as much memory.

    References
    ----------
    Cohen, Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020. Reiss,
    Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 5.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import SPADE
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = SPADE(n_neighbors=5).fit(tiles[:30])
    >>> detector.score_maps(tiles[30:]).shape
    (10, 80, 80)
    >>> detector.predict_masks(tiles[30:]).dtype
    dtype('bool')
    """

    resize: str = changed(
        default="whole",
        limits=[StrOptions({"crop", "whole"})],
        note='Here "whole", so that every pixel is looked at; with a crop (paper) the values at '
        "the edge of a map are repeated outside it. Small defects need a large `image_size`.",
    )
    n_neighbors: int = changed(
        default=50,
        note="The K of the paper; all images where there are fewer. Time grows with it: on "
        "magnetic tiles 5 lost 0.7 points of pixel AUROC, in an eleventh of the time.",
    )
    metric: str = changed(default="euclidean", note="Here between pooled features (paper).")
    adapter: object = changed(
        default=None,
        kw_only=True,
        note="(The authors of PANDA left open whether that helps.)",
    )
    centroids_of: str = parameter(
        default="all",
        limits=[StrOptions({"all", "each"})],
        text='With `n_centroids`: "all" takes centroids of the pixels of all training images, the '
        'same for every image. "each" takes centroids of each training image and compares '
        "with those of the K images that are retrieved: slower, and better where normal "
        "images differ much. k-means over all takes about 5 kB of memory for each centroid "
        "and channel.",
    )

    coreset_share: float | None = changed(
        default=None,
        limits=[Interval(Real, 0, 1, closed="right"), None],
        note="Here of the pixels of each training image; the K retrieved images are compared by "
        "them. None keeps all pixels. An alternative to `n_centroids` that is faster to fit. "
        "(On magnetic tiles 0.25 lost 1.2 points of pixel AUROC.)",
    )

    def _validate_params(self):
        super()._validate_params()
        if None not in (self.coreset_share, self.n_centroids):
            raise ValueError(
                "SPADE: pixels are compared with centroids or with a coreset, not with both; got "
                f"n_centroids={self.n_centroids} and coreset_share={self.coreset_share}. Leave one "
                "of them None."
            )

    def _make_steps(self):
        extractor = self._make(FeatureExtractor, layers=None)
        scorer = self._make(KNNScorer, aggregation="mean", n_centroids=None)
        return composed("SPADE", extractor, self.adapter, scorer)

    def _make_gallery(self):
        if self.coreset_share is not None:
            return self._make(RetrievedCoreset)
        if self.n_centroids is None:
            return self._make(RetrievedPixels)
        return self._make(CentroidPixels if self.centroids_of == "all" else RetrievedCentroids)
