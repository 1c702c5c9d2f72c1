"""
Solar cells: cracks marked, few sound cells flagged
===================================================

Electroluminescence shows a solar cell from inside: cracks and dead parts stay dark. ``PatchCore``
learns from sound cells alone; what looks odd is marked, and comes as a table, at a false-alarm rate
that was asked for.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from sklearn.frozen import FrozenEstimator

from skad import ConformalMapDetector, PatchCore
from skad.metrics import auroc_score

# %%
# Sound cells to learn from, others to test on
# --------------------------------------------
#
# With ``pip install elpv-dataset`` these are real cells (2 624 of them; Deitsch et al. 2019, CC
# BY-NC-SA 4.0); without, they are drawn, cracks as well.


def real_cells(n_train=100, n_calibrate=150, n_test=60):
    """Monocrystalline cells that all experts called sound, and defective ones."""
    from elpv_dataset.utils import load_dataset

    images, probability, kind = load_dataset()
    rng = np.random.RandomState(0)
    sound = rng.permutation(np.flatnonzero((probability == 0) & (kind == "mono")))
    defective = rng.permutation(np.flatnonzero((probability == 1) & (kind == "mono")))[:n_test]
    parts = np.split(sound[: n_train + n_calibrate + n_test], [n_train, n_train + n_calibrate])
    return *(images[part] for part in parts), images[defective]


def drawn_cell(rng, cracked=False, side=150):
    """A cell with busbars and fingers, brighter in the middle; perhaps with a crack."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    fingers = 8 * (np.arange(side) % 5 == 0)
    light = rng.uniform(110, 150) - 80 * (rows**2 + columns**2) - fingers
    light += rng.normal(0, 3, (side, side))
    cell = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(cell)
    for bar in (0.25, 0.75):
        pen.rectangle([0, bar * side - 2, side, bar * side + 2], fill=35)
    if cracked:
        x, y = rng.uniform(0.2, 0.7, 2) * side
        steps = rng.uniform(-12, 12, (4, 2)) + rng.uniform(-9, 9, 2)
        bends = np.cumsum(steps, axis=0) + np.array([x, y])
        pen.line([(x, y), *map(tuple, bends)], fill=30, width=2)
    return np.asarray(cell)


def drawn_cells():
    """As many as make the example quick."""
    rng = np.random.default_rng(0)
    parts = [[drawn_cell(rng) for _ in range(n)] for n in (40, 100, 60)]
    parts.append([drawn_cell(rng, cracked=True) for _ in range(20)])
    return map(np.stack, parts)


try:
    train, calibrate, sound, defective = real_cells()
except ImportError:
    train, calibrate, sound, defective = drawn_cells()
test, y = np.concatenate([defective, sound]), np.repeat([-1, 1], [len(defective), len(sound)])

# %%
# Fit, and score
# --------------

detector = PatchCore(image_size=96, random_state=0).fit(train)
print(f"AUROC: {100 * auroc_score(y, detector.score_samples(test)):.1f} %")

# %%
# Masks that keep a promise
# -------------------------
#
# Calibrated on further sound cells, no more than one new sound cell in twenty has anything in its
# mask, whatever the network and the camera. The detector is fitted already, so it is frozen.

promise = ConformalMapDetector(
    FrozenEstimator(detector), false_alarm_rate=0.05, calibration_share=1.0
).fit(calibrate)
masks = promise.predict_masks(test)
flagged = masks.any(axis=(1, 2))
print(f"sound cells flagged: {flagged[y == 1].mean():.0%}")
print(f"defective cells flagged: {flagged[y == -1].mean():.0%}")

figure, axes = plt.subplots(2, 4, figsize=(10, 5.6), layout="constrained")
for axis, i in zip(axes.flat, [*range(6), *len(defective) + np.arange(2)]):
    axis.imshow(test[i], cmap="gray")
    if flagged[i]:
        axis.contourf(masks[i], [0.5, 1.5], colors="orange", alpha=0.35)
    truth, verdict = ("sound" if y[i] == 1 else "broken"), ("flagged" if flagged[i] else "passed")
    axis.set_title(f"{truth}, {verdict}", fontsize=14)
    axis.set_axis_off()
figure.savefig("solar_cells.png", dpi=80)
print("picture: solar_cells.png")

# %%
# Regions as a table
# ------------------
#
# Where, how large, how odd: each connected region is a row, with a promise of the same kind.

table = promise.predict_regions(defective[:6])
columns = ("image", "top", "left", "bottom", "right", "area", "p_value")
print(*columns)
for index in np.flatnonzero(table["defect"]):
    print(*(np.round(table[name][index], 3) for name in columns))
