"""PatchCore: the nearest of a few patches that stand for all of the normal ones."""

from functools import partial

import numpy as np
from sklearn.utils import check_random_state

from .._compat import StrOptions
from .._parameters import POSITIVE, ParameterGroup, changed, parameter
from ..features import FeatureExtractor
from ..maps import CoresetPixels
from ..maps._parameters import CoresetParameters, GalleryParameters, TokenParameters
from ..networks._parameters import (
    ImagesTogether,
    NetworkParameters,
    RandomParameters,
    ViewParameters,
)
from ..scorers import KNNScorer
from ..training._parameters import AdapterParameters
from ._base import composed
from ._looking import turned
from ._map import BaseMapDetector


class FewShotParameters(ParameterGroup):
    """What is made of few pictures."""

    n_shots: int | None = parameter(
        default=None,
        limits=[POSITIVE, None],
        text="Number of training pictures, drawn at random, whose patches are kept; all by "
        "default. The other pictures still set the thresholds.",
    )
    n_rotations: int = parameter(
        default=1,
        limits=[POSITIVE],
        text="Number of equal turns, over a full circle, at which each of these pictures is looked "
        "at. For objects that lie in any direction (AnomalyDINO: 8, with few pictures).",
    )


class PatchCore(
    RandomParameters,
    FewShotParameters,
    TokenParameters,
    CoresetParameters,
    GalleryParameters,
    AdapterParameters,
    ImagesTogether,
    ViewParameters,
    NetworkParameters,
    BaseMapDetector,
):
    r"""Images and pixels, scored by the distance to the nearest of a coreset of normal patches.

    The maps of two layers are averaged over patches of 3 x 3 pixels and joined. A share of the
    patches of all training images is kept, the coreset M, by greedy k-centres: each patch is the
    farthest from those kept before it. A pixel p is scored by the distance to the nearest patch of
    the coreset, blurred by a Gaussian,

    .. math:: d(x, p) = \min_{m \in M} \lVert F(x, p) - m \rVert_2,

    and an image by the distance of its farthest pixel, weighted by how far apart the coreset
    around its nearest patch is: see :meth:`skad.maps.CoresetPixels.peaks`. Nothing is trained,
    unless an `adapter` is given.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.FeatureExtractor` ("extractor") and a scorer of pooled features
        ("scorer"), for ``image_score="features"``.

    See Also
    --------
    skad.SPADE : All patches of similar images.
    skad.ConformalDetector : A threshold that holds. The coreset contains patches of the training
        images, so `offset_` is too tight for new images.
    skad.ConformalMapDetector : The same for pixels and regions.

    Notes
    -----
    The paper resizes to 256 pixels and cuts out 224; here the whole image is looked at. Pixels at
    an edge use the nearest patch that lies inside the map, so no zeros from outside enter. The
    coarser layer is interpolated bilinearly, as in the published code. Channels are not pooled to
    1 024.

    References
    ----------
    Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler, "Towards Total Recall in Industrial Anomaly
    Detection", CVPR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import PatchCore
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = PatchCore().fit(tiles[:30])
    >>> detector.score_maps(tiles[30:]).shape
    (10, 80, 80)
    """

    resize: str = changed(
        default="whole",
        limits=[StrOptions({"crop", "whole"})],
        note='Here "whole", so that every pixel is looked at.',
    )
    layers: list | None = changed(
        default=None,
        note="Here their maps are compared instead, by default those of the last layers of the two "
        "resolutions before the last (paper: layers 2 and 3 of a ResNet).",
    )
    image_score: str = changed(default="peak", note="(Paper.)")
    adapter: object = changed(default=None, kw_only=True)

    _n_layers = 2

    def _make_steps(self):
        extractor = self._make(FeatureExtractor, layers=None)
        return composed("PatchCore", extractor, self.adapter, self._make(KNNScorer))

    def _make_gallery(self):
        return self._make(CoresetPixels)

    def _kept(self, source):
        if self.n_shots is None or self.n_shots >= len(source):
            return source
        drawn = check_random_state(self.random_state).permutation(len(source))
        return source.take(np.sort(drawn[: self.n_shots]))

    @property
    def _n_looks(self):
        return self.n_rotations

    def _looks(self):
        return partial(turned, self.n_rotations)
