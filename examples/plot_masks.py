"""
Surface defects with masks: how well is each pixel told?
========================================================

Tiles of rough metal, some with a blowhole, a crack or a scratch, whose masks are known. A detector
learns from sound tiles; then its maps are measured against the masks, by pixels and by defects.
"""

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from skad import ConformalMapDetector, PatchCore
from skad.displays import AnomalyMapDisplay
from skad.metrics import auroc_score, pixel_auroc_score, pixel_average_precision_score, pro_score

# %%
# Tiles, defects and masks
# ------------------------
#
# They are drawn; put your own in their place. A mask is True where there is a defect; that of a
# sound tile is all False.

rng = np.random.default_rng(0)


def tile(defect=None, side=128):
    """Metal, rolled in one direction, under a lamp that is not quite even; and its mask."""
    rolled = gaussian_filter(rng.normal(size=(side, side)), (0.7, 9)) * 60
    grains = gaussian_filter(rng.normal(size=(side, side)), 1) * 30
    lamp = np.linspace(*rng.uniform(-12, 12, 2), side)
    metal = rng.uniform(115, 135) + rolled + grains + lamp

    drawn = Image.new("L", (side, side))
    pen, (x, y) = ImageDraw.Draw(drawn), rng.integers(30, 90, 2)
    if defect == "blowhole":
        pen.ellipse([x, y, x + rng.integers(8, 16), y + rng.integers(8, 16)], fill=255)
    elif defect == "crack":
        bends = np.cumsum(rng.uniform(-6, 14, (5, 2)), axis=0) + np.array([x - 10, y - 10])
        pen.line([tuple(bend) for bend in bends], fill=255, width=3)
    elif defect == "scratch":
        pen.line([x, y, x + rng.integers(-30, 30), y + 25], fill=255, width=2)
    metal += (70 if defect == "scratch" else -70) * gaussian_filter(np.asarray(drawn) / 255, 0.7)
    return np.clip(metal, 0, 255).astype(np.uint8), np.asarray(drawn) > 0


kinds = ["blowhole", "crack", "scratch"]
train, _ = zip(*(tile() for _ in range(90)))
test, masks = map(np.stack, zip(*(tile(defect) for defect in (kinds * 7 + [None] * 20))))
y_test = np.where(masks.any(axis=(1, 2)), -1, 1)

# %%
# Fit, and measure
# ----------------
#
# Scores are high for what is normal, of pixels as of pictures. PRO asks how much of each defect is
# found, so that a small one counts as much as a large one. Of normal tiles one in twenty may have
# anything in its mask.

detector = ConformalMapDetector(
    PatchCore(image_size=96, random_state=0), false_alarm_rate=0.05, calibration_share=0.6
).fit(train)
score_maps = detector.score_maps(test)
scores = score_maps.min(axis=(1, 2))
print(f"image AUROC {auroc_score(y_test, scores):.3f}")
print(f"pixel AUROC {pixel_auroc_score(masks, score_maps):.3f}")
print(f"pixel average precision {pixel_average_precision_score(masks, score_maps):.3f}")
print(f"PRO {pro_score(masks, score_maps):.3f}")
found = (score_maps < detector.pixel_offset_).any(axis=(1, 2))
print(f"defects found: {found[:21].sum()} of 21, false alarms: {found[21:].sum()} of 20")

# %%
# Tile, map, what is called a defect, and the truth
# -------------------------------------------------
#
# Maps are coarser than thin defects, so outlines are wider.

chosen = [0, 1, 2, 21]
display = AnomalyMapDisplay.from_predictions(
    test[chosen], score_maps[chosen], masks=masks[chosen], threshold=detector.pixel_offset_
)
display.figure_.savefig("masks.png", dpi=80)
print("picture: masks.png")
