"""What galleries of normal pixels, whichever pixels they hold, have in common."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator

from .._types import Tensor
from ._maps import join
from ._parameters import FusionParameters

# Images whose layers are joined together.
_IMAGES_AT_ONCE = 8


class BaseGallery(FusionParameters, BaseEstimator, ABC):
    """Base class of galleries, which keep pixels of normal images to compare other pixels with.

    Subclasses define which pixels are kept, and which of them an image is compared with. A
    :class:`~skad.MapDetector` copies a gallery and calls `begin`, then `add` for each batch of
    training images, then `complete`; after that it calls `distances`. If a gallery has `extended`,
    `partial_fit` can add further images.
    """

    # Whether an image is compared with those training images that are retrieved for it.
    retrieves = True

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
        self.n_images_, self.owner_ = n_images, owner
        return self

    @abstractmethod
    def add(self, start: int, maps: list[Tensor]) -> None:
        """Add maps of training images.

        Parameters
        ----------
        start : int
            Index of the first of these images.
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        """

    def complete(self) -> None:
        """Prepare for queries, after all training images were added."""

    @abstractmethod
    def distances(self, maps: list[Tensor], retrieved: "np.ndarray | None") -> list[Tensor]:
        """Compute the distances of the pixels of images to the gallery.

        Parameters
        ----------
        maps : list of tensors of shape (n, channels, height, width)
            One for each layer.
        retrieved : ndarray of int, shape (n, n_retrieved), or None
            Indices of the training images that each image is compared with; None if the gallery
            compares all images with the same pixels.

        Returns
        -------
        distances : list of tensors of float32, shape (n, height, width)
            One for all layers joined, or one for each layer.
        """

    def _fused(self, maps):
        """Maps as they are compared: joined, or one for each layer."""
        return [join(maps)] if self.fusion == "joined" else maps


def few_at_once(maps, n_images=_IMAGES_AT_ONCE):
    """Maps of a few images at a time, since joined ones take much memory.

    Yields
    ------
    maps : list of tensors of shape (n_images, channels, height, width)
    """
    for parts in zip(*(one.split(n_images) for one in maps)):
        yield list(parts)
