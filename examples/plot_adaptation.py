"""
A training that is watched, and has to prove itself
===================================================

``DN2`` compares pictures in a frozen network; ``PANDA`` trains it first, on normal pictures alone.
That may help, or go on until everything looks alike, anomalies included. Measures that need no
labels show it along the way, can stop it, and can refuse what came of it.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skad import DN2, PANDA, CollapseWarning
from skad.metrics import auroc_score

digits = load_digits()
images, is_normal = digits.images / 16, digits.target == 8
train, test = images[:600][is_normal[:600]], images[1000:1300]
y_test = np.where(is_normal[1000:1300], 1, -1)

# %%
# Frozen, trained, stopped, and on trial
# --------------------------------------
#
# The rate is made so large that training goes too far. With ``accept="if_better"`` some normal
# pictures are held out and told from anomalies made of them; the trained network is kept where it
# tells them better than the frozen one, by more than chance explains.

training = {"image_size": 32, "loss": "angular", "learning_rate": 1.0, "n_steps": 40}
detectors = {
    "frozen": DN2(image_size=32, metric="cosine"),
    "trained": PANDA(**training),
    "stopped": PANDA(**training, stop_at_collapse=True),
    "on trial": PANDA(**training, accept="if_better"),
}
for name, detector in detectors.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        detector.fit(train)
    auroc = auroc_score(y_test, detector.decision_function(test))
    print(f"{name:8}  AUROC {auroc:.3f}{', CollapseWarning' if caught else ''}")
print(detectors["on trial"].acceptance_["reason"])

# %%
# What was seen, without a label
# ------------------------------
#
# On the left the angular spread of the features, one minus the mean cosine between pictures: below
# a quarter of what it was (``collapse_limit``) it counts as collapse. On the right the gain on made
# anomalies, and the margin that it would have to pass.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
curve = detectors["trained"].training_curve_
axes[0].plot(curve["step"], curve["spread"], "o-", linewidth=2, label="spread")
axes[0].axhline(curve["spread"][0] / 4, color="C1", linestyle="--", label="collapse is below")
axes[0].axvline(detectors["stopped"].stopped_at_, color="0.5", linestyle=":", label="stopped here")
axes[0].set_title("do all pictures look alike?", fontsize=14)

curve = detectors["on trial"].training_curve_
axes[1].plot(curve["step"], 100 * curve["synthetic_gain"], "o-", linewidth=2, label="gain")
axes[1].plot(curve["step"], 100 * curve["margin"], "--", color="C1", label="asked for")
axes[1].set_title("are anomalies told better?", fontsize=14)
axes[1].set_ylabel("AUROC on made anomalies, in points", fontsize=12)
for axis in axes:
    axis.set_xlabel("steps of training", fontsize=12)
    axis.legend(fontsize=12)
figure.savefig("adaptation.png", dpi=80)
print("picture: adaptation.png")
