"""ImageDetector and MapDetector: the papers' detectors by hand, and what their parts may be."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from skad import (
    DN2,
    MSC,
    NSA,
    PANDA,
    PANDAOE,
    SPADE,
    AutoencoderAdapter,
    CentroidScorer,
    CompactnessAdapter,
    ConformalDetector,
    DeepSVDD,
    DeepSVDDAdapter,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    ImageDetector,
    KNNScorer,
    LogitScorer,
    MapDetector,
    MeanShiftedContrastive,
    OneClassKFold,
    OutlierExposureAdapter,
    SelfSupervisedAdapter,
    auroc_scorer,
)
from skad.maps import BaseGallery, CentroidPixels, RetrievedCentroids, RetrievedPixels
from tests.instances import CODER, SMALL, SMALLEST

DIGITS, LABELS = load_digits(return_X_y=True)
ZEROS, OTHERS = DIGITS[LABELS == 0][:40], DIGITS[LABELS > 0][:30]
EXTRACTOR = FeatureExtractor(**SMALL)
WHOLE = FeatureExtractor(**SMALLEST, resize="whole")
NEAREST = KNNScorer(4, metric="euclidean", aggregation="mean")
HEADS = {"projector_widths": [8, 8], "predictor_widths": [4]}
FEW = {"n_threshold_images": 3}

BY_HAND = {
    "DN2": (DN2(**SMALL), ImageDetector(EXTRACTOR)),
    "PANDA": (
        PANDA(**SMALL, n_steps=3),
        ImageDetector(
            FeatureExtractor(**SMALL, batch_size=32),  # the last bits depend on it
            CompactnessAdapter(n_steps=3),
            KNNScorer(metric="euclidean"),
        ),
    ),
    "MSC": (MSC(**SMALL, n_steps=2), ImageDetector(EXTRACTOR, MeanShiftedContrastive(n_steps=2))),
    "DeepSVDD": (
        DeepSVDD(**CODER, n_pretraining_epochs=1, n_epochs=1),
        ImageDetector(
            FeatureExtractor(**CODER, contrast_normalization=True),
            DeepSVDDAdapter(
                AutoencoderAdapter(n_epochs=1, decay_at=5 / 7, weight_decay=5e-7), n_epochs=1
            ),
            CentroidScorer("squared_euclidean", center="origin"),
        ),
    ),
    "NSA, its ensemble": (
        NSA(**SMALLEST, n_steps=2, scorer="ensemble", **HEADS),
        ImageDetector(
            FeatureExtractor(**SMALLEST),
            SelfSupervisedAdapter(n_steps=2, layers="ensemble", **HEADS),
            EnsembleScorer("ens"),
        ),
    ),
    "SPADE": (SPADE(**SMALLEST, n_neighbors=4, **FEW), MapDetector(WHOLE, None, NEAREST, **FEW)),
    "SPADE by centroids": (
        SPADE(**SMALLEST, n_neighbors=4, n_centroids=5, fusion="per_layer", **FEW),
        MapDetector(WHOLE, None, NEAREST, CentroidPixels(n_centroids=5, fusion="per_layer"), **FEW),
    ),
    "SPADE, trained": (
        SPADE(
            **SMALLEST,
            n_neighbors=4,
            n_centroids=3,
            centroids_of="each",
            adapter=MeanShiftedContrastive(n_steps=2),
            image_score="map",
            **FEW,
        ),
        MapDetector(
            WHOLE,
            MeanShiftedContrastive(n_steps=2),
            NEAREST,
            RetrievedCentroids(n_centroids=3),
            image_score="map",
            **FEW,
        ),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_papers_detectors_are_compositions(name):
    papers, composed = (clone(one).fit(ZEROS) for one in BY_HAND[name])
    assert papers.offset_ == composed.offset_
    np.testing.assert_array_equal(papers.score_samples(OTHERS), composed.score_samples(OTHERS))
    if name.startswith("SPADE"):
        assert papers.pixel_offset_ == composed.pixel_offset_
        np.testing.assert_array_equal(papers.score_maps(OTHERS), composed.score_maps(OTHERS))


def test_parts_are_searched_by_nested_names():
    rows, y = np.concatenate([ZEROS, OTHERS]), np.repeat([1, -1], [len(ZEROS), len(OTHERS)])
    search = GridSearchCV(
        ImageDetector(EXTRACTOR, MeanShiftedContrastive(), KNNScorer()),
        {"adapter__n_steps": [1, 2], "scorer": [KNNScorer(1), GaussianScorer()]},
        scoring=auroc_scorer,
        cv=OneClassKFold(2),
    ).fit(rows, y)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.adapter.n_steps == search.best_params_["adapter__n_steps"]


def test_parts_that_were_given_stay_unfitted():
    adapter, scorer = MeanShiftedContrastive(n_steps=1), KNNScorer()
    detector = ImageDetector(EXTRACTOR, adapter, scorer).fit(ZEROS)
    assert adapter.extractor is None
    assert not hasattr(scorer, "offset_")
    assert not hasattr(EXTRACTOR, "fitted_network_")
    assert list(detector.pipeline_.named_steps) == ["adapter", "scorer"]
    assert detector.training_curve_["step"][-1] == 1


OUTLIERS = ImageDetector(EXTRACTOR, OutlierExposureAdapter(n_steps=2), LogitScorer())


def test_further_images_go_to_the_adapter():
    papers = PANDAOE(**SMALL, n_steps=2).fit(ZEROS, X_outliers=OTHERS)
    composed = clone(OUTLIERS).fit(ZEROS, X_outliers=OTHERS)
    np.testing.assert_array_equal(papers.score_samples(OTHERS), composed.score_samples(OTHERS))
    with config_context(enable_metadata_routing=True):
        asking = clone(OUTLIERS)
        asking.adapter.set_fit_request(X_outliers=True)
        routed = clone(asking).fit(ZEROS, X_outliers=OTHERS)
        np.testing.assert_array_equal(papers.score_samples(OTHERS), routed.score_samples(OTHERS))
        calibrated = ConformalDetector(asking, false_alarm_rate=0.2, calibration_share=0.5)
        calibrated.fit(ZEROS, X_outliers=OTHERS)
        ImageDetector(EXTRACTOR).fit(ZEROS)


def test_further_images_that_nobody_takes():
    with pytest.raises(TypeError, match="fit got X_outliers, .*MeanShiftedContrastive takes noth"):
        ImageDetector(EXTRACTOR, MeanShiftedContrastive()).fit(ZEROS, X_outliers=OTHERS)
    with pytest.raises(TypeError, match="MapDetector: fit got X_outliers.*no adapter"):
        MapDetector(WHOLE).fit(ZEROS, X_outliers=OTHERS)
    with pytest.raises(ValueError, match="outlier images are missing"):
        clone(OUTLIERS).fit(ZEROS)


def test_a_frozen_adapter_is_not_trained_again():
    adapter = MeanShiftedContrastive(EXTRACTOR, n_steps=2).fit(ZEROS)
    detector = ImageDetector(FrozenEstimator(adapter)).fit(ZEROS)
    expected = KNNScorer().fit(adapter.transform(ZEROS)).score_samples(adapter.transform(OTHERS))
    np.testing.assert_array_equal(detector.score_samples(OTHERS), expected)
    maps = MapDetector(FrozenEstimator(adapter), **FEW).fit(ZEROS)
    assert maps.score_maps(OTHERS).shape == (len(OTHERS), 8, 8)


def test_outlier_detectors_of_scikit_learn_are_scorers():
    forest = IsolationForest(random_state=0)
    detector = ImageDetector(EXTRACTOR, scorer=forest).fit(ZEROS)
    features = clone(EXTRACTOR).fit(ZEROS)
    forest.fit(features.transform(ZEROS))
    found = detector.decision_function(OTHERS)
    np.testing.assert_array_equal(found, forest.decision_function(features.transform(OTHERS)))
    assert detector.offset_ == forest.offset_


def test_ensembles_learn_the_widths_of_layers():
    extractor = clone(EXTRACTOR).set_params(layers=["layer1", "layer2"])
    detector = ImageDetector(extractor, scorer=EnsembleScorer()).fit(ZEROS)
    fitted, scorer = (step for _, step in detector.pipeline_.steps)
    assert list(scorer.tap_widths) == fitted.tap_widths_


@pytest.mark.parametrize("layers", [["layer1", "layer3"], ["layer3", "layer1"]])
def test_layers_of_the_extractor_are_those_of_the_maps(layers):
    extractor = FeatureExtractor(**SMALL, layers=layers)
    detector = MapDetector(extractor, **FEW).fit(ZEROS)
    assert detector.layers_ == layers
    named = MapDetector(FeatureExtractor(**SMALL), layers=layers, **FEW).fit(ZEROS)
    own = clone(extractor).fit(ZEROS)
    expected = KNNScorer(metric="euclidean", aggregation="mean").fit(own.transform(ZEROS))
    found = detector.score_samples(OTHERS)
    np.testing.assert_allclose(found, expected.score_samples(own.transform(OTHERS)), rtol=1e-5)
    assert named.gallery_.store_.shapes == detector.gallery_.store_.shapes


class NearestMean(BaseGallery):
    """The mean pixel of all images."""

    retrieves = False

    def begin(self, n_images, owner):
        self.sum_, self.count_ = 0, 0
        return super().begin(n_images, owner)

    def add(self, start, maps):
        (one,) = self._fused(maps)
        self.sum_ = self.sum_ + one.mean((2, 3)).sum(0)
        self.count_ += len(one)

    def distances(self, maps, retrieved):
        assert retrieved is None
        (one,) = self._fused(maps)
        return [(one - (self.sum_ / self.count_)[:, None, None]).square().sum(1).sqrt()]


def test_a_gallery_of_ones_own():
    detector = MapDetector(WHOLE, scorer=GaussianScorer(), gallery=NearestMean(), **FEW).fit(ZEROS)
    assert detector.score_maps(OTHERS).shape == (len(OTHERS), 8, 8)
    assert detector.gallery_.count_ == len(ZEROS)
    assert np.isfinite(detector.pixel_offset_)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (
            ImageDetector(EXTRACTOR, MeanShiftedContrastive(FeatureExtractor())),
            "ImageDetector: adapter has an extractor of its own, FeatureExtractor; leave it None",
        ),
        (MapDetector(WHOLE, scorer=GaussianScorer()), "MapDetector: .*must be a KNNScorer; got a"),
        (MapDetector(WHOLE, layers=[]), "MapDetector: layers is empty"),
        (ImageDetector(scorer=EXTRACTOR), "The 'scorer' parameter of ImageDetector must be"),
        (ImageDetector(KNNScorer()), "The 'extractor' parameter of ImageDetector must be"),
        (ImageDetector(EXTRACTOR, scorer=KNNScorer(0)), "'n_neighbors' parameter of KNNScorer"),
        (MapDetector(WHOLE, gallery=KNNScorer()), "The 'gallery' parameter of MapDetector must be"),
        (
            MapDetector(WHOLE, gallery=RetrievedPixels(n_neighbor_pixels=0)),
            "'n_neighbor_pixels' parameter of RetrievedPixels",
        ),
    ],
)
def test_parts_that_do_not_fit(detector, message):
    with pytest.raises((ValueError, TypeError), match=message):
        detector.fit(ZEROS)
    assert not hasattr(detector, "pipeline_")
