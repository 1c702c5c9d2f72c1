"""
Workers on other machines: Dask
===============================

A photograph is cut into two thousand squares, and the workers of a Dask cluster tell which of them
look unlike the sky and the lake. No line of the detector changes, and scores have the same bits as
without workers. (``pip install "skad[dask]"``)
"""

import joblib
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_images

from skad import DN2

# %%
# Squares of a photograph
# -----------------------
#
# Normal are those on the right, of sky and lake: a hundred to learn from.

photo = load_sample_images().images[0]
side, step = 48, 10
squares = sliding_window_view(photo, (side, side, 3))[::step, ::step, 0]
n_rows, n_columns = squares.shape[:2]
is_sky = np.zeros((n_rows, n_columns), bool)
is_sky[:22, 35:46] = True
print(f"{n_rows} x {n_columns} squares, {is_sky.sum()} of them of sky and lake")

detector = DN2(image_size=32).fit(squares[is_sky][::2])

# %%
# A cluster
# ---------
#
# This one is two threads here; ``Client("scheduler:8786")`` is one of many machines. They get the
# fitted detector once, and the pictures (of files only the paths) block by block.

with (
    Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None),
    joblib.parallel_config("dask"),
):
    scores = detector.decision_function(squares.reshape(-1, side, side, 3))

few = slice(None, 2 * 256)
alone = detector.decision_function(squares.reshape(-1, side, side, 3)[few])
print(f"the same as without workers: {(scores[few] == alone).all()}")

# %%
# Each score at its place
# -----------------------

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
axes[0].imshow(photo)
axes[0].set_title("a photograph", fontsize=13)
edges = (side / 2 - step / 2, photo.shape[1] - side / 2, photo.shape[0] - side / 2, side / 2)
heat = axes[1].imshow(
    scores.reshape(n_rows, n_columns), extent=edges, cmap="inferno_r", interpolation="bilinear"
)
axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim(), facecolor="0.9")
axes[1].set_title("how odd each square is, at its middle", fontsize=13)
figure.colorbar(heat, label="score: lower is odder", shrink=0.8)
for axis in axes:
    axis.set(xticks=[], yticks=[])
figure.savefig("dask.png", dpi=80)
print("picture: dask.png")
