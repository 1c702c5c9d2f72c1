"""SPADE: where an image is abnormal, by the nearest pixels of similar normal images."""

from math import ceil, floor
from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, Interval, StrOptions
from .._parameters import NOT_NEGATIVE, POSITIVE, changed, parameter
from ..features import FeatureExtractor
from ..images._door import ImageArray, check_images
from ..maps._galleries import CentroidPixels, RetrievedCentroids, RetrievedPixels
from ..maps._maps import lay_over, smooth
from ..networks._parameters import (
    ImagesTogether,
    LayerParameters,
    NetworkParameters,
    RandomParameters,
)
from ..networks._stages import network_stages
from ..scorers import KNNScorer
from ..scorers._parameters import CentroidCountParameters, ContaminationParameters, MetricParameters
from ..training._parameters import MemoryLimitParameters
from ._image import BaseImageDetector

# The picture of the paper, in whose pixels `smoothing` is told.
_PICTURE = 224

# Values that the threshold is taken from, at the most: of one normal map, and of all.
_VALUES_OF_MAP, _VALUES = 2**16, 2**22


class SPADE(
    RandomParameters,
    MemoryLimitParameters,
    ContaminationParameters,
    CentroidCountParameters,
    MetricParameters,
    ImagesTogether,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""Anomalous images, and where in them: correspondences with normal images.

    An image is scored as a whole by the mean distance of its pooled feature :math:`\psi` to those
    of the K nearest training images, and pixel by pixel by the distance of the features
    :math:`F(x, p)` of several layers to the nearest pixels of those K images,

    .. math:: d(x, p) = \frac1\kappa \sum_{f \in N_\kappa(F(x, p))} \lVert F(x, p) - f \rVert_2,

    blurred by a Gaussian. Nothing is trained, unless an `adapter` is given.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.FeatureExtractor` ("extractor"), its network trained if there is an
        adapter, and :class:`~skad.KNNScorer` ("scorer").
    adapter_ : adapter
        Fitted; only with `adapter`.
    layers_ : list of str
        Layers whose maps are compared.
    pixel_offset_ : float
        Threshold on `score_maps` below which a pixel is a defect.

    See Also
    --------
    skad.DN2 : The score of images alone.
    skad.metrics.pro_score : How well maps find regions.
    skad.displays.AnomalyMapDisplay : Pictures of maps.

    Notes
    -----
    An image that equals a training image is not compared with itself, so the maps of training
    images are leave-one-out.

    A pickle, a copy, and what is sent to other processes hold the maps of all training images,
    those in the temporary file too; to make one takes as much memory.

    References
    ----------
    Cohen, Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020. Reiss,
    Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 5.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import SPADE
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = SPADE(n_neighbors=5).fit(tiles[:30])
    >>> detector.score_maps(tiles[30:]).shape
    (10, 80, 80)
    >>> detector.predict_masks(tiles[30:]).dtype
    dtype('bool')
    """

    layers: list | None = changed(
        default=None,
        note="Here maps are compared: by default the ends of the three resolutions before the "
        "last (paper: 56, 28 and 14 pixels a side); of a network with maps of one "
        "resolution, as vision transformers, the three stages before the last.",
    )
    adapter: object = parameter(
        default=None,
        limits=[HasMethods(["fit", "transform"]), None],
        kind="adapter",
        text="Trains the network first, such as ``MeanShiftedContrastive(n_epochs=3)``; its own "
        "`extractor` is left to this detector, and it may need no images but these. (The "
        "authors of PANDA left open whether that helps.)",
    )
    resize: str = changed(
        default="whole",
        limits=[StrOptions({"crop", "whole"})],
        note='Here "whole", so that every pixel is looked at; beyond a crop (paper) a map goes on '
        "with the values at its edge. Small defects want a large `image_size`.",
    )
    n_neighbors: int = changed(
        default=50,
        note="K (paper); all others where there are fewer. Time goes with it: 5 lost 0.7 points "
        "of pixel AUROC on magnetic tiles, at an eleventh.",
    )
    image_score: str = parameter(
        default="features",
        limits=[StrOptions({"features", "map"})],
        text='What scores an image as a whole: "features", the distance of its pooled feature '
        '(paper), or "map", the lowest value of its score map, slower by far where galleries '
        "are whole. On magnetic tiles 90.0 AUROC by maps, and 71.9 by features with the "
        'paper\'s 50 images, but 92.2 with ``n_neighbors=2, metric="cosine"``.',
    )
    metric: str = changed(default="euclidean", note="Between pooled features (paper).")
    fusion: str = parameter(
        default="joined",
        limits=[StrOptions({"joined", "per_layer"})],
        text='"joined": the layers of a pixel are one row, the coarser ones interpolated (paper). '
        '"per_layer": each layer has distances of its own, and their maps are averaged (as a '
        "widely used port does).",
    )
    n_neighbor_pixels: int = parameter(
        default=1,
        limits=[POSITIVE],
        text="Nearest pixels whose distances are averaged, the kappa of the paper.",
    )
    n_centroids: int | None = changed(
        default=None,
        note="Here of pixels. (PANDA: with 50 it is 15 times as fast and loses half a point. On "
        "magnetic tiles, lit in many ways, 50 of all lost 12 points, and 200 of each 1.1.)",
    )
    centroids_of: str = parameter(
        default="all",
        limits=[StrOptions({"all", "each"})],
        text='"all": centroids of the pixels of all training images, the same for every image. '
        '"each": those of each of the K images that are retrieved; slower, and better where '
        "normal images differ much. k-means over all takes about 5 kB of memory a centroid "
        "and channel.",
    )
    smoothing: float = parameter(
        default=4.0,
        limits=[NOT_NEGATIVE],
        text="Standard deviation of the Gaussian, in pixels of a picture 224 wide (paper's code); "
        "it grows and shrinks with `image_size`. 0 for none.",
    )
    contamination: str | float = changed(
        default="auto", note='With ``image_score="map"`` the share of `n_threshold_images`.'
    )
    pixel_contamination: float = parameter(
        default=0.01,
        limits=[Interval(Real, 0, 0.5, closed="right")],
        text="Share of the pixels of normal images beyond the threshold of `predict_masks`; each "
        "image counts alike, large or small.",
    )
    mask_false_alarm_rate: float | None = parameter(
        default=None,
        limits=[Interval(Real, 0, 1, closed="neither"), None],
        text="In the place of `pixel_contamination`: largest share of normal images in whose "
        "masks there is anything. At least one image in the rate is drawn for it (100 for "
        "0.01), if there are as many; with fewer, n, no smaller rate than about 1 in n can "
        "be kept on new images.",
    )
    n_threshold_images: int = parameter(
        default=20,
        limits=[POSITIVE],
        text="Training images, drawn at random, whose maps the threshold of `predict_masks` is "
        "taken from. Each is left out of those that it is compared with; centroids of all "
        "hold it.",
    )
    memory_limit: float = changed(
        default=2048,
        limits=[Interval(Real, 0, None, closed="both")],
        note="Here their maps, two bytes a value. More of them are kept in a temporary file and "
        "read as needed; scores are the same. The file is in the folder that the variable "
        "TMPDIR names, which should not itself be in memory. Of `n_centroids` those of all "
        "images, or of each, are kept.",
    )

    def _make_steps(self):
        extractor = self._make(FeatureExtractor, layers=None)
        scorer = self._make(KNNScorer, aggregation="mean", n_centroids=None)
        if self.adapter is None:
            return [("extractor", extractor), ("scorer", scorer)]
        if getattr(self.adapter, "extractor", None) is not None:
            raise ValueError(
                "SPADE: adapter has an extractor of its own, "
                f"{type(self.adapter.extractor).__name__}; leave it None, and give the parameters "
                "of the network to SPADE."
            )
        adapter = clone(self.adapter).set_params(extractor=extractor)
        return [("adapter", adapter), ("scorer", scorer)]

    def _training_features(self, source, first, scorer):
        """Pooled features of the training images; their maps go into the gallery."""
        if len(source) < 2:
            raise ValueError(
                "SPADE: an image is compared with other training images, so there must be at least "
                "2; got n_samples = 1."
            )
        extractor = getattr(first, "extractor_", first)
        fitted = extractor.fitted_network_
        self.layers_ = self._chosen_layers(fitted)
        self._gallery = self._make_gallery(len(source))
        features = []
        for start, batch in extractor.batches(source):
            pooled, maps = fitted.features_and_maps(fitted.prepare(batch), self.layers_)
            features.append(pooled.cpu().numpy())
            self._gallery.add(start, maps)
        self._gallery.complete()
        scorer.set_params(n_neighbors=min(self.n_neighbors, len(source) - 1))
        return np.concatenate(features)

    def _chosen_layers(self, fitted):
        if self.layers is not None:
            if not len(self.layers):
                raise ValueError("SPADE: layers is empty; name at least one, or give None.")
            return list(dict.fromkeys(map(str, self.layers)))
        import torch

        how, stages, ends = fitted.preprocessing, [], {}
        trial = torch.zeros((1, how.n_channels, how.image_size, how.image_size))
        for name in network_stages(fitted.network):
            try:
                _, (one,) = fitted.features_and_maps(trial.to(fitted.device), [name])
            except ValueError:  # no map
                continue
            stages.append(name)
            ends[tuple(one.shape[-2:])] = name
        if not stages:
            network = type(fitted.network).__name__
            raise ValueError(f"SPADE: no stage of {network} gives a map; name layers=['...'].")
        names = list(ends.values()) if len(ends) > 1 else stages
        return names[-4:-1] or names

    def _make_gallery(self, n_images):
        how = {"fusion": self.fusion, "n_neighbors": self.n_neighbor_pixels, "n_images": n_images}
        how["owner"] = type(self).__name__
        kept = {"limit": self.memory_limit * 2**20}
        if self.n_centroids is None:
            return RetrievedPixels(**how, **kept)
        how |= {"n_centroids": self.n_centroids, "random_state": self.random_state}
        if self.centroids_of == "each":
            return RetrievedCentroids(**how, **kept)
        return CentroidPixels(**how)

    def _finish(self, source):
        """Thresholds from maps of training images."""
        first, scorer = (step for _, step in self.pipeline_.steps)
        vars(self).pop("adapter_", None)
        if self.adapter is not None:  # whose own output may be other than the network's features
            self.adapter_ = first
            self.pipeline_ = Pipeline([("extractor", first.extractor_), ("scorer", scorer)])
        self._image_score, self._smoothing = self.image_score, self.smoothing
        rate, n_images = self.mask_false_alarm_rate, self.n_threshold_images
        n_images = min(len(source), n_images if rate is None else max(n_images, ceil(1 / rate)))
        rng = check_random_state(self.random_state)
        drawn = np.sort(rng.permutation(len(source))[:n_images])
        maps = self._maps(source.take(drawn), features=scorer.gallery_[drawn])
        values = np.stack([_order_statistics(one, _VALUES // n_images) for one in maps])
        lowest = np.sort(values[:, 0])
        if self.image_score == "map":
            self.offset_ = self._offset(lowest)
        if rate is None:
            self.pixel_offset_ = float(np.quantile(values, self.pixel_contamination))
        else:  # as many images below it as the rate allows, and no more
            self.pixel_offset_ = float(lowest[floor(rate * n_images + 1e-9)])

    def score_samples(self, X):
        """Score of each image, high = normal.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        scores : ndarray of float64, shape (n_images,)
        """
        check_is_fitted(self)
        if self._image_score == "features":
            return super().score_samples(X)
        return np.array([one.min() for one in self._maps(check_images(self, X))], dtype=np.float64)

    def score_maps(self, X):
        """Score of each pixel, high = normal.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        maps : ndarray of float32, shape (n_images, height, width), or list of ndarray
            The negative distance, at the resolution of each image: one array for an array or
            tensor of images, a list for images that come one by one.
        """
        check_is_fitted(self)
        source = check_images(self, X)
        return self._collect(source, self._maps(source))

    def predict_masks(self, X):
        """Mark the pixels that are defects.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        masks : ndarray of bool, shape (n_images, height, width), or list of ndarray
            True where `score_maps` is below `pixel_offset_`.
        """
        check_is_fitted(self)
        source = check_images(self, X)
        return self._collect(source, (one < self.pixel_offset_ for one in self._maps(source)))

    @staticmethod
    def _collect(source, maps):
        """One array where all images are of one shape by their container, else a list."""
        return np.stack(list(maps)) if isinstance(source, ImageArray) else list(maps)

    def _maps(self, source, features=None):
        """Score map of each image, one after another; `features` are pooled ones if known."""
        extractor, scorer = (step for _, step in self.pipeline_.steps)
        fitted, how = extractor.fitted_network_, extractor.preprocessing_
        for start, batch in extractor.batches(source):
            pooled, maps = fitted.features_and_maps(fitted.prepare(batch), self.layers_)
            places = None
            if self._gallery.retrieves:
                # `features` are to the bit those of the gallery, so that each is left out.
                known = features is not None
                rows = features[start : start + len(batch)] if known else pooled.cpu().numpy()
                _, places = scorer.kneighbors(rows)
            size, sigma = how.image_size, self._smoothing * how.image_size / _PICTURE
            layers = [smooth(d, size, sigma) for d in self._gallery.distances(maps, places)]
            for image, square in zip(batch, sum(layers) / -len(layers)):
                yield lay_over(square, tuple(image.shape[-2:]), how).cpu().numpy()


def _order_statistics(one, most):
    """So many values of a map, in ascending order and evenly spaced."""
    values = np.sort(one, axis=None)
    places = np.linspace(0, len(values) - 1, max(2, min(most, _VALUES_OF_MAP)))
    return values[places.round().astype(int)]
