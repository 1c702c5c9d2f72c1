"""Score maps, and galleries of the normal pixels that other pixels are compared with."""

from ._galleries import BaseGallery, CentroidPixels, RetrievedCentroids, RetrievedPixels

__all__ = ["BaseGallery", "CentroidPixels", "RetrievedCentroids", "RetrievedPixels"]
