"""
Training a network on normal images, and watching it
=====================================================

DN2 compares images in a frozen network. PANDA and MSC train the network first, on normal images
alone: PANDA draws their features together, MSC has augmented views of an image agree. Both can go
too far, until everything looks alike, anomalies included. Measures that need no labels show it
along the way, and can stop it.
"""

import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skad import DN2, MSC, PANDA, CollapseWarning
from skad.displays import TrainingCurveDisplay
from skad.metrics import auroc_score

# %%
# One digit is normal
# -------------------

digits = load_digits()
images, is_normal = (digits.images / 16)[..., None], digits.target == 9
train, test = images[:600][is_normal[:600]], images[1000:1200]
y_test = np.where(is_normal[1000:1200], 1, -1)

# %%
# Frozen, trained, trained too far, and stopped in time
# ------------------------------------------------------
#
# The defaults are those of the papers, for large networks and thousands of steps. Here the steps
# are fewer and longer. PANDA compares features by their euclidean distance, as the paper does. The
# last two go on beyond what is sensible.

angular = {"image_size": 32, "loss": "angular", "learning_rate": 1.0, "n_steps": 40}
detectors = {
    "DN2": DN2(image_size=32, metric="cosine"),
    "MSC": MSC(image_size=32, learning_rate=1e-3, n_epochs=5, batch_size=32),
    "DN2, euclidean": DN2(image_size=32, metric="euclidean"),
    "PANDA": PANDA(image_size=32, learning_rate=0.2, n_steps=30),
    "too far": PANDA(**angular),
    "stopped": PANDA(**angular, stop_at_collapse=True),
}
for name, detector in detectors.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        detector.fit(train)
    auroc = auroc_score(y_test, detector.decision_function(test))
    steps = getattr(detector, "stopped_at_", 0)
    print(f"{name:14} {steps:3} steps, AUROC {auroc:.3f}{', CollapseWarning' if caught else ''}")

# %%
# The curve
# ---------
#
# Angular spread is one minus the mean cosine between training images; below a quarter of what it
# was (``collapse_limit``) counts as collapse. For this digit even that finds more anomalies than
# the frozen network; for the eight it finds fewer. Without labelled anomalies nobody can tell, so a
# training that collapses is one to be wary of.

measures = ["loss", "spread", "effective_rank"]
figure, axes = plt.subplots(3, 2, figsize=(10, 6), sharex="col", layout="constrained")
for column, name in zip(axes.T, ("MSC", "too far")):
    TrainingCurveDisplay.from_estimator(detectors[name], measures=measures, axes=column)
    column[0].set_title(name)
picture = Path("adaptation.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
