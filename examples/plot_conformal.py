"""
A false-alarm rate that holds
=============================

The threshold of a detector is a guess about images that it has not seen. `ConformalDetector` puts
some normal images aside, and ranks new ones among them: of new normal images, it calls no more
anomalies than it was asked to.

Normal are the handwritten digits 0 to 4, anomalies the digits 5 to 9.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skad import ConformalDetector, FeatureExtractor, KNNScorer

digits, labels = load_digits(return_X_y=True)
train, test = train_test_split(digits[labels < 5], train_size=600, random_state=0)
anomalies = digits[labels >= 5][:100]

# %%
# Around any detector
# -------------------
#
# The network is frozen and may stay outside, so that each image goes through it once. A detector
# that learns from images, as `DN2` does, goes inside: ``ConformalDetector(DN2())``.

detector = make_pipeline(
    FeatureExtractor(image_size=32),
    ConformalDetector(KNNScorer(), false_alarm_rate=0.05, calibration_share=0.5),
).fit(train)
print(f"false alarms: {(detector.predict(test) == -1).mean():.1%} of {len(test)}, asked: 5 %")
print(f"anomalies found: {(detector.predict(anomalies) == -1).mean():.1%}")

# %%
# The rate holds on average over what is put aside
# ------------------------------------------------
#
# With one set of 300 images it varies by a percent or so. Over many splits:

features = detector[0].transform(digits[labels < 5])
asked = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
found = {}
for method, options in (("split", {"calibration_share": 0.5}), ("cross", {"n_folds": 5})):
    rates = []
    for seed in range(40 if method == "split" else 8):
        part, new = train_test_split(features, train_size=600, random_state=seed)
        conformal = ConformalDetector(
            KNNScorer(), false_alarm_rate=0.01, method=method, random_state=seed, **options
        )
        p_values = conformal.fit(part).p_values(new)
        rates.append((p_values[:, None] <= asked).mean(axis=0))
    found[method] = np.mean(rates, axis=0)
    print(f"{method}: asked {asked}, measured {found[method].round(4)}")

# %%
# Few false ones among the alarms of a batch
# ------------------------------------------
#
# In a batch with few anomalies, alarms at 5 % are mostly false. `predict_fdr` bounds the share of
# false ones among the alarms instead (Benjamini and Hochberg).

batch = np.concatenate([test[:200], anomalies[:20]])
is_anomaly = np.arange(len(batch)) >= 200
conformal, batch_features = detector[-1], detector[0].transform(batch)
for name, alarm in (
    ("predict", conformal.predict(batch_features) == -1),
    ("predict_fdr(0.1)", conformal.predict_fdr(batch_features, false_discovery_rate=0.1) == -1),
):
    wrong = (alarm & ~is_anomaly).sum()
    print(f"{name}: {alarm.sum()} alarms, {wrong} of them false")

# %%
# p-values of normal images are uniform, those of anomalies small
# ---------------------------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for title, images in (("normal", test), ("anomalies", anomalies)):
    p_values = conformal.p_values(detector[0].transform(images))
    axes[0].hist(p_values, bins=20, range=(0, 1), density=True, alpha=0.6, label=title)
axes[0].set(xlabel="p-value", ylabel="density")
axes[0].legend()
axes[1].plot(100 * asked, 100 * asked, color="0.6", label="asked")
for method, rates in found.items():
    axes[1].plot(100 * asked, 100 * rates, marker="o", label=method)
axes[1].set(xlabel="asked false-alarm rate (%)", ylabel="measured (%)")
axes[1].legend()
picture = Path("conformal.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
