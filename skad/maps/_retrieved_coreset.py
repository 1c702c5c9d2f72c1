"""A coreset of the pixels of each training image."""

from .._parameters import changed
from ._coreset import greedy_centers
from ._parameters import CoresetShareParameters
from ._retrieved import RetrievedFew


class RetrievedCoreset(CoresetShareParameters, RetrievedFew):
    """Gallery of a coreset of the pixels of each training image, for the retrieved images.

    The pixels of each image are chosen by greedy k-centres, see :func:`skad.maps.greedy_centers`.
    Nothing is random: the first is the pixel in the upper left corner. Compared with all pixels of
    an image, the distance to the coreset is larger by at most the distance at which its last pixel
    was chosen.

    See Also
    --------
    skad.maps.RetrievedPixels : All pixels.
    skad.maps.RetrievedCentroids : Means of pixels.
    skad.maps.CoresetPixels : Pixels of all images, the same for every image.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import MapDetector
    >>> from skad.maps import RetrievedCoreset
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(gallery=RetrievedCoreset(coreset_share=0.25)).fit(tiles[:30])
    >>> detector.gallery_.store_.shapes
    [(256, 256, 1)]
    """

    coreset_share: float = changed(default=0.25, note="Here of each training image.")

    def _n_kept(self, n_pixels):
        return max(1, round(self.coreset_share * n_pixels))

    def _few_of(self, pixels):
        import torch

        pixels = pixels.float()
        chosen = greedy_centers(pixels, self._n_kept(len(pixels)))
        return pixels[torch.as_tensor(chosen, device=pixels.device)]
