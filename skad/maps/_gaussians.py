"""A Gaussian for each place of aligned images (PaDiM)."""

from typing import Self

import numpy as np
from sklearn.utils import check_random_state

from .._fitting import twin
from .._types import Device, Tensor
from ._galleries import BaseGallery, few_at_once
from ._maps import join
from ._parameters import GaussianParameters

# Images that are taken together: each time the matrices of all places are gone through once.
_IMAGES_AT_ONCE = 16


class GaussianPixels(GaussianParameters, BaseGallery):
    r"""Gallery of the mean and covariance of pixels at each place, over all images (PaDiM).

    For images that are aligned, so that a place shows the same part in all of them. A pixel x at
    the place p is compared with the Gaussian of that place by the Mahalanobis distance

    .. math:: d(x, p) = \sqrt{(x - \mu_p)^T \Sigma_p^{-1} (x - \mu_p)}.

    Only sums over the training images are kept, whatever their number.

    Attributes
    ----------
    dimensions_ : list of ndarray of int
        Channels of each layer that are used.
    moments_ : list of PlaceMoments
        Sums at each place: one for all layers joined, or one for each layer.
    pictures_ : list of tensor of shape (n_images, n_dimensions)
        Mean over places of each training image, by which the image is recognised.

    See Also
    --------
    skad.PaDiM : The detector of the paper.
    skad.maps.CoresetPixels : For images that are not aligned.

    Notes
    -----
    A training image is compared with the Gaussians of the others, by an update of rank one that
    keeps the shrinkage of all images. So maps of training images are leave-one-out. Covariances are
    divided by n (paper: n - 1). With Ledoit and Wolf's shrinkage no variance is less than a
    hundredth of the mean over all places.

    With `partial_fit` the Gaussians are those of all images. The thresholds, however, reuse the
    maps of earlier images, which were compared with fewer images and lie much farther away. When
    the number of images has doubled, call `fit` again.

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
        """Prepare for the maps of the training images.

        Parameters
        ----------
        n_images : int
            Number of training images.
        owner : str
            Named in errors.

        Returns
        -------
        self : object
            The gallery itself.
        """
        if n_images < 2:
            raise ValueError(
                f"{owner}: a covariance takes at least 2 training images; got n_samples = "
                f"{n_images}."
            )
        self._seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.dimensions_, self.moments_, self._sums = None, None, []
        return super().begin(n_images, owner)

    def add(self, start: int, maps: list[Tensor]) -> None:
        """Add maps to the sums.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """
        for few in few_at_once(maps, _IMAGES_AT_ONCE):
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
        """Compute covariances from the sums."""
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
        """Copy the gallery, with room for more images; this one stays as it is.

        Parameters
        ----------
        n_images : int
            Number of images to add.

        Returns
        -------
        gallery : object
            The copy, ready for `add`.
        """
        other = twin(self)
        other.n_images_ = self.n_images_ + n_images
        other._sums, other._seen = [], [[one] for one in self.pictures_]
        return other

    def gaussians_on(self, device: Device) -> list:
        """Get the Gaussians on a device.

        Parameters
        ----------
        device : torch.device
            Where they compute.

        Returns
        -------
        gaussians : list of PlaceGaussians
            One for all layers joined, or one for each layer.
        """
        if not hasattr(self, "_gaussians"):
            self._gaussians = self._made()
        if self._gaussians[0].mean.device != device:
            self._gaussians = [one.to(device) for one in self._gaussians]
        return self._gaussians

    def distances(self, maps: list[Tensor], retrieved: "np.ndarray | None") -> list:
        """Compute Mahalanobis distances of pixels to the Gaussians of their places.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        retrieved : ndarray of int, shape (n, n_retrieved), or None
            Ignored: all images are compared with the same Gaussians.

        Returns
        -------
        distances : list of tensors of float32, shape (n, height, width)
            One for all layers joined, or one for each layer.
        """
        import torch

        gaussians, found = self.gaussians_on(maps[0].device), []
        for few in few_at_once(maps, _IMAGES_AT_ONCE):
            parts = zip(gaussians, self._fused(few))
            found.append([one.distances(rows, _IMAGES_AT_ONCE) for one, rows in parts])
        return [torch.cat(parts) for parts in zip(*found)]
