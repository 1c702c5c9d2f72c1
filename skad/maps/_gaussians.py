"""A Gaussian for each place of aligned images (PaDiM)."""

from typing import Self

import numpy as np
from sklearn.utils import check_random_state

from .._fitting import twin
from .._types import Device, Tensor
from ._galleries import BaseGallery, _few_at_once
from ._maps import join
from ._parameters import GaussianParameters

# Images that are taken together: each time the matrices of all places are gone through once.
_IMAGES_AT_ONCE = 16


class GaussianPixels(GaussianParameters, BaseGallery):
    r"""Mean and covariance of the pixels of all training images at each place (PaDiM).

    For images that are aligned, so that a place shows the same part in all of them. A pixel x is
    compared with what was at its place p, by the Mahalanobis distance

    .. math:: d(x, p) = \sqrt{(x - \mu_p)^T \Sigma_p^{-1} (x - \mu_p)}.

    Sums over the training images are kept, whatever their number.

    Attributes
    ----------
    dimensions_ : list of ndarray of int
        Channels of each layer that count.
    moments_ : list of PlaceMoments
        Sums at the places of all layers joined, or of each.
    pictures_ : list of tensor of shape (n_images, n_dimensions)
        Mean over places of each training image, by which it is known.

    See Also
    --------
    skad.PaDiM : The detector of the paper.
    skad.maps.CoresetPixels : For images that are not aligned.

    Notes
    -----
    An image that equals a training image is compared with the Gaussians of the others, by a formula
    of rank one in which the shrinkage stays that of all; so maps of training images are
    leave-one-out. Covariances are divided by n (paper: n - 1), and no variance is less than a
    hundredth of the mean over all places with Ledoit and Wolf's shrinkage.

    Sums add up, so `partial_fit` gives the Gaussians of all images. Thresholds, though, count
    earlier images as they were compared then: with few others, much farther away. Where there are
    twice as many images as in `fit`, fit anew.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import MapDetector
    >>> from skad.maps import GaussianPixels
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(gallery=GaussianPixels(n_dimensions=20)).fit(tiles[:30])
    >>> detector.gallery_.moments_[0].mean.shape
    torch.Size([1024, 20])
    """

    retrieves = False

    def begin(self, n_images: int, owner: str) -> Self:
        """Make ready for the maps of so many training images."""
        if n_images < 2:
            raise ValueError(
                f"{owner}: a covariance takes at least 2 training images; got n_samples = "
                f"{n_images}."
            )
        self._seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.dimensions_, self.moments_, self._sums = None, None, []
        return super().begin(n_images, owner)

    def add(self, start: int, maps: list[Tensor]) -> None:
        """Add to the sums."""
        for few in _few_at_once(maps, _IMAGES_AT_ONCE):
            if self.dimensions_ is None:
                self._draw([one.shape[1] for one in few])
            chosen = self._fused(few)
            if not self._sums:
                self._make_room(chosen)
            for seen, sums, one in zip(self._seen, self._sums, chosen):
                seen.append(one.mean((2, 3)).cpu())
                sums.add(one.flatten(2).permute(2, 0, 1).contiguous())

    def _draw(self, n_channels):
        """Draw dimensions of all layers together, or of each."""
        rng, wanted = np.random.RandomState(self._seed), self.n_dimensions
        if self.fusion == "per_layer":
            self.dimensions_ = [np.sort(rng.permutation(n)[:wanted]) for n in n_channels]
            return
        drawn = np.sort(rng.permutation(sum(n_channels))[:wanted])
        ends = np.cumsum(n_channels)
        parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
        self.dimensions_ = [part - end + n for part, end, n in zip(parts, ends, n_channels)]

    def _make_room(self, chosen):
        """Begin with sums of nothing, or of the images before."""
        from ._place_moments import PlaceMoments

        if self.moments_ is not None:
            self._sums = [one.to(chosen[0].device) for one in self.moments_]
            return
        shapes = [(one.shape[2:].numel(), one.shape[1]) for one in chosen]
        self._check_memory(shapes)
        self._sums = [PlaceMoments(*shape, chosen[0].device) for shape in shapes]
        self._seen = [[] for _ in chosen]

    def _check_memory(self, shapes):
        """Two matrices at each place: the scatter, and what whitens."""
        needed = sum(8 * n_places * n_kept**2 for n_places, n_kept in shapes) / 2**20
        if needed > self.memory_limit:
            told = ", ".join(f"{n_places} places x {n_kept}^2" for n_places, n_kept in shapes)
            raise ValueError(
                f"{self.owner_}: Gaussians of {told} dimensions take {needed:.0f} MiB, beyond "
                f"memory_limit ({self.memory_limit:g} MiB). Lower n_dimensions (now "
                f"{self.n_dimensions}) or image_size, name later layers, or raise memory_limit."
            )

    def _fused(self, maps):
        """Maps of the dimensions that were drawn, which is quicker before layers are joined."""
        chosen = [one[:, drawn].float() for one, drawn in zip(maps, self.dimensions_)]
        if self.fusion == "per_layer":
            return chosen
        finest = max(one.shape[2:].numel() for one in maps)
        return [join([one for one in chosen if one.shape[1] or one.shape[2:].numel() == finest])]

    def complete(self) -> None:
        """Make covariances of the sums."""
        import torch

        self.moments_ = [one.to("cpu") for one in self._sums]
        self.pictures_ = [torch.cat(parts) for parts in self._seen]
        del self._sums, self._seen
        self._gaussians = self._made()

    def _made(self):
        from ._place_gaussians import PlaceGaussians

        return [
            PlaceGaussians(*one, self.regularization, self.owner_)
            for one in zip(self.moments_, self.pictures_)
        ]

    def __getstate__(self):
        """State without what is quick to make of the sums, and as large."""
        return {name: one for name, one in vars(self).items() if name != "_gaussians"}

    def extended(self, n_images: int) -> Self:
        """A gallery of these images, whose sums those of more may join by `add`; this one stays.

        Parameters
        ----------
        n_images : int
            How many more.

        Returns
        -------
        gallery : object
        """
        other = twin(self)
        other.n_images_ = self.n_images_ + n_images
        other._sums, other._seen = [], [[one] for one in self.pictures_]
        return other

    def gaussians_on(self, device: Device) -> list:
        """The Gaussians of all layers joined, or of each, where they compute.

        Parameters
        ----------
        device : torch.device

        Returns
        -------
        gaussians : list of PlaceGaussians
        """
        if not hasattr(self, "_gaussians"):
            self._gaussians = self._made()
        if self._gaussians[0].mean.device != device:
            self._gaussians = [one.to(device) for one in self._gaussians]
        return self._gaussians

    def distances(self, maps: list[Tensor], retrieved: "np.ndarray | None") -> list:
        """Mahalanobis distances of pixels to what was at their places."""
        import torch

        gaussians, found = self.gaussians_on(maps[0].device), []
        for few in _few_at_once(maps, _IMAGES_AT_ONCE):
            parts = zip(gaussians, self._fused(few))
            found.append([one.distances(rows, _IMAGES_AT_ONCE) for one, rows in parts])
        return [torch.cat(parts) for parts in zip(*found)]
