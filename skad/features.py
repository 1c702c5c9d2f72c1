"""FeatureExtractor: images to the features of a frozen network."""

import copy
from dataclasses import replace

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._compat import check_feature_names_in, fit_context
from ._fitting import unchanged_on_error
from ._labels import has_anomaly_labels
from .images._batches import iterate_batches
from .images._door import check_images
from .networks._cache import FeatureCache, network_fingerprint
from .networks._device import move_loaded, resolve_device
from .networks._one_image import same_arithmetic
from .networks._parameters import (
    ContrastParameters,
    FlattenedLayerParameters,
    ImagesTogether,
    LayerParameters,
    MemoryParameters,
    NetworkParameters,
    RandomParameters,
)
from .networks._preprocessing import contrast_range, preprocess, resolve_preprocessing
from .networks._recipe import build_network
from .networks._taps import (
    last_map,
    layer_outputs,
    outputs_on_the_way,
    pooled_output,
    to_map,
    to_vector,
    without_summary,
)


class FeatureExtractor(
    RandomParameters,
    MemoryParameters,
    ContrastParameters,
    ImagesTogether,
    FlattenedLayerParameters,
    LayerParameters,
    NetworkParameters,
    TransformerMixin,
    BaseEstimator,
):
    """Turn images into the features of a pretrained network.

    Attributes
    ----------
    network_ : torch.nn.Module
        The network, in evaluation mode.
    preprocessing_ : Preprocessing
        `image_size`, `resize`, `mean`, `std` and `n_channels` as resolved, and `contrast_range`.
    tap_widths_ : list of int
        Number of features of each of `layers` and `flattened_layers`, in order.
    map_taps_ : list of int
        Places of `flattened_layers` among them, for :class:`~skad.EnsembleScorer`.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.DN2 : Detector on these features.

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
    def fit(self, X, y=None):
        """Build the network; of the images only their form is learned.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) do not count; labels of another kind are not used.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If the backbone is unknown, its weights do not fit or are not to be had, a layer does
            not exist, or the images are no images.
        """
        with unchanged_on_error(self):
            # Labelled anomalies must not set the range of flat rows; a target of another kind is
            # none of an extractor's business.
            labels = y if has_anomaly_labels(y) else None
            source = check_images(self, X, labels, reset=True)
            seed = check_random_state(self.random_state).randint(2**31)
            network = build_network(self.backbone, self.weights, seed)
            preprocessing = resolve_preprocessing(
                network,
                image_size=self.image_size,
                resize=self.resize,
                mean=self.mean,
                std=self.std,
            )
            if self.contrast_normalization:
                found = contrast_range(self._batches(source), preprocessing)
                preprocessing = replace(preprocessing, contrast_range=found)
            self._set_network(network, preprocessing)
        return self

    def _set_network(self, network, preprocessing):
        """Take a network, after a trial that shows what comes out of it."""
        import torch

        self._device = resolve_device(self.device)
        self._fingerprint = None
        self.preprocessing_ = preprocessing
        self._dtype = getattr(torch, self.precision)
        network = network.to(self._device, memory_format=torch.channels_last)
        self.network_ = network.to(self._dtype)
        for name in ("layers", "flattened_layers"):
            if getattr(self, name) is not None and not len(getattr(self, name)):
                raise ValueError(f"{name} is empty; name at least one, or give None.")
        size = preprocessing.image_size
        trial = torch.zeros((1, preprocessing.n_channels, size, size), device=self._device)
        self.tap_widths_ = [output.shape[1] for output in self._forward(trial)]
        _, flat = self._layer_names()
        n_taps = len(self.tap_widths_)
        self.map_taps_ = list(range(n_taps - len(flat), n_taps))

    def _forward(self, images, as_map=False):
        """Outputs of the taps for preprocessed images, one float32 tensor a tap."""
        import torch

        images = images.to(self._dtype, memory_format=torch.channels_last)
        with torch.inference_mode(), same_arithmetic(images):
            return self._tap(images, as_map)

    def _tap(self, images, as_map=False):
        """Outputs of the taps, in whatever mode torch is."""
        pooled, flat = self._layer_names()
        names = list(dict.fromkeys(pooled + flat))
        if names:
            found = dict(zip(names, layer_outputs(self.network_, images, names)))
            if not as_map:
                vectors = [to_vector(found[name], self.network_) for name in pooled]
                vectors += [found[name].flatten(1) for name in flat]
                return [vector.float() for vector in vectors]
            return [self._map_of(name, output) for name, output in found.items()]
        if not as_map:
            return [to_vector(pooled_output(self.network_, images), self.network_).float()]
        whole = hasattr(self.network_, "forward_features")
        output = (last_map if whole else pooled_output)(self.network_, images)
        return [self._map_of("features", output)]

    def _map_of(self, name, output):
        try:
            return to_map(output, self.network_).float()
        except ValueError as error:
            raise ValueError(f"layers: {name!r}: {error}") from error

    def _outputs(self, images):
        """Features (n, n_features) of preprocessed images, for adapters: with gradients."""
        import torch

        return torch.cat(self._tap(images), dim=1)

    def _features_and_maps(self, images, layers):
        """Features of preprocessed images and maps of `layers`, in one pass; float32 tensors.

        Only without `layers` of the extractor's own, which would end the pass too early.
        """
        import torch

        images = images.to(self._dtype, memory_format=torch.channels_last)
        with torch.inference_mode(), same_arithmetic(images):
            with outputs_on_the_way(self.network_, layers) as outputs:
                features = self._outputs(images)
            maps = [self._map_of(name, output) for name, output in zip(layers, outputs)]
        for name, one in zip(layers, maps):
            if len(one) != len(images):
                raise ValueError(
                    f"layers: {name!r} gives {len(one)} maps for {len(images)} images (windows, "
                    "perhaps); name a layer that gives one for each."
                )
        return features, [without_summary(one, self.network_) for one in maps]

    def transform(self, X):
        """Compute the features of images.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            Those of all `layers`, side by side.
        """
        check_is_fitted(self)
        source = check_images(self, X)
        features = np.empty((len(source), sum(self.tap_widths_)), dtype=np.float32)
        for start, batch in self._batches(source):
            features[start : start + len(batch)] = self._batch_features(batch)
        return features

    def _batches(self, source):
        from tqdm import tqdm

        n_threads = joblib.effective_n_jobs(-1 if self.n_jobs is None else self.n_jobs)
        batches = iterate_batches(source, self.batch_size, n_threads)
        with tqdm(
            total=len(source), desc="Extracting features", unit="image", disable=not self.verbose
        ) as progress:
            for start, batch in batches:
                yield start, batch
                progress.update(len(batch))

    def _batch_features(self, batch):
        """Features of one batch, from the cache as far as it has them."""
        if self.memory is None or getattr(self.memory, "location", "") is None:
            return self._compute(batch)
        cache = FeatureCache(self.memory)
        keys = cache.keys(batch, self._recipe())
        features = cache.load(keys)
        missing = [i for i, row in enumerate(features) if row is None]
        if missing:
            images = [batch[i] for i in missing] if isinstance(batch, list) else batch[missing]
            computed = self._compute(images)
            cache.store([keys[i] for i in missing], computed)
            for i, row in zip(missing, computed):
                features[i] = row
        return np.stack(features)

    def _compute(self, batch):
        import torch

        outputs = self._forward(preprocess(batch, self.preprocessing_, self._device))
        return torch.cat(outputs, dim=1).cpu().numpy()

    def _recipe(self):
        """All that decides the features of an image, for the cache."""
        if self._fingerprint is None:
            self._fingerprint = network_fingerprint(self.network_, self.backbone)
        layers = (self.layers, self.flattened_layers)
        recipe = (self._fingerprint, self.preprocessing_, *layers, self.precision)
        # The trained part of a network computes in float32 even where the rest does not.
        dtypes = [str(parameter.dtype) for parameter in self.network_.parameters()]
        return repr(recipe if len(set(dtypes)) < 2 else (*recipe, dtypes))

    def feature_maps(self, X):
        """Compute the maps of the layers, without averaging over places.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        maps : dict of str to ndarray of float32, shape (n_images, channels, height, width)
            One entry for each of `layers` and `flattened_layers`; without those one, named
            "features", that holds the last map.
        """
        check_is_fitted(self)
        source = check_images(self, X)
        maps = {}
        for start, batch in self._batches(source):
            images = preprocess(batch, self.preprocessing_, self._device)
            pooled, flat = self._layer_names()
            names = list(dict.fromkeys(pooled + flat)) or ["features"]
            for name, output in zip(names, self._forward(images, as_map=True)):
                if name not in maps:
                    maps[name] = np.empty((len(source), *output.shape[1:]), dtype=np.float32)
                maps[name][start : start + len(batch)] = output.cpu().numpy()
        return maps

    def _layer_names(self):
        """Names of `layers` and of `flattened_layers`, as lists."""
        given = (self.layers, self.flattened_layers)
        return ([] if names is None else [str(name) for name in names] for names in given)

    def _tap_names(self):
        pooled, flat = self._layer_names()
        return [*pooled, *(f"{name}_flat" for name in flat)] or ["features"]

    def get_feature_names_out(self, input_features=None):
        """Names of the features: the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows seen in `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_features,)
        """
        check_is_fitted(self)
        if hasattr(self, "n_features_in_"):
            check_feature_names_in(self, input_features)
        names = zip(self._tap_names(), self.tap_widths_)
        return np.array([f"{n}_{i}" for n, width in names for i in range(width)], dtype=object)

    @property
    def _n_features_out(self):
        return sum(self.tap_widths_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # always float32
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self):
        """State with the network on the CPU, so that it can be loaded without a GPU."""
        state = super().__getstate__().copy()
        device = state.pop("_device", None)
        if device is not None and device.type != "cpu":
            state["network_"] = copy.deepcopy(state["network_"]).cpu()
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if hasattr(self, "network_"):
            self._device = move_loaded(self.network_, self.device, type(self).__name__)
