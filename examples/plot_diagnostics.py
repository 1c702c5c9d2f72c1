"""
Watching features while they are trained
========================================

Training moves features apart or together, and a detector may gain or lose by it. Measures that need
no labels show which way they go: NSA follows how evenly they fill the sphere, MSC how far they have
collapsed. Here both are computed on real images, handwritten digits, next to the AUROC.

What is trained is a linear map, on top of the frozen features of the network inside skad, for a few
hundred steps on the images of one digit. That is a sketch of the papers' objectives that runs in
seconds, not their methods: those train networks, and their figures differ.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, normalize

from skad import FeatureExtractor, KNNScorer
from skad.diagnostics import (
    augmentation_distance,
    collapse,
    mean_pairwise_cosine,
    uniformity_mmd,
    vmf_concentration,
)
from skad.metrics import auroc_score

# %%
# Features of one digit, of its augmentations, and of a test set
# --------------------------------------------------------------
#
# Each image is augmented by its four crops of 7 x 7 pixels.

digits = load_digits()
images, is_normal = (digits.images / 16)[..., None], digits.target == 8
train, test = images[:1000][is_normal[:1000]], images[1000:1400]
y_test = np.where(is_normal[1000:1400], 1, -1)
crops = [train[:, top : top + 7, left : left + 7] for top in (0, 1) for left in (0, 1)]

extractor = FeatureExtractor(image_size=32).fit(train)
clean, queries = (torch.from_numpy(extractor.transform(part)) for part in (train, test))
views = torch.stack([torch.from_numpy(extractor.transform(crop)) for crop in crops])

# %%
# Three objectives
# ----------------
#
# Compactness is the loss of DeepSVDD and PANDA: squared distance to the mean of the initial
# features. The contrastive loss, of SimCLR, has the views of an image agree and differ from those
# of others; the mean-shifted one, of MSC, measures angles about the mean of the initial features,
# not about the origin.

center, unit_center = clean.mean(dim=0), normalize(clean).mean(dim=0)


def compactness(weight, first, second):
    return ((clean @ weight - center) ** 2).sum(dim=1).mean()


def contrastive(weight, first, second, shift=0.0, temperature=0.25):
    shifted = normalize(torch.cat([first, second]) @ weight) - shift
    cosines = normalize(shifted) @ normalize(shifted).T
    cosines = cosines.masked_fill(torch.eye(len(cosines), dtype=torch.bool), -torch.inf)
    partner = torch.arange(len(cosines)).roll(len(first))
    return cross_entropy(cosines / temperature, partner)


def mean_shifted(weight, first, second):
    return contrastive(weight, first, second, shift=unit_center)


# %%
# Train, and measure every 50 steps
# ---------------------------------


def measure(weight):
    """All measures of the mapped features; only the first needs labels."""
    mapped, new, augmented = (np.asarray(part @ weight) for part in (clean, queries, views))
    return {
        "AUROC": auroc_score(y_test, KNNScorer().fit(mapped).score_samples(new)),
        "concentration": vmf_concentration(mapped),
        "MMD": uniformity_mmd(mapped),
        "mean cosine": mean_pairwise_cosine(mapped),
        "augmentation distance": augmentation_distance(mapped, augmented),
        "collapse": collapse(mapped),
    }


def follow(loss, learning_rate, n_steps=300, every=50):
    """Measures over training of a linear map that starts as the identity."""
    weight = torch.eye(clean.shape[1], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=learning_rate)
    history = {0: measure(weight.detach())}
    for step in range(1, n_steps + 1):
        first, second = views[torch.randperm(len(views))[:2]]
        optimizer.zero_grad()
        loss(weight, first, second).backward()
        optimizer.step()
        if step % every == 0:
            history[step] = measure(weight.detach())
    return history


histories = {}
for loss, learning_rate in ((contrastive, 0.01), (compactness, 1.0), (mean_shifted, 0.03)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        histories[loss.__name__] = follow(loss, learning_rate)

measures = list(histories["compactness"][0])
for name, history in histories.items():
    print(f"{name:12} step " + "  ".join(measures))
    for step in (0, 100, 200, 300):
        figures = (f"{history[step][key]:{max(len(key), 5)}.4g}" for key in measures)
        print(f"{step:17} " + "  ".join(figures))

# %%
# What they show
# --------------
#
# Upper row, as NSA draws it. The contrastive loss spreads the features over the sphere,
# concentration and MMD fall, and the AUROC falls below that of the frozen features.
#
# Lower row, as MSC draws it. Compactness draws the features together: concentration, mean cosine
# and collapse rise all along. It and the mean-shifted loss bring augmentations closer to their
# images; the mean-shifted one does so while concentration and collapse change far less.
#
# The AUROC rises with both, most with compactness: for this map, over these steps, the collapse of
# normal images costs nothing. The measures tell what training does to the features; whether that
# helps to find anomalies they leave open.

figure, axes = plt.subplots(2, 3, figsize=(12, 6), sharex=True, layout="constrained")
for axis, key in zip(axes.flat, measures):
    for name, history in histories.items():
        values = [figures[key] for figures in history.values()]
        axis.plot(list(history), values, marker="o", label=name.replace("_", "-"))
    axis.set_title(key)
axes[0, 1].set_yscale("log")
axes[0, 0].legend()
for axis in axes[1]:
    axis.set_xlabel("step")
picture = Path("diagnostics.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
