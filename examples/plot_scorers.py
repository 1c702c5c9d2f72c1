"""
Every score on the same features
================================

A scorer is an outlier detector on rows of numbers, so features of any origin will do: those of
`FeatureExtractor`, or embeddings that you already have. Scorers of skad and of scikit-learn stand
side by side here, on the features of one network, with each of five digits as the normal one.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from skad import (
    CentroidScorer,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KDEScorer,
    KNNScorer,
    SklearnScorer,
)
from skad.metrics import auroc_score

# %%
# Features of two layers, side by side
# ------------------------------------

digits, labels = load_digits(return_X_y=True)
train, test = slice(None, 1000), slice(1000, 1400)
extractor = FeatureExtractor(layers=["layer3", "layer4"], image_size=32).fit(digits[train])
features = extractor.transform(digits)
last = np.s_[:, extractor.tap_widths_[0] :]  # the columns of layer4

# %%
# Scorers of one layer
# --------------------
#
# Estimators of scikit-learn come in a `SklearnScorer`, which gives them the threshold and the
# manners of the others: labelled anomalies are left out of a fit.

scorers = {
    "kNN, cosine (DN2)": KNNScorer(),
    "kNN, whitened angle (NSA's k-Cos(Mah))": KNNScorer(1, metric="mahalanobis_cosine"),
    "10 centroids of k-means": KNNScorer(n_centroids=10),
    "angle to the mean (c-Cos)": CentroidScorer(),
    "whitened angle to the mean (c-Cos(Mah))": CentroidScorer("mahalanobis_cosine"),
    "Gaussian": GaussianScorer(),
    "Gaussian on the sphere (GDE)": GaussianScorer(normalize=True, log_likelihood=True),
    "kernel density on the sphere": KDEScorer(),
    "OneClassSVM": SklearnScorer(OneClassSVM()),
    "IsolationForest": SklearnScorer(IsolationForest(random_state=0)),
    "LocalOutlierFactor": SklearnScorer(LocalOutlierFactor(novelty=True)),
    "EllipticEnvelope of 10 components": SklearnScorer(
        make_pipeline(PCA(10, random_state=0), EllipticEnvelope(random_state=0))
    ),
    "GaussianMixture": SklearnScorer(
        GaussianMixture(3, covariance_type="diag", random_state=0, reg_covar=1e-4)
    ),
}


def mean_auroc(scorer, features):
    """Five digits are normal in turn, the other nine are anomalies each time."""
    figures = []
    for digit in range(5):
        normal = features[train][labels[train] == digit]
        y_test = np.where(labels[test] == digit, 1, -1)
        scores = scorer.fit(normal).decision_function(features[test])
        figures.append(auroc_score(y_test, scores))
    return np.mean(figures)


found = {name: mean_auroc(scorer, features[last]) for name, scorer in scorers.items()}

# %%
# Ensembles of two layers
# -----------------------

for name in ("ens", "sum"):
    ensemble = EnsembleScorer(name, tap_widths=extractor.tap_widths_)
    found[f"two layers, EnsembleScorer({name!r})"] = mean_auroc(ensemble, features)

for name, figure in found.items():
    print(f"{figure:.4f}  {name}")

figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
axis.barh(list(found)[::-1], list(found.values())[::-1], color="C0")
axis.set(xlim=(min(found.values()) - 0.02, 1.0), xlabel="mean AUROC over five digits")
picture = Path("scorers.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
