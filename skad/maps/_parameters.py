"""Parameters of galleries."""

from numbers import Real

from .._compat import Interval, StrOptions
from .._parameters import (
    POSITIVE,
    ParameterGroup,
    RandomStateParameters,
    changed,
    parameter,
)
from ..scorers._parameters import CentroidCountParameters
from ..training._parameters import MemoryLimitParameters


class GalleryParameters(ParameterGroup):
    """How pixels are compared."""

    fusion: str = parameter(
        default="joined",
        limits=[StrOptions({"joined", "per_layer"})],
        text='"joined": the layers of a pixel are one row, the coarser ones interpolated (paper). '
        '"per_layer": each layer has distances of its own, and their maps are averaged (as a '
        "widely used port does).",
    )
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
        "3); an odd number. At the edge what there is of it.",
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
