"""
A folder of photos to a table
=============================

One folder holds good pictures, another new ones. Out comes a CSV file: for each new picture its
score, how many good ones look as odd, and the decision. A file that is broken is a row as well.
"""

import csv
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from skad import DN2, ConformalDetector
from skad.datasets import image_folder
from skad.displays import ContactSheetDisplay

# %%
# Two folders
# -----------
#
# Yours are there already. Here good pictures show petals; among 24 new ones six show something
# else, and one is no picture at all. (Crops of one photograph do here, as
# new ones are cut like those to learn from; they keep no false-alarm rate for other photographs.)

scratch = TemporaryDirectory()
folder = Path(scratch.name)
temple, flower = map(Image.fromarray, load_sample_images().images)
rng = np.random.default_rng(0)


def save(photo, name, left, top, right, bottom, side=80):
    """A square cut from somewhere in a part of a photograph."""
    x, y = rng.integers((left, top), (right - side, bottom - side))
    (folder / name).parent.mkdir(exist_ok=True)
    photo.crop((x, y, x + side, y + side)).save(folder / name)


for i in range(120):
    save(flower, f"good/{i:03}.jpg", 190, 110, 420, 330)
for i in range(24):
    place = (temple, 80, 60, 330, 330) if i % 4 == 3 else (flower, 190, 110, 420, 330)
    save(place[0], f"new/{i:03}.jpg", *place[1:])
(folder / "new" / "024.jpg").write_bytes(b"the disk was full")

# %%
# Learn from one, score the other
# -------------------------------
#
# Paths go in as they are; pictures are read batch by batch. At most one good picture in twenty is
# called an anomaly.

good, _ = image_folder(folder / "good")
new, _ = image_folder(folder / "new")
detector = ConformalDetector(
    DN2(on_error="skip"), false_alarm_rate=0.05, calibration_share=0.5
).fit(good)
with warnings.catch_warnings(action="ignore"):  # the broken file has a row of its own
    scores, p_values = detector.decide(new)

with open(folder / "scores.csv", "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["path", "score", "p_value", "decision"])
    for path, score, p in zip(new, scores, p_values):
        decision = "unreadable" if np.isnan(score) else "anomaly" if score < 0 else "normal"
        table.writerow([Path(path).name, f"{score:.4f}", f"{p:.3f}", decision])

rows = (folder / "scores.csv").read_text().splitlines()
print(*rows[:6], "...", rows[-1], sep="\n")

# %%
# Without Python the same is ``skad check good new --false-alarm-rate 0.05 --csv scores.csv``.
#
# Look at the oddest
# ------------------

readable = ~np.isnan(scores)
display = ContactSheetDisplay.from_predictions(new[readable], scores[readable], n_columns=6)
display.figure_.savefig("folder_to_csv.png", dpi=80)
print("picture: folder_to_csv.png")
scratch.cleanup()
