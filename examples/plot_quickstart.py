"""
The first minute: find defects, with few false alarms
=====================================================

Learn from pictures of what is normal; then tell which new pictures are not, and where. These are
views of a dahlia, each turned, shifted and lit at random, some with a defect. The photograph comes
with scikit-learn and the network with skad: nothing is downloaded.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from skad import ConformalMapDetector, PatchCore
from skad.metrics import auroc_score
from skad.model_selection import SyntheticAnomalies

# %%
# Pictures
# --------
#
# 160 to learn from; 100 new ones that are normal, and 48 with a large defect that is made: a patch,
# a texture, a scar, a stain, noise, a part that is blurred or bent. (Views of one photograph do
# here, as new ones are made like those to learn from; they keep no rate for other photographs.)

photo = Image.fromarray(load_sample_images().images[1])
flower = photo.crop((122, 32, 492, 402)).resize((250, 250))


def view(rng, side=160):
    """The flower, turned, shifted and lit at random."""
    turned = flower.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    left, top = (flower.width - side) // 2 + rng.integers(-3, 4, 2)
    turned = turned.crop((left, top, left + side, top + side))
    return np.asarray(ImageEnhance.Brightness(turned).enhance(rng.uniform(0.85, 1.15)))


rng = np.random.default_rng(0)
train, normal, spoilt = (np.stack([view(rng) for _ in range(n)]) for n in (160, 100, 48))
made = SyntheticAnomalies("defects", strength="coarse", per_image=1).make(spoilt)
defective = np.stack([made.images[i] for i in np.flatnonzero(made.y == -1)])

# %%
# Learn, and look
# ---------------
#
# At most 5 % of normal pictures shall raise a false alarm. For that 60 % of the 160 pictures are
# put aside: nothing is learned from them, but new ones are ranked among them. A picture is as odd
# as its oddest pixel, so its map says all.


def look(train, normal, defective, picture):
    """Learn from normal pictures, tell what is found in new ones, and draw a few of them."""
    detector = ConformalMapDetector(
        PatchCore(image_size=96, random_state=0), false_alarm_rate=0.05, calibration_share=0.6
    ).fit(train)
    score_maps = detector.score_maps(np.concatenate([defective, normal]))  # high = normal
    scores, masks = score_maps.min(axis=(1, 2)), score_maps < detector.pixel_offset_
    found, y = masks.any(axis=(1, 2)), np.repeat([-1, 1], [len(defective), len(normal)])
    told = (
        f"found: {found[y == -1].sum()} of {len(defective)} defective pictures; "
        f"false alarms: {found[y == 1].sum()} in {len(normal)} normal ones"
    )
    print(f"learned from {len(train)} normal pictures, looked at {len(y)} new ones")
    print(told)
    print(f"asked for: false alarms in at most 5 %; AUROC {auroc_score(y, scores):.3f}")

    figure, axes = plt.subplots(2, 6, figsize=(12, 4.7), layout="constrained")
    figure.suptitle(told, fontsize=16)
    shown = [*range(4), *len(defective) + np.arange(2)]  # the first four, and two normal ones
    new = [*defective[:4], *normal[:2]]
    heat = {"cmap": "inferno", "vmin": -np.median(score_maps), "vmax": -scores[shown].min()}
    for (above, below), i, image, p in zip(axes.T, shown, new, detector.p_values(np.stack(new))):
        above.imshow(image, cmap="gray")
        above.set_title(f"{'DEFECT' if found[i] else 'normal'}, p = {p:.2f}", fontsize=14)
        below.imshow(-score_maps[i], **heat)
        if found[i]:
            below.contour(masks[i], [0.5], colors="deepskyblue")
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(picture, dpi=80)
    print(f"picture: {picture}")


look(train, normal, defective, "quickstart.png")

# %%
# Above what is looked at, with the share of normal pictures that look as odd; below where it is
# odd, brighter for odder, and in the outlines what is called a defect.
#
# The same for real defects
# -------------------------
#
# ``pip install elpv-dataset`` brings 2 624 solar cells, seen by electroluminescence (Deitsch et al.
# 2019, CC BY-NC-SA 4.0). What finds made defects in a flower finds cracks in them.

try:
    from elpv_dataset.utils import load_dataset
except ImportError:
    print("for real defects: pip install elpv-dataset, and run this again")
else:
    cells, probability, kind = load_dataset()
    sound = cells[rng.permutation(np.flatnonzero((probability == 0) & (kind == "mono")))]
    broken = cells[rng.permutation(np.flatnonzero((probability == 1) & (kind == "mono")))]
    look(sound[:160], sound[160:260], broken[:48], "quickstart_cells.png")
