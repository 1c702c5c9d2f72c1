"""
Without pretrained weights
==========================

Where no network of others may be used, or none fits the pictures, a small one can be trained from
random weights, on the normal pictures alone. ``NSA`` has it give two views of a picture the same
features; nothing tells it what an anomaly is.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skad import DN2, NSA, RotationPrediction
from skad.augment import ContrastiveAugmentation
from skad.backbones import small_cnn
from skad.displays import ContactSheetDisplay, ROCDisplay
from skad.metrics import auroc_score

# %%
# Eights are normal, all other digits are not
# -------------------------------------------

digits, labels = load_digits(return_X_y=True)
train = digits[:900][labels[:900] == 8]
test, y_test = digits[900:1500], np.where(labels[900:1500] == 8, 1, -1)

# %%
# A network of four convolutions
# ------------------------------
#
# Views are crops; an eight stays an eight where it is mirrored, so that is left in. Beside it are
# ``RotationPrediction``, the older way, which learns by how much a picture was turned, and ``DN2``
# with the network inside the package, which was trained on photographs.

network = partial(small_cnn, width=32, image_size=16)
views = ContrastiveAugmentation(16, area=(0.3, 1.0), jitter_probability=0, gray_probability=0)
training = {"image_size": 16, "batch_size": 64, "projector_widths": [64, 64]}
detectors = {
    "NSA": NSA(network, objective="simclr", n_steps=100, augmentation=views, **training),
    "RotationPrediction": RotationPrediction(network, image_size=16, n_steps=40),
    "DN2, pretrained": DN2(image_size=16),
}
scores = {name: one.fit(train).decision_function(test) for name, one in detectors.items()}
for name, found in scores.items():
    print(f"{name:18}  AUROC {auroc_score(y_test, found):.3f}")

# %%
# How many anomalies are found, and which look normal
# ---------------------------------------------------
#
# On the left the share of other digits that is found, by the share of eights that is taken for one
# of them, with the band that so many test pictures leave open. On the right sixteen eights and
# sixteen others, from the least to the most normal for ``NSA``.

figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
for name, color in (("NSA", "C0"), ("RotationPrediction", "C1")):
    ROCDisplay.from_predictions(y_test, scores[name], name=name, ax=axes[0], color=color)
axes[0].set_title("trained from random weights", fontsize=14)
some = np.concatenate([np.flatnonzero(y_test == label)[:16] for label in (1, -1)])
ContactSheetDisplay.from_predictions(test[some], scores["NSA"][some], y_test[some], ax=axes[1])
figure.savefig("from_scratch.png", dpi=80)
print("picture: from_scratch.png")
