"""Every public estimator with small settings, and what scikit-learn may not expect of it."""

from skad import DN2, FeatureExtractor, KNNScorer

INSTANCES = [
    FeatureExtractor(),
    FeatureExtractor(layers=["layer1", "layer4"], image_size=48, resize="crop"),
    KNNScorer(),
    KNNScorer(n_neighbors=1, metric="euclidean", aggregation="mean"),
    DN2(),
    DN2(image_size=48, n_neighbors=1, metric="euclidean"),
]

# Names of scikit-learn's checks that an estimator may fail, with the reason.
EXPECTED_FAILURES = {}
