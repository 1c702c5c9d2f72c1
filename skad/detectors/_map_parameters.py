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
        Fitted; only with `adapter`.
    gallery_ : gallery
        Filled with the maps of the training images.
    layers_ : list of str
        Layers whose maps are compared.
    pixel_offset_ : float
        Threshold on `score_maps` below which a pixel is a defect.
    """

    layers: list | None = changed(
        default=None,
        note="Here maps are compared: by default the ends of the three resolutions before the "
        "last (paper: 56, 28 and 14 pixels a side); of a network with maps of one "
        'resolution, as vision transformers, the three stages before the last. Of "tiny-dense" '
        "the two that it was trained for.",
    )
    image_score: str = parameter(
        default="features",
        limits=[StrOptions({"features", "map", "peak", "top"})],
        text='What scores an image as a whole: "features", the distance of its pooled feature '
        '(paper), or "map", the lowest value of its score map, slower by far where galleries '
        "are whole. On magnetic tiles 90.0 AUROC by maps, and 71.9 by features with the "
        'paper\'s 50 images, but 92.2 with ``n_neighbors=2, metric="cosine"``. "peak": of a '
        "coreset, the distance of the farthest pixel, before maps are blurred, weighted by how far "
        'apart those around its nearest are (PatchCore). "top": the mean of the lowest values of '
        "its score map, `top_share` of all (AnomalyDINO), which one pixel does not decide.",
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
        text="Standard deviation of the Gaussian, in pixels of a picture 224 wide (paper's code); "
        "it grows and shrinks with `image_size`. 0 for none.",
    )
    contamination: str | float = changed(
        default="auto",
        note='With ``image_score="map"``, "peak" or "top" the share of `n_threshold_images`.',
    )
    pixel_contamination: float = parameter(
        default=0.01,
        limits=[Interval(Real, 0, 0.5, closed="right")],
        text="Share of the pixels of normal images beyond the threshold of `predict_masks`; each "
        "image counts alike, large or small.",
    )
    mask_false_alarm_rate: float | None = parameter(
        default=None,
        limits=[Interval(Real, 0, 1, closed="neither"), None],
        text="In the place of `pixel_contamination`: largest share of normal images in whose "
        "masks there is anything. At least one image in the rate is drawn for it (100 for "
        "0.01), if there are as many; with fewer, n, no smaller rate than about 1 in n can "
        "be kept on new images. :class:`~skad.ConformalMapDetector` promises a rate.",
    )
    n_threshold_images: int = parameter(
        default=20,
        limits=[POSITIVE],
        text="Training images, drawn at random, whose maps the threshold of `predict_masks` is "
        "taken from. Each is left out of those that it is compared with; centroids of all "
        "hold it.",
    )
