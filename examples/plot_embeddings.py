"""
Embeddings that you already have
================================

Rows of numbers will do: of CLIP, of DINO, of a network of your own, out of a vector store. A scorer
is an outlier detector on them, with the metrics, thresholds and indexes of the image detectors.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.svm import OneClassSVM

from skad import (
    CentroidScorer,
    ConformalDetector,
    FeatureExtractor,
    GaussianScorer,
    KNNScorer,
    SklearnScorer,
)
from skad.displays import ScoreHistogramDisplay
from skad.metrics import auroc_score

# %%
# Rows
# ----
#
# ``embeddings = np.load("embeddings.npy")`` in your case. Here a network makes them of digits.

digits, labels = load_digits(return_X_y=True)
embeddings = FeatureExtractor(image_size=32).fit(digits[:1000]).transform(digits[:1400])
train, test = slice(None, 1000), slice(1000, 1400)
print(f"{embeddings.shape[0]} rows of {embeddings.shape[1]} numbers")

# %%
# Scorers
# -------
#
# Those of skad, and any outlier detector of scikit-learn in a ``SklearnScorer``, which gives it the
# threshold and the manners of the others.

scorers = {
    "KNNScorer()": KNNScorer(),
    'KNNScorer(metric="mahalanobis_cosine")': KNNScorer(metric="mahalanobis_cosine"),
    "KNNScorer(n_centroids=10)": KNNScorer(n_centroids=10),
    "CentroidScorer()": CentroidScorer(),
    "GaussianScorer()": GaussianScorer(),
    "SklearnScorer(OneClassSVM())": SklearnScorer(OneClassSVM()),
    "SklearnScorer(IsolationForest())": SklearnScorer(IsolationForest(random_state=0)),
}


def mean_auroc(scorer):
    """Five digits are normal in turn, the other nine are anomalies each time."""
    figures = []
    for digit in range(5):
        scorer.fit(embeddings[train][labels[:1000] == digit])
        y_test = np.where(labels[1000:1400] == digit, 1, -1)
        figures.append(auroc_score(y_test, scorer.decision_function(embeddings[test])))
    return np.mean(figures)


found = {name: mean_auroc(scorer) for name, scorer in scorers.items()}
for name, figure in found.items():
    print(f"{figure:.3f}  {name}")

# %%
# A threshold, and a picture
# --------------------------
#
# ``ConformalDetector`` goes around any of them: here the 3 is normal, and of new threes one in
# twenty may be called an anomaly.

threes = embeddings[train][labels[:1000] == 3]
detector = ConformalDetector(KNNScorer(), calibration_share=0.5).fit(threes)
scores, y_test = detector.decision_function(embeddings[test]), labels[1000:1400] == 3
print(f"false alarms: {(scores[y_test] < 0).mean():.1%}, found: {(scores[~y_test] < 0).mean():.1%}")

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.7), layout="constrained")
left.barh(list(found)[::-1], list(found.values())[::-1], color="C0")
left.set(xlim=(min(found.values()) - 0.02, 1))
left.tick_params(axis="y", labelsize=12)
left.set_xlabel("mean AUROC over five digits", fontsize=12)
ScoreHistogramDisplay.from_predictions(scores, np.where(y_test, 1, -1), ax=right)
right.set_title("KNNScorer(), where the 3 is normal", fontsize=13)
figure.savefig("embeddings.png", dpi=80)
print("picture: embeddings.png")
