"""
Solar cells: find cracks, and promise how few sound cells are flagged
=====================================================================

Electroluminescence shows a solar cell from inside: cracks and dead parts stay dark. ``PatchCore``
learns from sound cells alone, says how odd a cell is and where, and ``ConformalMapDetector`` turns
its maps into masks and regions at a false-alarm rate that was asked for.

Where the package ``elpv-dataset`` is installed (``pip install elpv-dataset``, 2 624 real cells, CC
BY-NC-SA 4.0; Deitsch et al. 2019), these are real cells; else they are drawn, with cracks drawn in,
so that the example runs anywhere.
"""

import matplotlib

matplotlib.use("Agg")
import numpy as np
from PIL import Image, ImageDraw
from sklearn.frozen import FrozenEstimator

from skad import PatchCore
from skad.conformal import ConformalMapDetector
from skad.displays import AnomalyMapDisplay
from skad.metrics import auroc_score

# %%
# Sound cells to learn from, others to test on
# --------------------------------------------


def real_cells(n_train=120, n_calibrate=60, n_test=30):
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
    parts = [[drawn_cell(rng) for _ in range(n)] for n in (40, 30, 10)]
    parts.append([drawn_cell(rng, cracked=True) for _ in range(10)])
    return map(np.stack, parts)


try:
    train, calibrate, sound, defective = real_cells()
except ImportError:
    train, calibrate, sound, defective = drawn_cells()
test, y = np.concatenate([sound, defective]), np.repeat([1, -1], [len(sound), len(defective)])

# %%
# Fit, and score
# --------------
#
# "tiny-dense" is the network inside the package for small defects. A hundredth of the patches of
# the sound cells stands for all of them.

detector = PatchCore("tiny-dense", image_size=128, random_state=0).fit(train)
print(f"AUROC: {100 * auroc_score(y, detector.score_samples(test)):.1f} %")

# %%
# Masks that keep a promise
# -------------------------
#
# Calibrated on further sound cells, no more than one sound cell in ten has anything in its mask,
# whatever the network and the camera. The detector is fitted already, so it is frozen.

promise = ConformalMapDetector(
    FrozenEstimator(detector), false_alarm_rate=0.1, calibration_share=1.0, random_state=0
).fit(calibrate)
flagged = promise.predict_masks(test).any(axis=(1, 2))
print(f"sound cells flagged: {flagged[y == 1].mean():.0%}")
print(f"defective cells flagged: {flagged[y == -1].mean():.0%}")

# %%
# Regions come as a table: where, how large, how odd.

table = promise.predict_regions(test)
columns = ("image", "top", "left", "bottom", "right", "area", "p_value")
print(*columns)
for index in np.flatnonzero(table["defect"])[-5:]:
    print(*(np.round(table[name][index], 3) for name in columns))

# %%
# The oddest cells, with their maps
# ---------------------------------

oddest = np.argsort(detector.score_samples(test))[:6]
maps = detector.score_maps(test[oddest])
display = AnomalyMapDisplay.from_predictions(test[oddest], maps, threshold=promise.pixel_offset_)
display.figure_.savefig("solar_cells.png", dpi=80, bbox_inches="tight")
