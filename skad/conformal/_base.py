"""What decides by calibration has in common: images put aside, and a detector trained on others."""

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from .._compat import params_of_rows, safe_indexing
from .._decision import DecisionMixin


class BaseConformal(MetaEstimatorMixin, DecisionMixin, BaseEstimator):
    """Wraps a `detector`; subclasses set `detectors_`."""

    def _put_aside(self, n_samples):
        """Places of the images that calibrate, and don't train, in the order they are drawn in."""
        order = check_random_state(self.random_state).permutation(n_samples)
        n_calibration = round(self.calibration_share * n_samples)
        if self.calibration_share < 1:  # rounding must not leave nothing to train on
            n_calibration = min(n_calibration, n_samples - 1)
        return order[:n_calibration]

    def _params_for_detector(self, fit_params):
        """Those keywords of `fit` that are for the detector: all, unless it asks for its own."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", **fit_params).detector.fit
        return fit_params

    def _train(self, X, rows, fit_params):
        """A clone of the detector, trained on some rows; on none it must be fitted already."""
        detector = clone(self.detector)
        if len(rows):
            fit_params = params_of_rows(X, fit_params, rows)
            return detector.fit(safe_indexing(X, rows), None, **fit_params)
        try:
            check_is_fitted(detector)
        except NotFittedError as error:
            name = type(self).__name__
            raise ValueError(
                f"{name}: calibration_share={self.calibration_share} leaves no image"
                " to train on. Lower it, or give a fitted detector: "
                f"{name}(FrozenEstimator(detector), calibration_share=1.0)."
            ) from error
        return detector

    @property
    def n_features_in_(self) -> int:
        """Number of features, if the detector has it."""
        return self.detectors_[0].n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns, if the detector has them."""
        return self.detectors_[0].feature_names_in_

    def get_metadata_routing(self) -> object:
        """Say that `fit` and `fit_predict` pass metadata on to `fit` of the detector.

        Returns
        -------
        routing : sklearn.utils.metadata_routing.MetadataRouter
            Says which keywords go where.
        """
        mapping = MethodMapping()
        mapping.add(caller="fit", callee="fit").add(caller="fit_predict", callee="fit")
        return MetadataRouter(owner=self).add(detector=self.detector, method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.detector)
        tags.input_tags = inner.input_tags
        tags.non_deterministic = inner.non_deterministic
        return tags
