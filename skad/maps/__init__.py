"""Galleries: normal pixels that the pixels of a new picture are compared with."""

from .._lazy import lazy_names

_HOMES = {
    "BaseGallery": "_galleries",
    "CentroidPixels": "_fixed",
    "CoresetPixels": "_fixed",
    "GaussianPixels": "_gaussians",
    "RetrievedCentroids": "_retrieved",
    "RetrievedCoreset": "_retrieved_coreset",
    "RetrievedPixels": "_retrieved",
    "greedy_centers": "_coreset",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
