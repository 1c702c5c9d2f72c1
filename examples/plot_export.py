"""
Export, and run without skad
============================

A fitted detector becomes one ONNX file, from pixels to the decision: network, gallery, threshold
and maps are inside. What runs it needs onnxruntime and numpy, no skad and no torch.
(``pip install "skad[export]"``)
"""

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_sample_images

from skad import ConformalMapDetector, PatchCore
from skad.export import to_onnx

# %%
# On the machine that learns
# --------------------------
#
# Normal pictures are cut from a dahlia. (Crops of one photograph do as an example; they keep no
# false-alarm rate for other photographs.) ``to_onnx`` has the graph and the detector score pictures
# before it writes the file, and tells by how much they differ.

flower = load_sample_images().images[1]
rng = np.random.default_rng(0)
places = rng.integers((110, 190), (230, 320), (100, 2))
petals = np.stack([flower[y : y + 96, x : x + 96] for y, x in places])
detector = ConformalMapDetector(
    PatchCore(image_size=64, random_state=0), false_alarm_rate=0.1, calibration_share=0.5
).fit(petals)

scratch = TemporaryDirectory()
path = f"{scratch.name}/petals.onnx"
print(f"scores differ by {to_onnx(detector, path, pictures=petals[:16]):.0e} at most")

# %%
# On the machine that looks
# -------------------------
#
# Pictures are bytes in RGB, of any size; those of one call are of one size. ``score`` is below 0
# for anomalies; ``session.get_outputs()`` tells what else comes out. ``examples/run_onnx.py`` is a
# script of these lines.

session = onnxruntime.InferenceSession(path)
normal = np.stack([flower[y : y + 96, x : x + 96] for y, x in ((130, 240), (200, 290), (180, 200))])
spoilt = normal.copy()
spoilt[0, 40:60, 20:52] = (60, 90, 200)  # something blue
spoilt[1, 30:70, 60:63] = 250  # a scratch
spoilt[2, 20:60, 30:70] = rng.integers(0, 256, (40, 40, 3))  # noise
pictures = np.concatenate([normal, spoilt])

score, anomaly, p_value, score_maps = session.run(None, {"pixels": pictures})
verdicts = [
    f"{'anomaly' if found else 'normal'}, score {s:+.2f}" for s, found in zip(score, anomaly)
]
print(*verdicts, sep="\n")

# %%
# Maps from the file
# ------------------

figure, axes = plt.subplots(2, 6, figsize=(12, 4.4), layout="constrained")
for (above, below), picture, verdict, score_map in zip(axes.T, pictures, verdicts, score_maps):
    above.imshow(picture)
    above.set_title(verdict.replace(", ", "\n"), fontsize=13)
    below.imshow(-score_map, cmap="inferno", vmin=-np.median(score_maps), vmax=-score_maps.min())
for axis in axes.flat:
    axis.set_axis_off()
figure.savefig("export.png", dpi=80)
print("picture: export.png")
scratch.cleanup()
