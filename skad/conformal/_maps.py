"""ConformalMapDetector: where images are abnormal, at a false-alarm rate that was asked for."""

from itertools import count
from numbers import Real
from typing import Self

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, Interval, fit_context, safe_indexing
from .._fitting import parameters_of, unchanged_on_error
from .._labels import normal_rows
from .._regions import regions_below
from .._types import Images, Labels, Maps, RandomState
from ..streams._mixins import MapStreamMixin, ScoreStreamMixin
from ._base import BaseConformal
from ._ranks import discoveries, fewest_to_alarm, p_values_of, whole_part

# Calibration images whose maps are in memory together.
_TOGETHER = 16

# The threshold of regions is set by one in so many of the calibration images, and no more than so
# many of them; by so many values of each, so that memory is bounded and each image counts alike.
_ONE_IN, _MOST, _VALUES = 5, 20, 2**12 + 1


class ConformalMapDetector(MapStreamMixin, ScoreStreamMixin, BaseConformal):
    r"""Detector of defects in images, with a guaranteed rate of false alarms over whole images.

    It wraps a detector with score maps and calibrates it: normal images that the detector was not
    trained on show how low the lowest pixel of a normal image scores. The p-value of a pixel x of a
    new image is the rank of its score s among these lowest scores,

    .. math:: p(x) = \frac{1 + \#\{i : \min_{x'} s_i(x') \le s(x)\}}{1 + n}

    so it accounts for the number of pixels that were looked at. A pixel is a defect if :math:`p
    \le` `false_alarm_rate`, and an image is an anomaly if any of its pixels is a defect.

    A large but faint defect may have no pixel as low as that. `predict_regions` finds it as a
    region of touching pixels below a looser threshold u, by its mass

    .. math:: M = \sum_{x \in \mathrm{region}} (u - s(x)),

    which is ranked among the largest masses of the calibration images.

    Parameters
    ----------
    detector : estimator
        Any detector with `score_maps`, high = normal, such as :class:`~skad.PatchCore`. A clone of
        it is fitted.
    false_alarm_rate : float in (0, 1), default=0.05
        Share :math:`\alpha` of normal images in which any pixel may be called a defect. (0.05 is
        convention.)
    region_threshold : float in (0, 0.5], default=0.01
        Share of the pixels of normal images below the looser threshold of regions (0.01 is usual
        in neuroimaging). It affects which defects are found, not the rate of false alarms.
    calibration_share : float in (0, 1], default=0.25
        Share of the images set aside for calibration (0.25 as in scikit-learn's
        ``train_test_split``). 1.0 is for a fitted detector in a
        :class:`~sklearn.frozen.FrozenEstimator`: all of `X` calibrates it, and must be new to it.
    random_state : int, RandomState instance or None, default=0
        Seeds the choice of the images set aside. The detector has its own random state.

    Attributes
    ----------
    detectors_ : list of estimator
        The fitted detector, the only one.
    calibration_scores_ : list of ndarray of float64
        For the detector, the score of the lowest pixel of each calibration image, lowest first.
    calibration_masses_ : ndarray of float64, shape (n_ranked,)
        Largest mass of a region in each calibration image, smallest first; 0 for an image without
        a region. Images that set `region_offset_` are not among them.
    pixel_offset_ : float
        Threshold on `score_maps`. A pixel is below it, and `predict_masks` is True, exactly if its
        value in `p_value_maps` is at most `false_alarm_rate`.
    offset_ : float
        The same threshold, on `score_samples`.
    region_offset_ : float
        The looser threshold u, below which pixels form regions.
    n_features_in_ : int
        Number of features, if the detector has it.
    feature_names_in_ : ndarray of str, shape (n_features,)
        Names of the columns, if the detector has them.

    See Also
    --------
    skad.ConformalDetector : By the score of an image as a whole, and for detectors without maps.
    skad.metrics.region_table : Regions of known defects.

    Notes
    -----
    **What is guaranteed.** Let a normal image to come and the calibration images be exchangeable
    (for example drawn from one source). Then, whatever the detector, the probability is at most
    :math:`\alpha` that

    - any of its pixels has :math:`p \le \alpha`, so that its mask is not empty and `predict` gives
      -1;
    - any of its regions has :math:`p \le \alpha`.

    Each statement holds by itself. If you look at both masks and regions, the rate is at most
    :math:`2 \alpha`. Pixels and regions of an image may depend on each other in any way, because
    only the extreme of each image is ranked. The probabilities are averages over calibration sets.
    For a single set of n images (not pixels) the rate deviates from :math:`\alpha` by about
    :math:`\sqrt{\alpha (1 - \alpha) / n}`. Nothing is guaranteed for the normal pixels of an image
    with a defect, but the same holds as far as the defect leaves their scores unchanged.

    **Which images set the threshold of regions.** A threshold from the images whose masses are
    ranked would depend on them but not on the new image, which would no longer be exchangeable with
    them. Training images score too high to set it. So one in five calibration images, at most 20,
    sets the threshold and is not ranked by regions. Ranks of pixels need no threshold and use all
    calibration images.

    **Why mass.** Area alone misses small, deep defects; the lowest score alone misses large, faint
    ones. Mass combines both in one number, so no correction for choosing between two is needed.
    Bullmore et al. compare clusters of brain images by it; Nichols and Holmes compare with the
    largest of each image. Very small, deep defects are found by pixels. (At a rate of 1 %, regions
    find 18 % of the magnetic tiles with a defect, and pixels 6 %: PatchCore with the embedded
    network, 64 pixels, calibrated on 250 tiles. Each finds 66 % of broken solar cells.)

    **What breaks it.** The same as with :class:`~skad.ConformalDetector`: neighbouring frames,
    crops of one photograph, images that took part in fitting anything. In addition, large images
    have lower extremes than small ones, so the sizes of new images must be distributed as those of
    the calibration images.

    References
    ----------
    Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", Springer 2005. Bullmore,
    Suckling, Overmeyer, Rabe-Hesketh, Taylor, Brammer, "Global, voxel, and cluster tests, by theory
    and permutation, for a difference between two groups of structural MR images of the brain", IEEE
    Transactions on Medical Imaging 18, 1999. Nichols, Holmes, "Nonparametric permutation tests for
    functional neuroimaging", Human Brain Mapping 15, 2002. Bates, Candès, Lei, Romano, Sesia,
    "Testing for outliers with conformal p-values", Annals of Statistics 51, 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import ConformalMapDetector, PatchCore
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> detector = ConformalMapDetector(
    ...     PatchCore(image_size=32), false_alarm_rate=0.2, calibration_share=0.5
    ... )
    >>> detector.fit(tiles).p_value_maps(tiles[:2]).shape
    (2, 80, 80)
    >>> spoilt = tiles[:1].copy()
    >>> spoilt[0, 20:50, 30:60] = [255, 0, 255]
    >>> detector.predict(spoilt)
    array([-1])
    >>> table = detector.predict_regions(spoilt)
    >>> print(table["p_value"].min().round(3))
    0.059
    """

    _parameter_constraints = {  # noqa: RUF012
        "detector": [HasMethods(["fit", "score_maps"])],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "region_threshold": [Interval(Real, 0, 0.5, closed="right")],
        "calibration_share": [Interval(Real, 0, 1, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detector: object,
        *,
        false_alarm_rate: float = 0.05,
        region_threshold: float = 0.01,
        calibration_share: float = 0.25,
        random_state: RandomState = 0,
    ) -> None:
        self.detector = detector
        self.false_alarm_rate = false_alarm_rate
        self.region_threshold = region_threshold
        self.calibration_share = calibration_share
        self.random_state = random_state

    # The wrapped detector has parameters of its own to validate.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None, **fit_params: object) -> Self:
        """Train on one part of the images and calibrate on another.

        A few numbers are kept of each calibration image, not its map.

        Parameters
        ----------
        X : images
            Normal images, in a container that the detector takes and that can be indexed.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out of both parts.
        **fit_params : dict
            Passed on to the detector's `fit`; see :class:`~skad.ConformalDetector`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If there are too few calibration images for `false_alarm_rate`; if labels are unknown;
            if a calibration image has no score, for example because it could not be read.
        """
        with unchanged_on_error(self):
            (X,) = indexable(X)
            fit_params = self._params_for_detector(fit_params)
            rows = normal_rows(X, y, owner=type(self).__name__)
            places = self._put_aside(len(rows))
            n_setting = self._check_enough(len(places), len(rows))
            self.detectors_ = [self._train(X, np.delete(rows, places), fit_params)]
            self._fitted = parameters_of(self)
            self._calibrate(X, rows[places[:n_setting]], rows[places[n_setting:]])
        return self

    def _check_enough(self, n_calibration, n_samples):
        """Refuse what can't raise an alarm, before training; else the number that set regions."""
        needed = fewest_to_alarm(self.false_alarm_rate)
        if n_calibration - _n_setting(n_calibration) < needed:
            enough = next(n for n in count(needed) if n - _n_setting(n) >= needed)
            raise ValueError(
                f"{type(self).__name__}: false_alarm_rate={self.false_alarm_rate} needs at least "
                f"{enough} calibration images, {needed} to rank regions among and "
                f"{enough - needed} to set their threshold, got {n_calibration}, of n_samples = "
                f"{n_samples} normal images. Give more images, a larger false_alarm_rate or a "
                "larger calibration_share."
            )
        return _n_setting(n_calibration)

    def _calibrate(self, X, setting, ranked):
        """Thresholds, and what new images are ranked among, by rows of calibration images."""
        lowest, values, masses = [], [], []
        for one in self._calibration_maps(X, setting):
            lowest.append(one.min())
            places = np.linspace(0, one.size - 1, _VALUES).round().astype(int)
            values.append(np.sort(one, axis=None)[places])
        # A score that there is, so that it means the same in float32 and in float64.
        self.region_offset_ = float(np.quantile(values, self.region_threshold, method="lower"))
        for one in self._calibration_maps(X, ranked):
            lowest.append(one.min())
            masses.append(max(self._regions([one])["mass"], default=0.0))
        lowest = np.sort(np.array(lowest, dtype=np.float64))
        self.calibration_scores_ = [lowest]
        self.calibration_masses_ = np.sort(np.array(masses, dtype=np.float64))
        rank = whole_part(self.false_alarm_rate, len(lowest) + 1)
        self.offset_ = self.pixel_offset_ = float(lowest[rank - 1])

    def _calibration_maps(self, X, rows):
        """The map of each of some rows, one after another."""
        rows = np.sort(rows)
        for first in range(0, len(rows), _TOGETHER):
            some = rows[first : first + _TOGETHER]
            maps = self.detectors_[0].score_maps(safe_indexing(X, some))
            yield from self._checked(maps, some)

    def _checked(self, maps, rows):
        """Maps as they are, if all have scores: NaN would pass for normal."""
        for row, one in zip(rows, maps):
            if np.isnan(one).any():
                raise ValueError(
                    f"{type(self).__name__}: the map of image {row} by "
                    f"{type(self.detectors_[0]).__name__} holds NaN, as if it could not be read; a "
                    "rank needs numbers. Leave the image out."
                )
        return maps

    def score_maps(self, X: Images) -> Maps:
        """Score each pixel by the detector, high = normal.

        Parameters
        ----------
        X : images
            In any container that the detector takes.

        Returns
        -------
        maps : ndarray of float, shape (n_images, height, width), or list of ndarray
            The detector's maps; those of skad are one array if `X` is one array or tensor, else a
            list. NaN for images that could not be read, if the detector has ``on_error="skip"``.
        """
        check_is_fitted(self)
        (detector,) = self.detectors_
        maps = detector.score_maps(X)
        skips = getattr(detector, "on_error", "raise") == "skip"
        return maps if skips else self._checked(maps, range(len(maps)))

    def p_value_maps(self, X: Images) -> Maps:
        r"""Compute the probability that any pixel of a normal image scores as low as each pixel.

        Parameters
        ----------
        X : images
            In any container that the detector takes.

        Returns
        -------
        maps : ndarray of float64, shape (n_images, height, width), or list of ndarray
            In (0, 1], and at least 1 / (n + 1) with n calibration images; NaN for images that could
            not be read. For the lowest p-value of a normal image, :math:`P(p \le \alpha) \le
            \alpha`. One array where `score_maps` is one, else a list.
        """
        known = self.score_maps(X)
        return _each(lambda one: p_values_of(self.calibration_scores_[0], one), known)

    def predict_masks(self, X: Images) -> Maps:
        """Mark the pixels that are defects.

        Parameters
        ----------
        X : images
            In any container that the detector takes.

        Returns
        -------
        masks : ndarray of bool, shape (n_images, height, width), or list of ndarray
            True where `p_value_maps` is at most `false_alarm_rate`, and everywhere in images that
            could not be read. `predict` gives -1 for exactly those images with a True pixel. One
            array where `score_maps` is one, else a list.
        """
        return _each(lambda one: ~(one >= self.pixel_offset_), self.score_maps(X))

    def score_samples(self, X: Images) -> np.ndarray:
        """Score each image by its lowest pixel, high = normal.

        Parameters
        ----------
        X : images
            In any container that the detector takes.

        Returns
        -------
        scores : ndarray of float64, shape (n_images,)
            NaN for images that could not be read.
        """
        return np.array([one.min() for one in self.score_maps(X)], dtype=np.float64)

    def p_values(self, X: Images) -> np.ndarray:
        r"""Compute the probability that the lowest pixel of a normal image scores as low.

        Parameters
        ----------
        X : images
            In any container that the detector takes.

        Returns
        -------
        p_values : ndarray of float64, shape (n_images,)
            The lowest value of each map of `p_value_maps`. For a normal image :math:`P(p \le
            \alpha) \le \alpha`. NaN for images that could not be read.
        """
        return p_values_of(self.calibration_scores_[0], self.score_samples(X))

    def decide(self, X: Images) -> tuple[np.ndarray, np.ndarray]:
        """Compute decisions and p-values at once, scoring each image once.

        Parameters
        ----------
        X : images
            In any container that the detector takes.

        Returns
        -------
        scores : ndarray of float64, shape (n_images,)
            As `decision_function` returns them.
        p_values : ndarray of float64, shape (n_images,)
            As `p_values` returns them.
        """
        scores = self.score_samples(X)
        return scores - self.offset_, p_values_of(self.calibration_scores_[0], scores)

    def predict_regions(
        self, X: Images, *, false_discovery_rate: float | None = None
    ) -> dict[str, np.ndarray]:
        r"""List the regions that look odd, and tell which of them are defects.

        Parameters
        ----------
        X : images
            In any container that the detector takes.
        false_discovery_rate : float in (0, 1), optional
            Control false alarms over the batch instead of by `false_alarm_rate`: the expected
            share q of normal images among the images with a defect. See the notes.

        Returns
        -------
        table : dict of str to ndarray of shape (n_regions,)
            One row for each region, in the order of images. A region is a set of pixels below
            `region_offset_` that touch at a side or a corner. Columns ``image``, ``region``,
            ``area``, ``top``, ``left``, ``bottom``, ``right``, ``mean_score`` and ``lowest_score``
            are those of :func:`skad.metrics.region_table`. Further columns:

            - ``mass``: how far its pixels are below the threshold, summed;
            - ``p_value``: probability that any region of a normal image has as much mass;
            - ``defect``: whether the region is a defect.

            An image that could not be read is one region that is a defect, with NaN for numbers.

        Raises
        ------
        ValueError
            If `false_discovery_rate` is not in (0, 1).

        Notes
        -----
        With `false_discovery_rate`, the procedure of Benjamini and Hochberg is applied to images,
        by the lowest p-value of each (1 without a region). A region is a defect if its p-value is
        at most the largest p-value of an image found in this way. The guarantee is for images:
        their p-values depend on each other in a harmless way (Bates et al. 2023), so the expected
        share of normal images among those with a defect is at most q times the share of normal
        images in the batch. There is no such guarantee for regions, because the number of regions
        in an image depends on how odd it is.
        """
        return self._region_table(self.score_maps(X), false_discovery_rate)

    def _region_table(self, maps, false_discovery_rate=None):
        """What `predict_regions` gives, of maps that are known."""
        table = self._regions(maps)
        table["p_value"] = p_values_of(-self.calibration_masses_[::-1], -table["mass"])
        if false_discovery_rate is None:
            most = self._fitted.false_alarm_rate
        else:
            lowest = np.ones(len(maps))
            with np.errstate(invalid="ignore"):  # of images that could not be read
                np.minimum.at(lowest, table["image"], table["p_value"])
            found = discoveries(lowest, false_discovery_rate, type(self).__name__)
            most = np.max(lowest, where=found & ~np.isnan(lowest), initial=0.0)
        return table | {"defect": ~(table["p_value"] > most)}

    def _regions(self, maps):
        """Regions below the looser threshold, and the mass of each."""
        table = regions_below(self.region_offset_, maps)
        return table | {"mass": table["area"] * (self.region_offset_ - table["mean_score"])}


def _n_setting(n_calibration):
    """How many of the calibration images set the threshold of regions."""
    return min(_MOST, max(1, n_calibration // _ONE_IN))


def _each(change, maps):
    """Maps changed, in one array if they are."""
    return change(maps) if isinstance(maps, np.ndarray) else [change(one) for one in maps]
