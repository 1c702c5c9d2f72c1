"""Parameters of galleries."""

from numbers import Real

from .._compat import Interval, StrOptions
from .._parameters import (
    ABOVE_ZERO,
    POSITIVE,
    ParameterGroup,
    RandomStateParameters,
    changed,
    parameter,
)
from ..scorers._parameters import CentroidCountParameters
from ..training._parameters import MemoryLimitParameters


class FusionParameters(ParameterGroup):
    """What a pixel is."""

    fusion: str = parameter(
        default="joined",
        limits=[StrOptions({"joined", "per_layer"})],
        text='"joined": the layers of a pixel form one row of features; coarser layers are '
        'interpolated (paper). "per_layer": each layer has its own distances, and their maps '
        "are averaged (as a widely used port does).",
    )


class GalleryParameters(FusionParameters):
    """How pixels are compared."""

    n_neighbor_pixels: int = parameter(
        default=1,
        limits=[POSITIVE],
        text="Number of nearest pixels whose distances are averaged, the kappa of the paper.",
    )


class PixelCentroidParameters(CentroidCountParameters):
    """Fewer pixels to search."""

    n_centroids: int | None = changed(
        default=None,
        note="Here the samples are pixels. (PANDA: 50 centroids are 15 times as fast and lose half "
        "a point. On magnetic tiles, which are lit in many ways, 50 centroids of all images "
        "lost 12 points, and 200 of each image 1.1.)",
    )


class CoresetShareParameters(ParameterGroup):
    """How many pixels are kept."""

    coreset_share: float = parameter(
        default=0.25,
        limits=[Interval(Real, 0, 1, closed="right")],
        text="Share of the pixels that are kept. Each is the farthest from those kept before it.",
    )


class CoresetParameters(CoresetShareParameters, MemoryLimitParameters, RandomStateParameters):
    """Which pixels are kept."""

    coreset_share: float = changed(
        default=0.01,
        note="Here of the pixels of all training images. (PatchCore: 0.01, 0.1 and 0.25; 0.01 "
        "loses 0.1 points.)",
    )
    patch_size: int = parameter(
        default=3,
        limits=[POSITIVE],
        text="Side of the patch of map pixels that is averaged around each pixel (paper: 3); an "
        "odd number. Pixels at an edge use the nearest patch that lies inside the map.",
    )
    n_projected: int | None = parameter(
        default=128,
        limits=[POSITIVE, None],
        text="Number of random directions onto which pixels are projected while the coreset is "
        "chosen (published code: 128); None for no projection.",
    )
    memory_limit: float = changed(
        default=2048,
        limits=[Interval(Real, 0, None, closed="both")],
        note="Here it limits the pixels from which the coreset is chosen, four bytes a value. If "
        "there are more, a coreset of each part is chosen first, then one of these.",
    )


class TokenParameters(ParameterGroup):
    """What is made of pixels that are tokens of a vision transformer."""

    pixel_metric: str = parameter(
        default="euclidean",
        limits=[StrOptions({"cosine", "euclidean"})],
        text='Distance between pixels. "cosine" scales them to unit length first; the euclidean '
        "distance then ranks as the cosine does (AnomalyDINO).",
    )
    foreground: str | None = parameter(
        default=None,
        limits=[StrOptions({"component"}), None],
        text='"component": compare only pixels of the object in front. Pixels of the background '
        "are told by the first principal component of the first pixels seen; they are neither "
        "kept nor found anomalous (AnomalyDINO). Not for textures, which have no background.",
    )


class GaussianParameters(MemoryLimitParameters, RandomStateParameters):
    """What Gaussians are of, and how their covariances are had of few pictures."""

    n_dimensions: int | None = parameter(
        default=100,
        limits=[POSITIVE, None],
        text="Number of channels, drawn at random, that the Gaussians model (paper: 100 for a "
        "ResNet18, 550 for a Wide ResNet50). None, or more than there are, takes all. Memory "
        "and time grow with its square. (On solar cells 50, 200 and all were within 0.3 "
        "points of 100.)",
    )
    regularization: str | float = parameter(
        default="ledoit_wolf",
        limits=[StrOptions({"ledoit_wolf"}), ABOVE_ZERO],
        text='What makes covariances invertible. "ledoit_wolf" shrinks the covariance of each '
        "place towards its mean variance by the share that Ledoit and Wolf estimate to be "
        "best: much with few pictures, little with many, at any scale of features. A number "
        "is added to the variances of all places (paper: 0.01), which suits features of one "
        "scale. (Image AUROC of solar cells: 94.8, and 94.2 with 0.01. Of magnetic tiles: "
        "85.4 and 83.4.)",
    )
    memory_limit: float = changed(
        default=2048,
        note="Here it limits two matrices for each place, four bytes a value. If they take more, "
        "`fit` raises an error.",
    )


class StoreParameters(MemoryLimitParameters):
    """Where maps are kept."""

    memory_limit: float = changed(
        default=2048,
        limits=[Interval(Real, 0, None, closed="both")],
        note="Here it limits their maps, two bytes a value. Maps beyond the limit go to a "
        "temporary file and are read as needed; scores are the same. The file lies in the "
        "folder that the variable TMPDIR names, which should be on a disk. With `n_centroids` "
        "only the centroids are kept, with a coreset only its pixels.",
    )
