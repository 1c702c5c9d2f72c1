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
        text='"joined": the layers of a pixel are one row, the coarser ones interpolated (paper). '
        '"per_layer": each layer has distances of its own, and their maps are averaged (as a '
        "widely used port does).",
    )


class GalleryParameters(FusionParameters):
    """How pixels are compared."""

    n_neighbor_pixels: int = parameter(
        default=1,
        limits=[POSITIVE],
        text="Nearest pixels whose distances are averaged, the kappa of the paper.",
    )


class PixelCentroidParameters(CentroidCountParameters):
    """Fewer pixels to search."""

    n_centroids: int | None = changed(
        default=None,
        note="Here of pixels. (PANDA: with 50 it is 15 times as fast and loses half a point. On "
        "magnetic tiles, lit in many ways, 50 of all lost 12 points, and 200 of each 1.1.)",
    )


class CoresetShareParameters(ParameterGroup):
    """How many pixels are kept."""

    coreset_share: float = parameter(
        default=0.25,
        limits=[Interval(Real, 0, 1, closed="right")],
        text="Share of the pixels that are kept, each the farthest from those before it.",
    )


class CoresetParameters(CoresetShareParameters, MemoryLimitParameters, RandomStateParameters):
    """Which pixels are kept."""

    coreset_share: float = changed(
        default=0.01,
        note="Here of those of all training images (PatchCore: 0.01, 0.1 and 0.25, of which the "
        "first loses 0.1 points).",
    )
    patch_size: int = parameter(
        default=3,
        limits=[POSITIVE],
        text="Side of the patch, in pixels of a map, that is averaged around each pixel (paper: "
        "3); an odd number. Pixels at an edge have the nearest patch that is whole.",
    )
    n_projected: int | None = parameter(
        default=128,
        limits=[POSITIVE, None],
        text="Random directions by which pixels are told apart when they are chosen (published "
        "code: 128); None for all.",
    )
    memory_limit: float = changed(
        default=2048,
        limits=[Interval(Real, 0, None, closed="both")],
        note="Here the pixels from which those that are kept are chosen, four bytes a value: where "
        "there are more, some are chosen of each part, and of these again.",
    )


class TokenParameters(ParameterGroup):
    """What is made of pixels that are tokens of a vision transformer."""

    pixel_metric: str = parameter(
        default="euclidean",
        limits=[StrOptions({"cosine", "euclidean"})],
        text='Between pixels. "cosine": they are brought to unit length first, and the distance is '
        "that of the chord, which ranks as the cosine does (AnomalyDINO).",
    )
    foreground: str | None = parameter(
        default=None,
        limits=[StrOptions({"component"}), None],
        text='"component": only pixels of the object in front count; those of the background, told '
        "by the first principal component of the first pixels seen, are neither kept nor found "
        "abnormal (AnomalyDINO). Not for textures, which have no background.",
    )


class GaussianParameters(MemoryLimitParameters, RandomStateParameters):
    """What Gaussians are of, and how their covariances are had of few pictures."""

    n_dimensions: int | None = parameter(
        default=100,
        limits=[POSITIVE, None],
        text="Channels, drawn at random, that the Gaussians are of (paper: 100 for a ResNet18, 550 "
        "for a Wide ResNet50); None, or more than there are, for all. Memory and time go with its "
        "square. (On solar cells 50, 200 and all were within 0.3 points of 100.)",
    )
    regularization: str | float = parameter(
        default="ledoit_wolf",
        limits=[StrOptions({"ledoit_wolf"}), ABOVE_ZERO],
        text='What makes covariances invertible. "ledoit_wolf": at each place the share of its '
        "mean variance that Ledoit and Wolf estimate to be the best is mixed in: much where "
        "pictures are few, little where they are many, at any scale of features. A number: added "
        "to the variances of all places (paper: 0.01), which fits features of one scale. (Image "
        "AUROC of solar cells 94.8, and with 0.01 94.2; of magnetic tiles 85.4 and 83.4.)",
    )
    memory_limit: float = changed(
        default=2048,
        note="Here two matrices for each place, four bytes a value; where they take more, `fit` is "
        "refused.",
    )


class StoreParameters(MemoryLimitParameters):
    """Where maps are kept."""

    memory_limit: float = changed(
        default=2048,
        limits=[Interval(Real, 0, None, closed="both")],
        note="Here their maps, two bytes a value. More of them are kept in a temporary file and "
        "read as needed; scores are the same. The file is in the folder that the variable "
        "TMPDIR names, which should not itself be in memory. Of `n_centroids` those of all "
        "images, or of each, are kept; of a coreset its pixels.",
    )
