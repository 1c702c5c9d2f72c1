"""The features of a frozen network: pictures in, rows out."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._callbacks import CallbackSupportMixin, fit_task
from ._compat import check_feature_names_in, fit_context
from ._fitting import unchanged_on_error
from ._labels import has_anomaly_labels
from ._types import ArrayLike, Images, Labels, Module, Source
from .images._batches import count_threads, iterate_batches
from .images._door import check_images, take_source
from .networks._cache import FeatureCache
from .networks._fitted import FittedNetwork
from .networks._parameters import (
    ContrastParameters,
    FlattenedLayerParameters,
    ImagesTogether,
    LayerParameters,
    MemoryParameters,
    NetworkParameters,
    RandomParameters,
    ViewParameters,
)
from .networks._preprocessing import contrast_range, resolve_preprocessing
from .networks._recipe import build_network
from .parallel._lazily import is_lazy, lazily
from .parallel._spread import spread

__all__ = ["FeatureExtractor"]


class FeatureExtractor(
    RandomParameters,
    MemoryParameters,
    ContrastParameters,
    ImagesTogether,
    FlattenedLayerParameters,
    LayerParameters,
    ViewParameters,
    NetworkParameters,
    CallbackSupportMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Turn images into features of a pretrained network.

    Attributes
    ----------
    fitted_network_ : FittedNetwork
        The network and all that is needed to use it. The next four attributes come from it.
    network_ : torch.nn.Module
        The network, in evaluation mode.
    preprocessing_ : Preprocessing
        What the network expects of images: `image_size`, `resize`, `mean`, `std`, `n_channels` and
        `contrast_range`.
    tap_widths_ : list of int
        Number of features of each of `layers` and `flattened_layers`, in order.
    map_taps_ : list of int
        Indices of `flattened_layers` in that list, for :class:`~skad.EnsembleScorer`.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.DN2 : A detector on these features.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import FeatureExtractor
    >>> photos = load_sample_images().images
    >>> FeatureExtractor().fit_transform(photos).shape
    (2, 288)
    >>> FeatureExtractor(layers=["layer1", "layer3"]).fit_transform(photos).shape
    (2, 192)
    """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: Labels = None) -> Self:
        """Build the network, and learn the form of the images, not their content.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out; labels of another kind are ignored.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If the backbone is unknown, its weights do not fit or cannot be had, a layer does not
            exist, or `X` holds no images.
        """
        with unchanged_on_error(self):
            # Labelled anomalies must not set the range of flat rows; a target of another kind is
            # none of an extractor's business.
            labels = y if has_anomaly_labels(y) else None
            return self.fit_source(check_images(self, X, labels, reset=True))

    def fit_source(self, source: Source) -> Self:
        """Build the network for images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        with fit_task(self):
            return self._build(source)

    def _build(self, source):
        take_source(self, source)
        seed = check_random_state(self.random_state).randint(2**31)
        seen = self.image_size if self.tiles is None else next(iter(self.tiles), None)
        network = build_network(self.backbone, self.weights, seed, seen)
        return self.take(network, self._preprocessing_of(network, source))

    def _preprocessing_of(self, network, source):
        """What the network expects of images, with what is learned of those of a fit."""
        names = ("image_size", "resize", "mean", "std")
        found = resolve_preprocessing(network, **{name: getattr(self, name) for name in names})
        if not self.contrast_normalization:
            return found
        n_threads = count_threads(self.n_jobs)
        batches = iterate_batches(source, self.batch_size, n_threads, found.detail)
        return replace(found, contrast_range=contrast_range(batches, found))

    def take(self, network: Module, preprocessing: object) -> Self:
        """Use a given network as the fitted one, with this extractor's parameters.

        Parameters
        ----------
        network : torch.nn.Module
            In evaluation mode.
        preprocessing : Preprocessing
            What the network expects of images.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        names = ("backbone", "layers", "flattened_layers", "precision", "device", "tiles", "scales")
        own = {name: getattr(self, name) for name in names}
        self.fitted_network_ = FittedNetwork(network, preprocessing, **own)
        return self

    @property
    def network_(self) -> Module:
        """The network, in evaluation mode."""
        check_is_fitted(self)
        return self.fitted_network_.network

    @property
    def preprocessing_(self) -> object:
        """What the network expects of images."""
        check_is_fitted(self)
        return self.fitted_network_.preprocessing

    @property
    def tap_widths_(self) -> list[int]:
        """Number of features of each layer."""
        check_is_fitted(self)
        return self.fitted_network_.widths

    @property
    def map_taps_(self) -> list[int]:
        """Indices of the flattened layers among all layers."""
        check_is_fitted(self)
        return self.fitted_network_.map_taps

    def batches(self, source: Source) -> Iterator[tuple]:
        """Iterate over images in batches, as this extractor's parameters say.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        batches : iterator of tuple (int, Batch)
            The index of the first image of each batch, and its images as the network takes them.
        """
        # What is looked up by its pixels stays here until it has to be computed.
        sends = self.memory is None
        return self.fitted_network_.batches(
            source, self.batch_size, self.n_jobs, self.verbose, sends=sends
        )

    def transform(self, X: Images) -> np.ndarray:
        """Compute the features of images.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            The features of all `layers`, side by side. For a Dask array or bag, a Dask array that
            is not computed yet.
        """
        check_is_fitted(self)
        if is_lazy(X):
            return lazily(self, "transform", X, np.float32, self._n_features_out)
        return self.compute(check_images(self, X))

    def fit_transform(self, X: Images, y: Labels = None) -> np.ndarray:
        """Build the network, and compute the features of images.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            As for `fit`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        with unchanged_on_error(self):
            self.fit(X, y)
            source = check_images(self, X)
            features = self.compute(source)
        source.brightest.warn_if_dark(type(self).__name__)
        return features

    def compute(self, source: Source) -> np.ndarray:
        """Compute the features of validated images, or take them from `memory`.

        Under ``joblib.parallel_config`` the workers of its backend compute them.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        parts = list(spread(self, "compute_here", source, self.together))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def together(self) -> int:
        """Number of images that go through the network together; each tile counts as one."""
        return max(1, self.batch_size // self.fitted_network_.views.n_tiles)

    def compute_here(self, source: Source) -> np.ndarray:
        """Compute the features of validated images in this process.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        fitted = self.fitted_network_
        features = np.empty((len(source), sum(fitted.widths)), dtype=np.float32)
        if self.memory is None:
            for start, batch, found in fitted.each(self.batches(source), _features_of):
                features[start : start + len(batch)] = found
            return features
        with FeatureCache(self.memory, fitted, features.shape[1]) as cache:
            for start, batch in self.batches(source):
                features[start : start + len(batch)] = cache.features(batch)
        return features

    def feature_maps(self, X: Images) -> dict[str, np.ndarray]:
        """Compute the maps of the layers, without averaging over positions.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        maps : dict of str to ndarray of float32, shape (n_images, channels, height, width)
            One entry for each of `layers` and `flattened_layers`. If there are none, one entry
            "features" with the last map. Entries of further `scales` end with the scale, as in
            "features@0.5".
        """
        check_is_fitted(self)
        source, fitted, maps = check_images(self, X), self.fitted_network_, {}
        names = fitted.views.names(fitted.map_names)
        for start, batch, outputs in fitted.each(self.batches(source), _maps_of):
            for name, output in zip(names, outputs):
                if name not in maps:
                    maps[name] = np.empty((len(source), *output.shape[1:]), dtype=np.float32)
                maps[name][start : start + len(batch)] = output
        return maps

    def get_feature_names_out(self, input_features: "ArrayLike | None" = None) -> np.ndarray:
        """Get the names of the features: the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows of `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_features,)
            One name for each column.
        """
        check_is_fitted(self)
        if hasattr(self, "n_features_in_"):
            check_feature_names_in(self, input_features)
        names = zip(self.fitted_network_.tap_names, self.fitted_network_.widths)
        return np.array([f"{n}_{i}" for n, width in names for i in range(width)], dtype=object)

    @property
    def _n_features_out(self):
        return sum(self.tap_widths_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # always float32
        tags.input_tags.three_d_array = True
        return tags


def _features_of(fitted, batch):
    return fitted.features(fitted.prepare(batch)).cpu().numpy()


def _maps_of(fitted, batch):
    return [one.cpu().numpy() for one in fitted.maps(fitted.prepare(batch))]
