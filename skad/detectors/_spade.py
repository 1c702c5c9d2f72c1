"""SPADE: where an image is abnormal, by the nearest pixels of similar normal images."""

from math import ceil, floor
from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, Interval, StrOptions
from ..features import FeatureExtractor
from ..images._door import ImageArray, check_images
from ..maps._galleries import CentroidPixels, RetrievedCentroids, RetrievedPixels
from ..maps._maps import lay_over, smooth
from ..networks._preprocessing import preprocess
from ..networks._stages import network_stages
from ..scorers import KNNScorer
from ._image import BaseImageDetector

# The picture of the paper, in whose pixels `smoothing` is told.
_PICTURE = 224

# Values that the threshold is taken from, at the most: of one normal map, and of all.
_VALUES_OF_MAP, _VALUES = 2**16, 2**22


class SPADE(BaseImageDetector):
    r"""Anomalous images, and where in them: correspondences with normal images.

    An image is scored as a whole by the mean distance of its pooled feature :math:`\psi` to those
    of the K nearest training images, and pixel by pixel by the distance of the features
    :math:`F(x, p)` of several layers to the nearest pixels of those K images,

    .. math:: d(x, p) = \frac1\kappa \sum_{f \in N_\kappa(F(x, p))} \lVert F(x, p) - f \rVert_2,

    blurred by a Gaussian. Nothing is trained, unless an `adapter` is given.

    Parameters
    ----------
    backbone : str or callable, default="tiny"
        Network, see :class:`~skad.FeatureExtractor`. "tiny" comes with the package; the paper uses
        "wide_resnet50_2".
    weights : "pretrained", None or path, default="pretrained"
        Published weights, random ones, or a file.
    layers : list of str, optional
        Layers whose maps are compared. By default the ends of the three resolutions before the
        last (paper: 56, 28 and 14 pixels a side); of a network with maps of one resolution, as
        vision transformers, the three stages before the last.
    adapter : adapter, optional
        Trains the network first, such as ``MeanShiftedContrastive(n_epochs=3)``; its own
        `extractor` is left to this detector, and it may need no images but these. (The authors of
        PANDA left open whether that helps.)
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's. The paper uses 224. Small
        defects want large images.
    resize : {"whole", "crop"}, default="whole"
        "whole": the whole image, so that every pixel is looked at. "crop": shorter side to 8/7 of
        `image_size`, then the centre (paper); beyond it a map goes on with the values at its edge.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the network.
    batch_size : int, default=64
        Images that go through the network together.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_neighbors : int, default=50
        Training images K that an image is compared with (paper); all others where there are fewer.
        Time goes with it: 5 lost 0.7 points of pixel AUROC on magnetic tiles, at an eleventh.
    image_score : {"features", "map"}, default="features"
        What scores an image as a whole: "features", the distance of its pooled feature (paper), or
        "map", the lowest value of its score map, slower by far where galleries are whole. On
        magnetic tiles 90.0 AUROC by maps, and 71.9 by features with the paper's 50 images, but 92.2
        with ``n_neighbors=2, metric="cosine"``.
    metric : {"euclidean", "cosine", "angle", "mahalanobis", "mahalanobis_cosine"}, \
default="euclidean"
        Between pooled features (paper: "euclidean"); see :class:`~skad.KNNScorer`.
    fusion : {"joined", "per_layer"}, default="joined"
        "joined": the layers of a pixel are one row, the coarser ones interpolated (paper).
        "per_layer": each layer has distances of its own, and their maps are averaged (as a widely
        used port does).
    n_neighbor_pixels : int, default=1
        Nearest pixels whose distances are averaged, the kappa of the paper.
    n_centroids : int, optional
        Compare with so many centroids of k-means in the place of all pixels. (PANDA: with 50 it is
        15 times as fast and loses half a point. On magnetic tiles, lit in many ways, 50 of all
        lost 12 points, and 200 of each 1.1.)
    centroids_of : {"all", "each"}, default="all"
        "all": centroids of the pixels of all training images, the same for every image. "each":
        those of each of the K images that are retrieved; slower, and better where normal images
        differ much. k-means over all takes about 5 kB of memory a centroid and channel.
    smoothing : float, default=4.0
        Standard deviation of the Gaussian, in pixels of a picture 224 wide (paper's code); it
        grows and shrinks with `image_size`. 0 for none.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold on images, scored leave-one-out; "auto"
        is 0.1. With ``image_score="map"`` the share of `n_threshold_images`.
    pixel_contamination : float in (0, 0.5], default=0.01
        Share of the pixels of normal images beyond the threshold of `predict_masks`; each image
        counts alike, large or small.
    mask_false_alarm_rate : float in (0, 1), optional
        In the place of `pixel_contamination`: largest share of normal images in whose masks there
        is anything. At least one image in the rate is drawn for it (100 for 0.01), if there are as
        many; with fewer, n, no smaller rate than about 1 in n can be kept on new images.
    n_threshold_images : int, default=20
        Training images, drawn at random, whose maps the threshold of `predict_masks` is taken
        from. Each is left out of those that it is compared with; centroids of all hold it.
    memory_limit : float, default=2048
        Most MiB of memory for the maps of training images, two bytes a value. More of them are
        kept in a temporary file and read as needed; scores are the same. The file is in the folder
        that the variable TMPDIR names, which should not itself be in memory. Of `n_centroids` those
        of all images, or of each, are kept.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws random weights (``weights=None``), the pixels that k-means sees, where it starts, and
        the images of the threshold.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.FeatureExtractor` ("extractor"), its network trained if there is an
        adapter, and :class:`~skad.KNNScorer` ("scorer").
    adapter_ : adapter
        Fitted; only with `adapter`.
    layers_ : list of str
        Layers whose maps are compared.
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    pixel_offset_ : float
        Threshold on `score_maps` below which a pixel is a defect.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

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

    _parameter_constraints = {  # noqa: RUF012
        **FeatureExtractor._parameter_constraints,
        **{
            name: KNNScorer._parameter_constraints[name]
            for name in ("n_neighbors", "metric", "n_centroids", "contamination")
        },
        "resize": [StrOptions({"crop", "whole"})],
        "adapter": [HasMethods(["fit", "transform"]), None],
        "image_score": [StrOptions({"features", "map"})],
        "fusion": [StrOptions({"joined", "per_layer"})],
        "centroids_of": [StrOptions({"all", "each"})],
        "n_neighbor_pixels": [Interval(Integral, 1, None, closed="left")],
        "smoothing": [Interval(Real, 0, None, closed="left")],
        "pixel_contamination": [Interval(Real, 0, 0.5, closed="right")],
        "mask_false_alarm_rate": [Interval(Real, 0, 1, closed="neither"), None],
        "n_threshold_images": [Interval(Integral, 1, None, closed="left")],
        "memory_limit": [Interval(Real, 0, None, closed="both")],
    }

    def __init__(
        self,
        backbone="tiny",
        *,
        weights="pretrained",
        layers=None,
        adapter=None,
        image_size=None,
        resize="whole",
        precision="float32",
        batch_size=64,
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
        n_neighbors=50,
        image_score="features",
        metric="euclidean",
        fusion="joined",
        n_neighbor_pixels=1,
        n_centroids=None,
        centroids_of="all",
        smoothing=4.0,
        contamination="auto",
        pixel_contamination=0.01,
        mask_false_alarm_rate=None,
        n_threshold_images=20,
        memory_limit=2048,
        n_jobs=None,
        random_state=0,
        verbose=False,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layers = layers
        self.adapter = adapter
        self.image_size = image_size
        self.resize = resize
        self.precision = precision
        self.batch_size = batch_size
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.n_neighbors = n_neighbors
        self.image_score = image_score
        self.metric = metric
        self.fusion = fusion
        self.n_neighbor_pixels = n_neighbor_pixels
        self.n_centroids = n_centroids
        self.centroids_of = centroids_of
        self.smoothing = smoothing
        self.contamination = contamination
        self.pixel_contamination = pixel_contamination
        self.mask_false_alarm_rate = mask_false_alarm_rate
        self.n_threshold_images = n_threshold_images
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

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
        self.layers_ = self._chosen_layers(extractor)
        self._gallery = self._make_gallery(len(source))
        features = []
        for start, batch in extractor._batches(source):
            images = preprocess(batch, extractor.preprocessing_, extractor._device)
            pooled, maps = extractor._features_and_maps(images, self.layers_)
            features.append(pooled.cpu().numpy())
            self._gallery.add(start, maps)
        self._gallery.complete()
        scorer.set_params(n_neighbors=min(self.n_neighbors, len(source) - 1))
        return np.concatenate(features)

    def _chosen_layers(self, extractor):
        if self.layers is not None:
            if not len(self.layers):
                raise ValueError("SPADE: layers is empty; name at least one, or give None.")
            return list(dict.fromkeys(map(str, self.layers)))
        import torch

        how, stages, ends = extractor.preprocessing_, [], {}
        trial = torch.zeros((1, how.n_channels, how.image_size, how.image_size))
        for name in network_stages(extractor.network_):
            try:
                _, (one,) = extractor._features_and_maps(trial.to(extractor._device), [name])
            except ValueError:  # no map
                continue
            stages.append(name)
            ends[tuple(one.shape[-2:])] = name
        if not stages:
            network = type(extractor.network_).__name__
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
        how = extractor.preprocessing_
        for start, batch in extractor._batches(source):
            images = preprocess(batch, how, extractor._device)
            pooled, maps = extractor._features_and_maps(images, self.layers_)
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
