"""
Anomalies ranked on real photographs
====================================

Views of a flower are normal: a detector is fitted on squares cut from the left half of its
photograph and scores squares cut from the right half, mixed with squares of a temple. Both
photographs come with scikit-learn and the network comes with skad, so nothing is downloaded.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_images

from skad import DN2
from skad.metrics import auroc_score


def views_of(photo, side=96, step=24):
    """Cut a photograph into overlapping squares."""
    windows = sliding_window_view(photo, (side, side, 3))[::step, ::step]
    return windows.reshape(-1, side, side, 3)


# %%
# Normal images, and a test set of both kinds
# -------------------------------------------

temple, flower = load_sample_images().images
half = flower.shape[1] // 2
train = views_of(flower[:, :half])
normal, anomalies = views_of(flower[:, half:], step=48), views_of(temple, step=48)
test = np.concatenate([normal, anomalies])
y_test = np.repeat([1, -1], [len(normal), len(anomalies)])

# %%
# Fit and score, as with any outlier detector of scikit-learn
# -----------------------------------------------------------
#
# The training views overlap and show one half only, so each has close neighbours and the threshold
# is tight: many normal views of the other half lie beyond it. The ranking is what counts here.

detector = DN2().fit(train)
scores = detector.decision_function(test)
labels = detector.predict(test)
print(f"fitted on {len(train)} views, scored {len(test)}")
print(f"AUROC {auroc_score(y_test, scores):.3f}")
print(f"anomalies found: {(labels[y_test == -1] == -1).mean():.0%}")
print(f"false alarms: {(labels[y_test == 1] == -1).mean():.0%}")

# %%
# The most and the least normal of the test images
# ------------------------------------------------

order = np.argsort(scores)
figure, axes = plt.subplots(2, 8, figsize=(12, 3.6), layout="constrained")
for row, title, indices in ((0, "least normal", order[:8]), (1, "most normal", order[::-1][:8])):
    for axis, index in zip(axes[row], indices):
        axis.imshow(test[index])
        axis.set_title(f"{scores[index]:+.3f}", color="C3" if y_test[index] < 0 else "C2")
        axis.set_axis_off()
    axes[row, 0].text(
        -0.1, 0.5, title, rotation=90, va="center", ha="right", transform=axes[row, 0].transAxes
    )
figure.suptitle("Scores of test views; green: of the normal photograph, red: of the other")
picture = Path("quickstart.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
