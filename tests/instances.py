"""Every public estimator with small settings, and what scikit-learn may not expect of it."""

from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skad import (
    CLAD,
    DEC,
    DN2,
    MSC,
    NSA,
    PANDA,
    PANDAOE,
    SCAN,
    SPADE,
    AutoDetector,
    AutoencoderAdapter,
    CentroidScorer,
    CompactnessAdapter,
    ConfidenceScorer,
    ConformalDetector,
    ConformalMapDetector,
    DeepClustering,
    DeepSVDD,
    DeepSVDDAdapter,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    ImageDetector,
    JointOptimization,
    JointOptimizationAdapter,
    KDEScorer,
    KNNScorer,
    LogitScorer,
    MapDetector,
    MeanShiftedContrastive,
    OutlierExposureAdapter,
    PaDiM,
    PatchCore,
    PseudoLabelAdapter,
    RotationAdapter,
    RotationPrediction,
    SampleWiseScorer,
    SCANFeatures,
    SelfSupervisedAdapter,
    SklearnScorer,
    VICRegAdapter,
    Whitening,
)
from skad.backbones import clad_small, small_cnn, svdd_mnist
from skad.maps import CentroidPixels
from skad.model_selection import SyntheticAnomalies


class Factory(partial):
    """A partial function that shows no address, so that tests have the same names everywhere."""

    def __repr__(self):
        given = ", ".join(f"{name}={value!r}" for name, value in self.keywords.items())
        return f"{self.func.__name__}({given})"


# A network small enough to be trained in every one of scikit-learn's checks.
SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32}
SMALLEST = {"backbone": Factory(small_cnn, width=4, image_size=8), "weights": None}
CODER = {"backbone": Factory(svdd_mnist, n_channels=3, image_size=8), "weights": None}
CODER_WITH_POOLS = Factory(clad_small, n_channels=3, image_size=8, code_dim=2)
TWO = KMeans(2, n_init=1, random_state=0)
HEADS = {"projector_widths": [8, 8], "predictor_widths": [4]}


def other_rows(X):
    """Rows of one grey that is nowhere in X; for what is no numeric table, X itself."""
    table = np.asarray(X) if hasattr(X, "__array__") or isinstance(X, list) else X
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind not in "iufO":
        return X
    try:
        values = np.unique(table.astype(np.float64))
    except (TypeError, ValueError):
        return X
    if len(values) < 2 or not np.isfinite(values).all():
        return X
    widest = np.argmax(np.diff(values))
    return np.full(table.shape, values[widest : widest + 2].mean())


class WithOutliers:
    """scikit-learn's checks call fit(X, y): the images that are needed beside come from here."""

    def fit(self, X, y=None):
        return super().fit(X, y, X_outliers=other_rows(X))


class WithSource:
    def fit(self, X, y=None):
        others = other_rows(X)
        return super().fit(
            X,
            y,
            X_source=others,
            y_source=np.arange(len(others)) % 2 if hasattr(others, "__len__") else [0, 1],
        )


class CheckedPANDAOE(WithOutliers, PANDAOE):
    pass


class CheckedOutlierExposureAdapter(WithOutliers, OutlierExposureAdapter):
    pass


class CheckedJointOptimization(WithSource, JointOptimization):
    pass


class CheckedJointOptimizationAdapter(WithSource, JointOptimizationAdapter):
    pass


class CheckedCLAD(CLAD):
    """The checks ask for one cluster where images are few; a classifier needs two."""

    _parameter_constraints = {  # noqa: RUF012
        **CLAD._parameter_constraints,
        "n_clusters": DEC._parameter_constraints["n_clusters"],
    }

    def _make_steps(self):
        steps = super()._make_steps()
        steps[0][1].set_params(clusterer__n_clusters=2)
        return steps


INSTANCES = [
    FeatureExtractor(**SMALL, layers=["layer1", "layer4"], resize="crop"),
    KNNScorer(),
    KNNScorer(n_neighbors=1, metric="euclidean", aggregation="mean"),
    KNNScorer(n_neighbors=1, metric="angle", aggregation="kth"),
    KNNScorer(metric="mahalanobis"),
    KNNScorer(n_neighbors=1, metric="mahalanobis_cosine", shrinkage=0.5, local_scaling=0.5),
    KNNScorer(n_centroids=1),
    KNNScorer(index="ivf"),
    KNNScorer(index="hnsw"),
    CentroidScorer(),
    CentroidScorer("euclidean"),
    CentroidScorer("squared_euclidean", center="origin"),
    CentroidScorer("mahalanobis_cosine"),
    GaussianScorer(),
    GaussianScorer(n_components=1, shrinkage=0.0),
    GaussianScorer(n_clusters=1, covariance_type="full", normalize=True, log_likelihood=True),
    KDEScorer(),
    ConfidenceScorer(),
    EnsembleScorer(),
    EnsembleScorer("sum"),
    EnsembleScorer("mixed"),
    EnsembleScorer([CentroidScorer(), GaussianScorer()], scaling="quantile"),
    SklearnScorer(OneClassSVM()),
    SklearnScorer(IsolationForest(n_estimators=5, random_state=0)),
    SklearnScorer(LocalOutlierFactor(n_neighbors=5, novelty=True)),
    SklearnScorer(GaussianMixture(random_state=0)),
    SklearnScorer(EllipticEnvelope(random_state=0)),
    Whitening(),
    Whitening(n_components=0.9),
    Whitening(center=False, shrinkage=0.5),
    AutoDetector(
        [DN2(n_neighbors=1, **SMALLEST)],
        synthetic=SyntheticAnomalies(["stain"], per_image=1),
        n_splits=2,
    ),
    ConformalDetector(KNNScorer(1), false_alarm_rate=0.3, method="cross"),
    ConformalDetector(
        IsolationForest(n_estimators=10, random_state=0),
        false_alarm_rate=0.3,
        calibration_share=0.5,
    ),
    SampleWiseScorer(),
    SampleWiseScorer(distance="knn", n_neighbors=1),
    LogitScorer(),
    CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=3, stopping="sample_wise"),
    MeanShiftedContrastive(FeatureExtractor(**SMALL), n_steps=2),
    VICRegAdapter(FeatureExtractor(**SMALL), n_steps=2, projector_widths=[4, 4]),
    CheckedOutlierExposureAdapter(FeatureExtractor(**SMALL), n_steps=2),
    CheckedJointOptimizationAdapter(FeatureExtractor(**SMALL), n_steps=2, source_head="new"),
    SelfSupervisedAdapter(FeatureExtractor(**SMALLEST), n_steps=2, **HEADS),
    AutoencoderAdapter(FeatureExtractor(**CODER), n_steps=2),
    DeepSVDDAdapter(FeatureExtractor(**CODER), n_steps=2, objective="soft_boundary"),
    RotationAdapter(FeatureExtractor(**SMALLEST), n_steps=2),
    DEC(
        AutoencoderAdapter(FeatureExtractor(CODER_WITH_POOLS, weights=None), n_steps=2),
        n_clusters=2,
        n_steps=2,
    ),
    SCAN(
        FeatureExtractor(Factory(small_cnn, width=8, image_size=8), weights=None),
        n_clusters=2,
        trainable="head",
        augmentation=None,
        learning_rate=0.3,
        n_epochs=30,
        threshold=0.1,
        n_self_labelling_epochs=1,
    ),
    PseudoLabelAdapter(FeatureExtractor(**SMALL), TWO, n_epochs=1),
    PseudoLabelAdapter(
        FeatureExtractor(**SMALLEST), TWO, n_epochs=1, batch_norm="train", output="odin"
    ),
    DeepClustering(**SMALL, clusterer=TWO, n_epochs=1, augmentation=None),
    DeepClustering(**SMALLEST, clusterer=TWO, n_epochs=1, augmentation=None, scorer="mahalanobis"),
    CheckedCLAD(
        SMALLEST["backbone"],
        CODER_WITH_POOLS,
        n_clusters=2,
        n_autoencoder_epochs=1,
        n_clustering_epochs=1,
        n_epochs=1,
    ),
    SCANFeatures(
        **SMALLEST,
        n_representation_epochs=1,
        n_clusters=2,
        n_epochs=3,
        learning_rate=0.1,
        n_self_labelling_epochs=0,
        projector_widths=[8, 8],
    ),
    NSA(**SMALLEST, n_steps=2, **HEADS),
    DeepSVDD(**CODER, n_pretraining_epochs=1, n_epochs=1),
    RotationPrediction(**SMALLEST, n_steps=2),
    PANDA(**SMALL, n_steps=2, metric="cosine"),
    MSC(**SMALL, n_steps=2, n_neighbors=1),
    CheckedPANDAOE(**SMALL, n_steps=2),
    CheckedJointOptimization(**SMALL, n_steps=2, source_head="new", metric="cosine"),
    DN2(image_size=32),
    DN2(**SMALL, n_neighbors=1),
    ImageDetector(MeanShiftedContrastive(FeatureExtractor(**SMALL), n_steps=2)),
    ImageDetector(
        FeatureExtractor(**SMALLEST), scorer=IsolationForest(n_estimators=5, random_state=0)
    ),
    MapDetector(FeatureExtractor(**SMALLEST), n_threshold_images=2),
    MapDetector(
        FeatureExtractor(**SMALLEST),
        scorer=GaussianScorer(),
        gallery=CentroidPixels(n_centroids=2),
        n_threshold_images=2,
    ),
    SPADE(**SMALLEST, n_threshold_images=2),
    PatchCore(**SMALLEST, coreset_share=0.1, n_threshold_images=1000),
    PaDiM(**SMALLEST, n_dimensions=6, n_threshold_images=1000),
    ConformalMapDetector(
        MapDetector(
            FeatureExtractor(**SMALLEST),
            scorer=GaussianScorer(),
            gallery=CentroidPixels(n_centroids=2),
            n_threshold_images=2,
        ),
        false_alarm_rate=0.3,
        calibration_share=0.5,
    ),
    SPADE(**SMALLEST, n_neighbors=3, n_centroids=4, n_threshold_images=2),
    SPADE(**SMALLEST, n_centroids=2, centroids_of="each", n_threshold_images=2),
    SPADE(**SMALLEST, coreset_share=0.1, n_threshold_images=2),
    SPADE(**SMALLEST, n_neighbors=5, image_score="map", n_threshold_images=1000),
]


def with_device(estimator, device):
    """A copy whose networks are all on a device; None if it has no network."""
    given = {}
    for name, value in estimator.get_params().items():
        last = name.rpartition("__")[2]
        if last == "device":
            given[name] = device
        elif last == "extractor" and value is None:
            given[name] = FeatureExtractor(device=device)
        elif last == "candidates" and isinstance(value, list):
            given[name] = [with_device(one, device) for one in value]
    return clone(estimator).set_params(**given) if given else None


# Names of scikit-learn's checks that an estimator may fail, with the reason.
EXPECTED_FAILURES = {
    "AutoDetector": dict.fromkeys(
        ("check_outliers_fit_predict", "check_outliers_train"),
        "its threshold is of normal images scored by fits without them",
    )
}
