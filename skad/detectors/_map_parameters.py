"""Parameters of map detectors: what becomes of distances of pixels."""

from numbers import Real

from .._compat import Interval, StrOptions
from .._parameters import (
    NOT_NEGATIVE,
    POSITIVE,
    RandomStateParameters,
    changed,
    parameter,
)
from ..networks._parameters import LayerParameters
from ..scorers._parameters import ContaminationParameters


class MapParameters(ContaminationParameters, RandomStateParameters, LayerParameters):
    """What becomes of distances of pixels.

    Attributes
    ----------
    adapter_ : adapter
        The fitted adapter, if there is one.
    gallery_ : gallery
        Filled with the maps of the training images.
    layers_ : list of str
        Layers whose maps are compared.
    pixel_offset_ : float
        Threshold on `score_maps` below which a pixel is a defect.
    """

    layers: list | None = changed(
        default=None,
        note="Here their maps are compared instead. By default these are the last layers of the "
        "three resolutions before the last (paper: 56, 28 and 14 pixels a side). For a "
        "network with maps of one resolution, such as a vision transformer, they are the "
        'three stages before the last; for "tiny-dense", the two layers that it was trained '
        "for.",
    )
    image_score: str = parameter(
        default="features",
        limits=[StrOptions({"features", "map", "peak", "top"})],
        text='What scores an image as a whole. "features": the distance of its pooled feature '
        '(paper). "map": the lowest value of its score map, far slower where galleries keep '
        'all pixels. "peak": the distance of the farthest pixel before blurring, weighted by '
        "how far apart the coreset around its nearest pixel is (PatchCore); for coresets "
        'only. "top": the mean of the lowest values of its score map, a share `top_share` of '
        "all, so that no single pixel decides (AnomalyDINO). (On magnetic tiles maps reach "
        "90.0 AUROC. Features reach 71.9 with the paper's 50 images, and 92.2 with "
        '``n_neighbors=2, metric="cosine"``.)',
    )
    top_share: float = parameter(
        default=0.01,
        limits=[Interval(Real, 0, 1, closed="right")],
        text='Share of the pixels whose mean is the score with ``image_score="top"`` (AnomalyDINO: '
        "0.01).",
    )
    smoothing: float = parameter(
        default=4.0,
        limits=[NOT_NEGATIVE],
        text="Standard deviation of the Gaussian that blurs maps, in pixels of a picture 224 wide "
        "(paper's code). It scales with `image_size`; 0 turns blurring off.",
    )
    contamination: str | float = changed(
        default="auto",
        note='With ``image_score`` "map", "peak" or "top" it is the share of the '
        "`n_threshold_images`.",
    )
    pixel_contamination: float = parameter(
        default=0.01,
        limits=[Interval(Real, 0, 0.5, closed="right")],
        text="Share of the pixels of normal images that fall beyond the threshold of "
        "`predict_masks`. Every image has the same weight, large or small.",
    )
    mask_false_alarm_rate: float | None = parameter(
        default=None,
        limits=[Interval(Real, 0, 1, closed="neither"), None],
        text="Largest share of normal images whose mask may mark anything; replaces "
        "`pixel_contamination`. At least 1 / rate images are drawn for it, if there are as "
        "many (100 for a rate of 0.01). With n images, no rate below about 1 / n can be kept "
        "on new images. :class:`~skad.ConformalMapDetector` guarantees a rate.",
    )
    n_threshold_images: int = parameter(
        default=20,
        limits=[POSITIVE],
        text="Number of training images, drawn at random, whose maps set the threshold of "
        "`predict_masks`. Each is compared with the other training images only; centroids, "
        "however, are computed with it.",
    )
