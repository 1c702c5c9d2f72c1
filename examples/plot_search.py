"""
Search without labels
=====================

Which size, which metric, which detector, where there is no anomaly to try them on? Anomalies that
are *made* of normal pictures can tell. Here ``GridSearchCV`` chooses by them; digits have labels,
so afterwards it can be seen how good the choice was.
"""

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skad import DN2
from skad.metrics import auroc_score
from skad.model_selection import SyntheticAnomalies, SyntheticKFold

digits = load_digits()
images = digits.images / 16
grid = {"image_size": [16, 24, 32], "metric": ["cosine", "euclidean", "mahalanobis_cosine"]}

# %%
# The search
# ----------
#
# Each fold trains on normal pictures; of those put aside, the scorer makes defects and shifts:
# patches, scars, stains, noise, bends, pieces in another order and more. With ``memory`` each
# picture goes through a network of a size once, however many metrics are tried.


def search(normal):
    """All candidates, compared on normal pictures alone."""
    cv = SyntheticKFold(SyntheticAnomalies(per_image=2), n_splits=2)
    with TemporaryDirectory() as folder:
        found = GridSearchCV(DN2(memory=folder), grid, cv=cv, scoring=cv.scorer, refit=False)
        return found.fit(normal).cv_results_


# %%
# What it chose, and what labels say
# ----------------------------------
#
# The truth is the AUROC against the nine other digits. Made anomalies are not those that come, so
# the order of candidates is only roughly the true one; what counts is the first.

markers = {"cosine": "o", "euclidean": "s", "mahalanobis_cosine": "D"}
colors = {16: "C0", 24: "C1", 32: "C2"}
figure, axes = plt.subplots(1, 2, figsize=(10, 5.5), layout="constrained")
for axis, digit in zip(axes, (3, 8)):
    is_normal = digits.target == digit
    train, test = images[:600][is_normal[:600]], images[1000:1300]
    y_test = np.where(is_normal[1000:1300], 1, -1)
    results = search(train)
    made = results["mean_test_score"]
    true = np.array(
        [
            auroc_score(y_test, DN2(**candidate).fit(train).decision_function(test))
            for candidate in results["params"]
        ]
    )
    best = made.argmax()
    print(f"digit {digit}: chosen {results['params'][best]}")
    print(f"  true AUROC {true[best]:.3f}; candidates have {true.min():.3f} to {true.max():.3f}")

    for candidate, x, y in zip(results["params"], made, true):
        style = markers[candidate["metric"]], colors[candidate["image_size"]]
        axis.plot(x, y, style[0], color=style[1], markersize=10)
    axis.plot(made[best], true[best], "o", color="k", markersize=22, fillstyle="none")
    axis.set_title(f"normal is the {digit}; circled: the choice", fontsize=13)
    axis.set_xlabel("AUROC on made anomalies", fontsize=13)
axes[0].set_ylabel("AUROC on other digits", fontsize=13)
for metric, marker in markers.items():
    axes[0].plot([], [], marker, color="0.5", markersize=10, label=metric)
for size, color in colors.items():
    axes[0].plot([], [], color=color, linewidth=8, label=f"image_size={size}")
figure.legend(loc="outside lower center", ncols=3, fontsize=12)
figure.savefig("search.png", dpi=80)
print("picture: search.png")
