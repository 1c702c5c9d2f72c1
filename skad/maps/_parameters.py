"""Parameters of galleries."""

from numbers import Real

from .._compat import Interval, StrOptions
from .._parameters import POSITIVE, ParameterGroup, changed, parameter
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


class StoreParameters(MemoryLimitParameters):
    """Where maps are kept."""

    memory_limit: float = changed(
        default=2048,
        limits=[Interval(Real, 0, None, closed="both")],
        note="Here their maps, two bytes a value. More of them are kept in a temporary file and "
        "read as needed; scores are the same. The file is in the folder that the variable "
        "TMPDIR names, which should not itself be in memory. Of `n_centroids` those of all "
        "images, or of each, are kept.",
    )
