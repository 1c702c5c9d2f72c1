from ._coreset import greedy_centers as greedy_centers
from ._galleries import BaseGallery as BaseGallery
from ._galleries import CentroidPixels as CentroidPixels
from ._galleries import CoresetPixels as CoresetPixels
from ._galleries import RetrievedCentroids as RetrievedCentroids
from ._galleries import RetrievedPixels as RetrievedPixels
from ._gaussians import GaussianPixels as GaussianPixels
from ._retrieved_coreset import RetrievedCoreset as RetrievedCoreset
