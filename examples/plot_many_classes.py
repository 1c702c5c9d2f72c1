"""
Normal pictures of many classes: clusters, and a network that learns them
=========================================================================

Where normal pictures are of several kinds that nobody has labelled, kinds can be found. A clusterer
groups the pictures, a pretrained network learns to tell the groups apart, and what lies far from
all of them stands out more than before.
"""

from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix, normalized_mutual_info_score

from skad import CLAD, DN2, SCAN, DeepClustering, FeatureExtractor
from skad.augment import ContrastiveAugmentation
from skad.backbones import clad_small, small_cnn
from skad.displays import ContactSheetDisplay, NearestImagesDisplay
from skad.metrics import auroc_score, clustering_accuracy

PLACES = {"left": 0.02, "right": 0.98, "bottom": 0.02, "top": 0.92, "hspace": 0.15, "wspace": 0.05}

# %%
# Digits up to four are normal, the others are not
# ------------------------------------------------
#
# The detectors get the normal pictures without their labels, which serve for comparison alone.

digits, labels = load_digits(return_X_y=True)
is_train = (np.arange(len(labels)) < 400) & (labels < 5)
train, classes = digits[is_train], labels[is_train]
test, y_test = digits[1200:1500], np.where(labels[1200:1500] < 5, 1, -1)

# %%
# Clusters
# --------
#
# SCAN with a head on a pretrained network takes seconds. How many clusters there are has to be
# said. These do not tell twos from threes, which tells how far they can help.

clusterer = SCAN(
    FeatureExtractor(image_size=16),
    n_clusters=5,
    trainable="head",
    augmentation=None,
    learning_rate=1e-2,
    n_self_labelling_epochs=0,
).fit(train)
clusters, sureness = clusterer.labels_, clusterer.predict_proba(train).max(axis=1)
print(
    f"clusters: accuracy {clustering_accuracy(classes, clusters):.2f}, "
    f"mutual information {normalized_mutual_info_score(classes, clusters):.2f}"
)

# %%
# Detectors
# ---------
#
# With true labels it is seen what perfect clusters would give. A mirrored three is no three, so
# pictures are cropped in training, but not mirrored. The rate is a hundred times the paper's, as
# there are a hundred times fewer steps.

crops = ContrastiveAugmentation(
    16,
    area=(0.8, 1.0),
    flip_probability=0,
    jitter_probability=0,
    gray_probability=0,
    blur_probability=0,
)
training = {"image_size": 16, "augmentation": crops, "n_epochs": 8, "learning_rate": 1e-3}
before = DN2(image_size=16, n_neighbors=1, metric="cosine").fit(train)
after = DeepClustering(clusterer=clusterer, **training).fit(train)
detectors = {
    "DN2, no training": before,
    "DN2, whitened": DN2(image_size=16).fit(train),
    "DeepClustering": after,
    "with true labels": DeepClustering(**training).fit(train, class_labels=classes),
    "CLAD, no pretraining": CLAD(
        partial(small_cnn, width=16, image_size=8),
        partial(clad_small, image_size=8, code_dim=10),
        n_clusters=5,
        n_autoencoder_epochs=60,
        n_clustering_epochs=20,
        n_epochs=30,
        learning_rate=1e-3,
    ).fit(train),
}
for name, detector in detectors.items():
    auroc = auroc_score(y_test, detector.decision_function(test))
    print(f"{name:20} AUROC {auroc:.3f}")

# %%
# What was found, and what it changed
# -----------------------------------
#
# On the left each cluster, the pictures that it is surest of first. On the right the clusters
# beside the classes, and those pictures that frozen features were most wrong about, with their
# nearest training pictures before and after training: normal ones that seemed far, and anomalies
# that seemed near.

figure = plt.figure(figsize=(16, 9.5))
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25])
left.suptitle("clusters: their most typical pictures, and the doubt about these")
for cluster, ax in enumerate(left.subplots(5, 1, gridspec_kw=PLACES)):
    inside = clusters == cluster
    ContactSheetDisplay.from_predictions(
        train[inside], 1 - sureness[inside], n_images=8, n_columns=8, ax=ax
    )
    ax.get_legend().remove()
    ax.set_title(f"cluster {cluster}: {inside.sum()} pictures", fontsize=10)

top, bottom = right.subfigures(2, 1, height_ratios=[1, 1.2])
ax = top.subplots()
counts = confusion_matrix(classes, clusters)
ConfusionMatrixDisplay(counts).plot(ax=ax, colorbar=False, cmap="Blues")
ax.set(xlabel="cluster", ylabel="digit", title="training pictures by digit and cluster")
top.subplots_adjust(bottom=0.15)

scores = before.decision_function(test)
order = np.argsort(scores)
normal, anomalies = order[y_test[order] == 1], order[y_test[order] == -1]
wrong = test[[*normal[:2], *anomalies[:-3:-1]]]
for ax, detector, title in zip(
    bottom.subplots(1, 2, gridspec_kw=PLACES), (before, after), ("before", "after")
):
    NearestImagesDisplay.from_estimator(detector, wrong, train, n_images=4, n_neighbors=4, ax=ax)
    ax.set_title(f"nearest training pictures {title} training")
picture = Path("many_classes.png").resolve()
figure.savefig(picture, dpi=90)
print(f"picture: {picture}")
