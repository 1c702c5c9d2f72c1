"""Score maps, and galleries of the normal pixels that other pixels are compared with."""

from ._coreset import greedy_centers
from ._galleries import (
    BaseGallery,
    CentroidPixels,
    CoresetPixels,
    RetrievedCentroids,
    RetrievedPixels,
)
from ._gaussians import GaussianPixels
from ._retrieved_coreset import RetrievedCoreset

__all__ = [
    "BaseGallery",
    "CentroidPixels",
    "CoresetPixels",
    "GaussianPixels",
    "RetrievedCentroids",
    "RetrievedCoreset",
    "RetrievedPixels",
    "greedy_centers",
]
