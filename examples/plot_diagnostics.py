"""
Watching features while a network is trained
============================================

Training moves features apart or together, and a detector may gain or lose by it. Measures that need
no labels show which way they go: NSA follows how evenly they fill the sphere, MSC how far they have
collapsed. Here they are computed on real images, handwritten digits, before and after three ways to
train, next to the AUROC.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skad import CompactnessAdapter, FeatureExtractor, KNNScorer, MeanShiftedContrastive
from skad.diagnostics import (
    augmentation_distance,
    collapse,
    mean_pairwise_cosine,
    uniformity_mmd,
    vmf_concentration,
)
from skad.metrics import auroc_score

# %%
# Images of one digit, augmented ones, and a test set
# ---------------------------------------------------
#
# Each image is augmented by its four crops of 7 x 7 pixels.

digits = load_digits()
images, is_normal = (digits.images / 16)[..., None], digits.target == 8
train, test = images[:600][is_normal[:600]], images[1000:1200]
y_test = np.where(is_normal[1000:1200], 1, -1)
crops = [train[:, top : top + 7, left : left + 7] for top in (0, 1) for left in (0, 1)]


def measure(extractor):
    """All measures of an extractor's features; only the first needs labels."""
    features = extractor.transform(train)
    scores = KNNScorer().fit(features).score_samples(extractor.transform(test))
    return {
        "AUROC": auroc_score(y_test, scores),
        "concentration": vmf_concentration(features),
        "MMD": uniformity_mmd(features),
        "mean cosine": mean_pairwise_cosine(features),
        "augmentation distance": augmentation_distance(
            features, np.stack([extractor.transform(crop) for crop in crops])
        ),
        "collapse": collapse(features),
    }


# %%
# Three objectives
# ----------------
#
# The contrastive loss, of SimCLR, has two views of an image agree and differ from those of others;
# the mean-shifted one, of MSC, measures angles about the mean of the initial features, not about
# the origin. Compactness, of PANDA, draws the features to their mean direction.

frozen = FeatureExtractor(image_size=32)
settings = {"learning_rate": 1e-3, "n_steps": 20, "batch_size": 32}
extractors = {
    "frozen": frozen,
    "contrastive": MeanShiftedContrastive(frozen, mean_shift=False, **settings),
    "mean-shifted": MeanShiftedContrastive(frozen, **settings),
    "compactness": CompactnessAdapter(frozen, loss="angular", learning_rate=0.3, n_steps=20),
}
found = {name: measure(extractor.fit(train)) for name, extractor in extractors.items()}

measures = list(found["frozen"])
print(f"{'':14}" + "  ".join(measures))
for name, figures in found.items():
    columns = (f"{value:{max(len(key), 5)}.4g}" for key, value in figures.items())
    print(f"{name:14}" + "  ".join(columns))

# %%
# What they show
# --------------
#
# Compactness draws the features together: concentration and mean cosine rise, and augmentations
# come closer to their images along with everything else. The contrastive loss pushes everything
# apart. The mean-shifted one brings augmentations closer while the features nearly stay as they
# lie. Whether that helps to find anomalies the measures leave open (here nothing gains on the
# frozen network); they tell what training does, and when it goes too far.

figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
for axis, key in zip(axes.flat, measures):
    axis.bar(list(found), [figures[key] for figures in found.values()])
    axis.set_title(key)
    axis.tick_params(axis="x", rotation=20)
axes[0, 0].set_ylim(0.8, 1)
picture = Path("diagnostics.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
