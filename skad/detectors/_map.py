"""MapDetector: where images are abnormal, by parts of the user's choice."""

from abc import abstractmethod
from functools import partial
from types import SimpleNamespace

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from .._compat import HasMethods
from .._fitting import parameters_of
from .._parameters import (
    ParameterGroup,
    changed,
    parameter,
)
from .._regions import regions_below
from .._types import Images, Maps
from ..images._arrays import ImageArray
from ..maps import BaseGallery, RetrievedPixels
from ..maps._maps import lay_over, smooth
from ..parallel._backend import inside_a_worker
from ..parallel._spread import spread
from ..scorers import KNNScorer
from ..streams._mixins import MapStreamMixin
from ._base import BaseImageDetector
from ._image import BaseComposedDetector
from ._looking import Looking, as_they_are, features_and_maps
from ._map_checks import check_image_score, check_neighbors
from ._map_layers import map_layers
from ._map_parameters import MapParameters
from ._map_values import lowest_values, n_to_draw, pixel_threshold, score_of_map

# The picture of the paper, in whose pixels `smoothing` is told.
_PICTURE = 224


class BaseMapDetector(MapStreamMixin, MapParameters, BaseImageDetector):
    """Images to score maps; subclasses give `_make_steps()` and `_make_gallery()`."""

    # Layers before the last whose maps are compared, where nothing is said.
    _n_layers = 3

    # How often the gallery looks at each training image, see `_looks`.
    _n_looks = 1

    @abstractmethod
    def _make_gallery(self):
        """What pixels are compared with, unfitted."""

    def _training_features(self, source, first, scorer):
        """Pooled features of the training images; their maps go into the gallery."""
        owner = type(self).__name__
        gallery = self._make_gallery()
        check_image_score(owner, self.image_score, gallery)
        if isinstance(gallery, BaseGallery) and not get_config()["skip_parameter_validation"]:
            gallery._validate_params()
        self._n_neighbors = getattr(scorer, "n_neighbors", None)  # as asked for
        check_neighbors(owner, scorer, gallery, len(source))
        extractor = getattr(first, "extractor_", first)
        self.layers_ = map_layers(extractor.fitted_network_, self.layers, self._n_layers, owner)
        kept = self._kept(source)
        self.gallery_ = gallery.begin(len(kept) * self._n_looks, owner)
        features = self._fill_gallery(kept, extractor)
        return features if kept is source else extractor.compute(source)

    def _fill_gallery(self, source, extractor, n_before=0):
        """Pooled features of images, whose maps go into the gallery behind those before."""
        features, looking = [], Looking(extractor, self.layers_, self._looks())
        for looks in spread(looking, "looks_at_block", source, extractor.together):
            for index, pooled, maps in looks:
                if index == 0:
                    features.append(pooled.cpu().numpy())
                self.gallery_.add(n_before, maps)
                n_before += len(pooled)
        self.gallery_.complete()
        return np.concatenate(features)

    def _kept(self, source):
        """Those of the training images whose maps go into the gallery."""
        return source

    def _looks(self):
        """What gives prepared training images as the gallery sees them, first as they are."""
        return as_they_are

    def _finish(self, source):
        """Thresholds from maps of training images."""
        (_, first), (_, scorer) = self.pipeline_.steps
        vars(self).pop("adapter_", None)
        if hasattr(first, "extractor_"):  # whose own output may be other than the features
            self.adapter_ = first
            self.pipeline_ = Pipeline([("extractor", first.extractor_), ("scorer", scorer)])
        self._fitted = parameters_of(self)
        rng = check_random_state(self.random_state)
        drawn = np.sort(rng.permutation(len(source))[: n_to_draw(self._fitted)])
        self._take_thresholds(self._lowest_values(source, drawn))
        if self.image_score == "peak":
            self.offset_ = self._offset(self._peaks(source.take(drawn)))

    def _lowest_values(self, source, drawn, n_before=0):
        """Values of the maps of training images, drawn of those that `n_before` came before."""
        features = None
        if self.gallery_.retrieves:
            features = self.pipeline_["scorer"].gallery_[n_before + drawn]
        maps = self._maps_here(source.take(drawn), features=features)
        given = self._fitted
        return [np.r_[score_of_map(one, given), lowest_values(one, given)] for one in maps]

    def _take_thresholds(self, values):
        """Thresholds by the scores and lowest values of the maps of training images."""
        values = np.stack(values)
        if self._fitted.image_score in ("map", "top"):
            self.offset_ = self._offset(values[:, 0], self._fitted.contamination)
        self.pixel_offset_ = pixel_threshold(values[:, 1:], self._fitted)
        vars(self).pop("_threshold_rows", None)
        if hasattr(self.gallery_, "extended"):
            self._threshold_rows = values  # to be joined by those of further images

    def _obstacle_to_extending(self):
        fitted = hasattr(self, "gallery_")
        gallery = self.gallery_ if fitted else self._make_gallery()
        if not hasattr(gallery, "extended"):
            return (
                f"no partial_fit with {type(gallery).__name__}, since the pixels behind what it "
                "keeps are gone. Compare with RetrievedPixels() or RetrievedCentroids() (for SPADE "
                'n_centroids=None or centroids_of="each"), or fit to all images.'
            )
        if fitted and not hasattr(self, "_threshold_rows"):
            return (
                "no partial_fit, since an earlier skad fitted it, which did not keep what the "
                "threshold of pixels is taken from. Fit anew, to all images."
            )
        return super()._obstacle_to_extending()

    def _further_features(self, source, first):
        n_before = self.gallery_.n_images_
        self.gallery_ = self.gallery_.extended(len(source))
        return self._fill_gallery(source, first, n_before)

    def _ready(self, scorer, n_images):
        """Have a scorer retrieve as many images as it was asked to, now that there are more."""
        if not isinstance(scorer, KNNScorer):
            return
        n_neighbors = min(self._n_neighbors, self.gallery_.n_images_ - 1)
        scorer.set_params(n_neighbors=n_neighbors)
        scorer._fitted = SimpleNamespace(**vars(scorer._fitted) | {"n_neighbors": n_neighbors})

    def _finish_further(self, source):
        """Thresholds from maps drawn of all images; those of earlier ones stay as they were."""
        n_before = self.gallery_.n_images_ - len(source)
        rng = check_random_state(self._fitted.random_state)
        drawn = rng.permutation(self.gallery_.n_images_)[: n_to_draw(self._fitted)]
        new = np.sort(drawn[drawn >= n_before]) - n_before
        # Any earlier images will do, as those that are kept were drawn, too.
        kept = np.sort(rng.permutation(len(self._threshold_rows))[: len(drawn) - len(new)])
        values = self._lowest_values(source, new, n_before) if len(new) else []
        self._take_thresholds([*self._threshold_rows[kept], *values])

    def _scores_here(self, source):
        if self._fitted.image_score == "features":
            return super()._scores_here(source)
        if self._fitted.image_score == "peak":
            return self._peaks(source)
        return np.array([score_of_map(one, self._fitted) for one in self._maps_here(source)])

    def _peaks(self, source):
        """Negative weighted distance of the farthest pixel of each image."""
        extractor, found = self.pipeline_[0], []
        fitted = extractor.fitted_network_
        found_in = partial(features_and_maps, self.layers_)
        for *_, (_, maps) in fitted.each(extractor.batches(source), found_in):
            maps = [one.to(fitted.device) for one in maps]
            found.append(-self.gallery_.peaks(maps).cpu().numpy().astype(np.float64))
        return np.concatenate(found)

    def score_maps(self, X: Images) -> Maps:
        """Score each pixel, high = normal.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        maps : ndarray of float32, shape (n_images, height, width), or list of ndarray
            Negative distances, at the resolution of each image. One array if `X` is one array or
            tensor of images, or flat rows; for lists, paths, columns and data sets a list, even
            of maps of one size. With ``on_error="skip"`` the map of an image that could not be read
            is NaN, one pixel if its size is unknown.
        """
        source = self._source_to_score(X)
        return self._collect(source, self._maps(source))

    def _maps_of(self, images):
        source = self._source_to_score(images)
        yield from self._maps(source)
        source.failures.warn(type(self).__name__, len(source))

    def predict_masks(self, X: Images) -> Maps:
        """Mark the pixels that are defects.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        masks : ndarray of bool, shape (n_images, height, width), or list of ndarray
            True where `score_maps` is below `pixel_offset_`, and everywhere in images that could
            not be read. One array exactly where `score_maps` is one: if `X` is one array or tensor.
        """
        source = self._source_to_score(X)
        return self._collect(source, (~(one >= self.pixel_offset_) for one in self._maps(source)))

    def predict_regions(self, X: Images) -> dict[str, np.ndarray]:
        """List the regions that are defects.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        table : dict of str to ndarray of shape (n_regions,)
            One row for each region, in the order of images. A region is a set of pixels below
            `pixel_offset_` that touch at a side or a corner. The columns are ``image``,
            ``region``, ``area``, ``top``, ``left``, ``bottom``, ``right``, ``mean_score`` and
            ``lowest_score``, as in :func:`skad.metrics.region_table`. An image that could not be
            read is one region with NaN scores.

        See Also
        --------
        skad.ConformalMapDetector : The same table with p-values.
        """
        source = self._source_to_score(X)
        table = self._region_table(self._maps(source))
        source.failures.warn(type(self).__name__, len(source))
        return table

    def _region_table(self, maps):
        """What `predict_regions` gives, of maps that are known."""
        return regions_below(self.pixel_offset_, maps)

    def _collect(self, source, maps):
        """One array where all images are of one shape by their container, else a list."""
        maps = np.stack(list(maps)) if isinstance(source, ImageArray) else list(maps)
        source.failures.warn(type(self).__name__, len(source))
        return maps

    def _maps(self, source):
        """Score map of each image, one after another."""
        for maps in spread(self, "_maps_of_block", source, self.pipeline_[0].together):
            yield from maps

    def _maps_of_block(self, source):
        """The same as a list, of an image source that is a block of a larger one."""
        maps = self._maps_here(source)
        return list(maps) if inside_a_worker() else maps

    def _maps_here(self, source, features=None):
        """The same, by this process alone; `features` are pooled ones if known."""
        extractor, scorer = (step for _, step in self.pipeline_.steps)
        fitted, preprocessing = extractor.fitted_network_, extractor.preprocessing_
        size = preprocessing.image_size
        found_in = partial(features_and_maps, self.layers_)
        for start, batch, (pooled, maps) in fitted.each(extractor.batches(source), found_in):
            maps = [one.to(fitted.device) for one in maps]
            retrieved = None
            if self.gallery_.retrieves:
                # `features` are to the bit those of the gallery, so that each is left out.
                known = features is not None
                rows = features[start : start + len(batch)] if known else pooled.cpu().numpy()
                _, retrieved = scorer.kneighbors(rows)
            sigma = self._fitted.smoothing * size / _PICTURE
            layers = [smooth(d, size, sigma) for d in self.gallery_.distances(maps, retrieved)]
            squares = zip(batch.sizes, sum(layers) / -len(layers))
            for index, (sides, square) in enumerate(squares, start):
                unreadable = source.failures.has(source.index(index))
                square = square.fill_(np.nan) if unreadable else square
                yield lay_over(square, sides, preprocessing).cpu().numpy()


class MapPartParameters(ParameterGroup):
    """A fourth part."""

    gallery: object = parameter(
        default=None,
        limits=[HasMethods(["begin", "add", "complete", "distances"]), None],
        kind="gallery",
        kw_only=False,
        text="What pixels are compared with: a gallery of ``skad.maps``. By default "
        "``RetrievedPixels()``: all pixels of the training images that the scorer finds "
        "nearest.",
    )


class MapDetector(MapPartParameters, BaseComposedDetector, BaseMapDetector):
    """Detector of images and pixels, made of parts of your choice.

    It extends :class:`~skad.ImageDetector`: the maps of some layers of the network are compared
    with a gallery of pixels of normal images. An image as a whole is scored by the scorer, on the
    features of the network, or by its map. :class:`~skad.SPADE` is made of such parts.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted extractor ("extractor"), with a trained network if there is an adapter, and the
        scorer ("scorer").

    See Also
    --------
    skad.ImageDetector : Without maps.
    skad.SPADE : The paper's composition.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import FeatureExtractor, GaussianScorer, MapDetector
    >>> from skad.maps import CentroidPixels
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = MapDetector(
    ...     FeatureExtractor(resize="whole"),
    ...     scorer=GaussianScorer(),
    ...     gallery=CentroidPixels(n_centroids=30),
    ... )
    >>> detector.fit(tiles[:30]).score_maps(tiles[30:]).shape
    (10, 80, 80)
    """

    scorer: object = changed(
        default=None, note='Here by default ``KNNScorer(metric="euclidean", aggregation="mean")``.'
    )
    contamination: str | float = changed(
        default="auto", note="For scores by features the scorer's own `contamination` applies."
    )

    def _default_scorer(self):
        return KNNScorer(metric="euclidean", aggregation="mean")

    def _make_gallery(self):
        return RetrievedPixels() if self.gallery is None else clone(self.gallery)
