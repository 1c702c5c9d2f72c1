"""
The scores of a detector explained
==================================

A score says that an image is odd, but not why. Here one detector, fitted on views of a flower, is
looked at from five sides: how its scores are spread, what a threshold on them would find, which
images it puts first, where they lie among the training features, and which training images they
were compared with. Photographs and network come with scikit-learn and skad: nothing is downloaded.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_images

from skad import DN2
from skad.displays import (
    ContactSheetDisplay,
    EmbeddingDisplay,
    NearestImagesDisplay,
    ROCDisplay,
    ScoreHistogramDisplay,
)


def views_of(photo, side=80, step=24):
    """Cut a photograph into overlapping squares."""
    windows = sliding_window_view(photo, (side, side, 3))[::step, ::step]
    return windows.reshape(-1, side, side, 3)


# %%
# A detector and a test set
# -------------------------
#
# Training views are cut from the left half of the flower, normal test views from the right half,
# and anomalies from a temple, whose sky and trees are not unlike the blurred background of the
# flower.

temple, flower = load_sample_images().images
half = flower.shape[1] // 2
train = views_of(flower[:, :half])
normal, anomalies = views_of(flower[:, half:], step=48), views_of(temple, step=48)
test = np.concatenate([normal, anomalies])
y_test = np.repeat([1, -1], [len(normal), len(anomalies)])
detector = DN2().fit(train)
print(f"fitted on {len(train)} views, looked at {len(test)}")

# %%
# Numbers: the scores, the ROC curve, the features
# ------------------------------------------------
#
# A display that is given axes draws into them. The scores are computed once and handed to two
# displays; ``from_estimator`` would compute them each time. The band about the ROC curve shows
# what another draw of as many test images might have given.

scores = detector.decision_function(test)
figure, axes = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
histogram = ScoreHistogramDisplay.from_predictions(scores, y_test, ax=axes[0])
roc = ROCDisplay.from_predictions(y_test, scores, name="DN2", ax=axes[1])
embedding = EmbeddingDisplay.from_estimator(detector, train, test, y_test, ax=axes[2])
for axis, title in zip(axes, ["decision scores", "anomalies found", "features"]):
    axis.set_title(title)
low, high = roc.auroc_interval
print(f"AUROC {roc.auroc:.3f}, 95 % interval {low:.3f} to {high:.3f}")
print(f"the plane shows {embedding.explained_variance_ratio.sum():.0%} of the variance")
figure.savefig("displays.png", dpi=80)
print(f"picture: {Path('displays.png').resolve()}")

# %%
# Images: the order of the detector, and what it compared
# -------------------------------------------------------
#
# Flower views that come early are false alarms of a strict threshold. The temple views that score
# highest are those to worry about, and their neighbours tell what they were mistaken for: a clear
# sky is as smooth as the dark background of the flower.

some = slice(None, None, 3)
sheet = ContactSheetDisplay.from_predictions(
    test[some], scores[some], y_test[some], n_images=48, n_columns=12
)
print(f"temple among the first 24 of the sheet: {sheet.outlier[:24].mean():.0%}")
sheet.figure_.savefig("displays_ranked.png", dpi=80)

missed = test[y_test == -1][np.argsort(scores[y_test == -1])[::-1]]
nearest = NearestImagesDisplay.from_estimator(detector, missed[:24:6], train)
nearest.ax_.set_title("temple views most like the flower, and the training views nearest to them")
nearest.figure_.savefig("displays_nearest.png", dpi=80)
print(f"nearest of all: {nearest.distances.min():.2f} away")
