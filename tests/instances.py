"""Every public estimator with small settings, and what scikit-learn may not expect of it."""

from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skad import (
    DN2,
    CentroidScorer,
    ConfidenceScorer,
    ConformalDetector,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KDEScorer,
    KNNScorer,
    SklearnScorer,
    Whitening,
)

INSTANCES = [
    FeatureExtractor(),
    FeatureExtractor(layers=["layer1", "layer4"], image_size=48, resize="crop"),
    KNNScorer(),
    KNNScorer(n_neighbors=1, metric="euclidean", aggregation="mean"),
    KNNScorer(n_neighbors=1, metric="angle", aggregation="kth"),
    KNNScorer(metric="mahalanobis"),
    KNNScorer(n_neighbors=1, metric="mahalanobis_cosine", shrinkage=0.5),
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
    EnsembleScorer([CentroidScorer(), GaussianScorer()], scaling="quantile"),
    SklearnScorer(OneClassSVM()),
    SklearnScorer(IsolationForest(n_estimators=5, random_state=0)),
    SklearnScorer(LocalOutlierFactor(n_neighbors=5, novelty=True)),
    SklearnScorer(GaussianMixture(random_state=0)),
    SklearnScorer(EllipticEnvelope(random_state=0)),
    Whitening(),
    Whitening(n_components=0.9),
    Whitening(center=False, shrinkage=0.5),
    ConformalDetector(KNNScorer(1), false_alarm_rate=0.3, method="cross"),
    ConformalDetector(
        IsolationForest(n_estimators=10, random_state=0),
        false_alarm_rate=0.3,
        calibration_share=0.5,
    ),
    DN2(),
    DN2(image_size=48, n_neighbors=1, metric="euclidean"),
]

# Names of scikit-learn's checks that an estimator may fail, with the reason.
EXPECTED_FAILURES = {}
