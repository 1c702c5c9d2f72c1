from ._coreset import greedy_centers as greedy_centers
from ._fixed import CentroidPixels as CentroidPixels
from ._fixed import CoresetPixels as CoresetPixels
from ._galleries import BaseGallery as BaseGallery
from ._gaussians import GaussianPixels as GaussianPixels
from ._retrieved import RetrievedCentroids as RetrievedCentroids
from ._retrieved import RetrievedPixels as RetrievedPixels
from ._retrieved_coreset import RetrievedCoreset as RetrievedCoreset
