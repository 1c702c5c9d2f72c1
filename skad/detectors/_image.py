"""ImageDetector: an extractor, an adapter and a scorer of the user's choice."""

from inspect import signature
from typing import Self

from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from .._compat import HasMethods, fit_context
from .._parameters import changed
from .._types import Images, Labels
from ..scorers import KNNScorer
from ..training._parameters import AdapterParameters, ExtractorParameters
from ._base import BaseImageDetector, ScorerParameters, composed


class PartParameters(ScorerParameters, AdapterParameters, ExtractorParameters):
    """Three parts."""

    extractor: object = changed(
        default=None, note="By default the adapter's, or ``FeatureExtractor()``."
    )
    scorer: object = changed(
        default=None,
        limits=[HasMethods(["fit", "score_samples"]), None],
        kind="scorer or outlier detector",
        kw_only=False,
        note="A scorer of skad, or an outlier detector of scikit-learn; by default "
        "``KNNScorer()``.",
    )


class BaseComposedDetector(PartParameters, BaseImageDetector):
    """A detector whose parts are its parameters."""

    # The parts have parameters of their own to validate.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None, **fit_params: object) -> Self:
        """Learn what normal images look like.

        Parameters
        ----------
        X : images
            Normal images in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out, so that a search over labelled images may
            refit on all of them.
        **fit_params : dict
            Passed on to the adapter's `fit`, such as ``X_outliers``. With metadata routing enabled,
            the adapter must request it: ``set_fit_request(X_outliers=True)``.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient of a training is not finite.
        """
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **fit_params)
            fit_params = {} if self.adapter is None else routed.adapter.fit
        return self._fit(X, y, **self._auxiliary(fit_params))

    def _auxiliary(self, given):
        """Keywords of the adapter's `fit` beside images and labels, with their defaults."""
        known = {}
        if self.adapter is not None:
            others = list(signature(self.adapter.fit).parameters.values())[2:]
            known = {one.name: one.default for one in others}
        unknown = [name for name in given if name not in known]
        if unknown:
            adapter = "no adapter" if self.adapter is None else type(self.adapter).__name__
            raise TypeError(
                f"{type(self).__name__}: fit got {', '.join(unknown)}, which is not for images or "
                f"labels, and {adapter} takes {', '.join(known) or 'nothing else'}."
            )
        return known | given

    def _make_steps(self):
        scorer = self._default_scorer() if self.scorer is None else self.scorer
        return composed(type(self).__name__, self.extractor, self.adapter, scorer)

    def _default_scorer(self):
        return KNNScorer()

    def get_metadata_routing(self) -> object:
        """Say that keywords of `fit` go to the adapter.

        Returns
        -------
        routing : sklearn.utils.metadata_routing.MetadataRouter
            Says which keywords go where.
        """
        router = MetadataRouter(owner=type(self).__name__)
        if self.adapter is not None:
            fit = MethodMapping().add(caller="fit", callee="fit")
            router.add(adapter=self.adapter, method_mapping=fit)
        return router


class ImageDetector(BaseComposedDetector):
    """Detector made of an extractor, an adapter and a scorer of your choice.

    The extractor turns images into features. The adapter, if there is one, first trains the network
    on the normal images. The scorer tells how far features are from those of normal images. The
    papers' detectors are made of such parts: ``MSC()`` is ``ImageDetector(FeatureExtractor(),
    MeanShiftedContrastive(), KNNScorer())``. A search names the parameters of parts as
    scikit-learn does: ``scorer__n_neighbors``.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted extractor ("extractor") or adapter ("adapter"), and the scorer ("scorer").

    See Also
    --------
    skad.MapDetector : Where in the images anomalies are.
    skad.DN2 : No training, nearest neighbours.
    skad.MSC : Contrastive training, nearest neighbours.

    Notes
    -----
    Compared with ``make_pipeline(adapter, scorer)``, images are validated once, and the scorer is
    told about its features, such as the widths of layers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skad import FeatureExtractor, ImageDetector, KNNScorer, OneClassKFold, auroc_scorer
    >>> digits, labels = load_digits(return_X_y=True)
    >>> y = labels[:300] == 0  # the other digits are the anomalies
    >>> search = GridSearchCV(
    ...     ImageDetector(FeatureExtractor(image_size=32), scorer=KNNScorer()),
    ...     {"extractor__resize": ["crop", "whole"], "scorer__n_neighbors": [1, 2]},
    ...     scoring=auroc_scorer,
    ...     cv=OneClassKFold(2),
    ... )
    >>> bool(search.fit(digits[:300], y * 2 - 1).best_score_ > 0.9)
    True
    """
