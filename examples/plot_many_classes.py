"""
Normal pictures of many classes, without labels
===============================================

Where normal pictures are of several kinds that nobody has labelled, kinds can be found: a clusterer
groups the pictures, a network learns to tell the groups apart, and what belongs to none of them
stands out more than before.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from skad import DN2, DeepClustering
from skad.augment import ContrastiveAugmentation
from skad.displays import NearestImagesDisplay
from skad.metrics import auroc_score, clustering_accuracy

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
# Clusters, and a network that learns to tell them apart
# ------------------------------------------------------
#
# Any clusterer will do, on features of the network: ``KMeans`` here, or ``SCAN`` of skad. How many
# clusters there are has to be said; five kinds are known to be there. A mirrored three is no three,
# so pictures are cropped in training, but not mirrored. True labels serve for comparison.

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
kinds = KMeans(5, n_init=10, random_state=0)
after = DeepClustering(clusterer=kinds, **training).fit(train)
detectors = {
    "frozen (DN2)": before,
    "frozen, whitened": DN2(image_size=16).fit(train),
    "DeepClustering": after,
    "by true labels": DeepClustering(**training).fit(train, class_labels=classes),
}
for name, detector in detectors.items():
    print(f"{name:16}  AUROC {auroc_score(y_test, detector.decision_function(test)):.3f}")

print(f"accuracy of the clusters {clustering_accuracy(classes, after.labels_):.2f}")

# %%
# What was found, and what it changed
# -----------------------------------
#
# On the left the clusters beside the classes. On the right two anomalies that the frozen features
# took for normal, and two normal pictures that seemed far; beside each the training pictures that
# are nearest to it, before and after training.

figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
counts = confusion_matrix(classes, after.labels_)
ConfusionMatrixDisplay(counts).plot(ax=axes[0], colorbar=False, cmap="Blues")
axes[0].set(xlabel="cluster", ylabel="digit")

scores = before.decision_function(test)
order = np.argsort(scores)
normal, anomalies = order[y_test[order] == 1], order[y_test[order] == -1]
wrong = test[[*anomalies[:-3:-1], *normal[:2]]]
for axis, detector in zip(axes[1:], (before, after)):
    display = NearestImagesDisplay.from_estimator(
        detector, wrong, train, n_images=4, n_neighbors=3, ax=axis
    )
    for text in display.texts_:
        text.set_fontsize(9)
for axis, title in zip(axes, ("clusters found", "nearest, frozen", "nearest, trained")):
    axis.set_title(title, fontsize=15)
figure.savefig("many_classes.png", dpi=80)
print("picture: many_classes.png")
