"""
Where in the image: anomaly maps
================================

SPADE compares each pixel of an image with those of the most similar normal images, so that it can
say where the anomaly is. By default the images are squares of a photograph of a flower, some of
them with a scratch or a blot drawn in: photograph and network come with scikit-learn and skad, and
nothing is downloaded. Real defects are shown where the environment variable SKAD_SHARED names a
folder with the magnetic tiles of Huang et al. ("Surface defect saliency of magnetic tile"), packed
as the benchmarks have them: ``data/magnetic_tile.npz`` and its reader ``data/load.py``.
"""

import os
import runpy
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from skad import SPADE
from skad.displays import AnomalyMapDisplay
from skad.metrics import auroc_score, pixel_auroc_score, pixel_average_precision_score, pro_score

# %%
# Normal images, and a test set with masks
# ----------------------------------------
#
# A mask is True where there is a defect; that of a normal image is all False. What is drawn is
# known to the pixel: the mask is where the picture has changed.


def views_of(photo, side=80, step=24):
    """Cut a photograph into overlapping squares."""
    windows = sliding_window_view(photo, (side, side, 3))[::step, ::step]
    return windows.reshape(-1, side, side, 3)


def spoil(image, rng):
    """Draw a scratch or a blot into an image; give its mask too."""
    spoilt = Image.fromarray(image)
    pen = ImageDraw.Draw(spoilt)
    x, y = (int(index) for index in rng.integers(15, 50, 2))
    if rng.random() < 0.5:
        corners = [(x, y), (x + 12, y + 6), (x + 18, y + 20)]
        pen.line(corners, fill=(225, 225, 215), width=3)
    else:
        pen.ellipse([x, y, x + 14, y + 10], fill=(45, 40, 35))
    spoilt = np.asarray(spoilt)
    return spoilt, (spoilt != image).any(axis=2)


def made_defects():
    """Squares of both halves of a flower; every other one of the right half is spoilt."""
    _, flower = load_sample_images().images
    half = flower.shape[1] // 2
    rng = np.random.default_rng(0)
    test = [(view, np.zeros(view.shape[:2], bool)) for view in views_of(flower[:, half:], step=60)]
    test[::2] = [spoil(view, rng) for view, _ in test[::2]]
    return views_of(flower[:, :half]), *zip(*test)


def real_defects(folder):
    """Magnetic tiles: 100 free of defects to learn from, 20 more and 4 of each defect."""
    reader = runpy.run_path(str(folder / "load.py"))
    labels, _, classes = reader["labels_of"]("magnetic_tile")
    indices = [np.flatnonzero(labels == c) for c in range(len(classes))]
    train, normal = indices[0][::9][:100], indices[0][4::45][:20]
    test = np.concatenate([normal, *(found[:: len(found) // 4][:4] for found in indices[1:])])
    images = [reader["load"]("magnetic_tile", chosen)[0] for chosen in (train, test)]
    return *images, reader["load_masks"]("magnetic_tile", test)


folder = Path(os.environ.get("SKAD_SHARED", "")) / "data"
real = (folder / "magnetic_tile.npz").exists()
train, test, masks = real_defects(folder) if real else made_defects()
y_test = np.where([mask.any() for mask in masks], -1, 1)
print(f"{'magnetic tiles' if real else 'squares of a flower'}: {len(train)} normal to learn from")
print(f"{len(test)} to test on, {(y_test == -1).sum()} of them with a defect")

# %%
# Fit on normal images, score images and pixels
# ---------------------------------------------
#
# Five similar images for each and small pictures make it quick; the paper takes 50, at 224 pixels
# a side, and a far larger network. Scores are high for what is normal, of pixels as of images. PRO
# asks how much of each defect is found, and counts a small one as much as a large one.

detector = SPADE(n_neighbors=5, image_size=80).fit(train)
scores, score_maps = detector.score_samples(list(test)), detector.score_maps(list(test))
print(f"image AUROC {auroc_score(y_test, scores):.3f}")
print(f"pixel AUROC {pixel_auroc_score(masks, score_maps):.3f}")
print(f"pixel average precision {pixel_average_precision_score(masks, score_maps):.3f}")
print(f"PRO {pro_score(masks, score_maps):.3f}")

# %%
# Look at the maps
# ----------------
#
# The two defects that are told best from what is around them, one in the middle, the worst, and
# two normal images, all in one range of colours. Outlines are wider than the defects, since maps
# are coarse and blurred; and petals count as defects where what was learned has none like them.


def told(i):
    """Pixel AUROC of one image."""
    return pixel_auroc_score([masks[i]], [score_maps[i]])


ranked = sorted(np.flatnonzero(y_test == -1), key=told, reverse=True)
chosen = [*ranked[:2], ranked[len(ranked) // 2], ranked[-1], *np.flatnonzero(y_test == 1)[:2]]
display = AnomalyMapDisplay.from_predictions(
    [test[i] for i in chosen],
    [score_maps[i] for i in chosen],
    masks=[masks[i] for i in chosen],
    threshold=detector.pixel_offset_,
    scores=scores[chosen],
)
picture = Path("spade.png").resolve()
display.figure_.savefig(picture, dpi=100)
print(f"picture: {picture}")
