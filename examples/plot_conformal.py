"""
Decisions at a false-alarm rate that holds
==========================================

The threshold of a detector is a guess about pictures that it has not seen. ``ConformalDetector``
puts some normal ones aside and ranks new ones among them: of new normal pictures it calls no more
anomalies than it was asked to. Here digits below 5 are normal, and the others are anomalies.
"""

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
# The network is frozen and may stay outside, so that each picture goes through it once. A detector
# that learns from pictures, as ``DN2`` does, goes inside: ``ConformalDetector(DN2())``.

extractor = FeatureExtractor(image_size=32)
conformal = ConformalDetector(KNNScorer(), false_alarm_rate=0.05, calibration_share=0.5)
detector = make_pipeline(extractor, conformal).fit(train)
print(f"false alarms: {(detector.predict(test) == -1).mean():.1%} of {len(test)}, asked: 5 %")
print(f"anomalies found: {(detector.predict(anomalies) == -1).mean():.1%}")

# %%
# Few false ones among the alarms of a batch
# ------------------------------------------
#
# In a batch with few anomalies, alarms at 5 % are mostly false. ``predict_fdr`` bounds the share of
# false ones among the alarms instead (Benjamini and Hochberg).

batch = detector[0].transform(np.concatenate([test[:200], anomalies[:20]]))
is_anomaly = np.arange(len(batch)) >= 200
for name, labels_found in (
    ("predict", detector[-1].predict(batch)),
    ("predict_fdr(0.1)", detector[-1].predict_fdr(batch, false_discovery_rate=0.1)),
):
    alarm = labels_found == -1
    print(f"{name}: {alarm.sum()} alarms, {(alarm & ~is_anomaly).sum()} of them false")

# %%
# What was asked, and what is measured
# ------------------------------------
#
# The rate holds on average over what is put aside; with one set of 300 pictures it varies by a
# percent or so. Here are many splits. Beside it the p-values: those of normal pictures are spread
# evenly, those of anomalies are small.

features = detector[0].transform(digits[labels < 5])
asked = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
found = {}
for method, options, n_splits in (
    ("split", {"calibration_share": 0.5}, 30),
    ("cross", {"n_folds": 5}, 6),
):
    rates = []
    for seed in range(n_splits):
        part, new = train_test_split(features, train_size=600, random_state=seed)
        conformal = ConformalDetector(
            KNNScorer(), false_alarm_rate=0.01, method=method, random_state=seed, **options
        )
        p_values = conformal.fit(part).p_values(new)
        rates.append((p_values[:, None] <= asked).mean(axis=0))
    found[method] = np.mean(rates, axis=0)
    print(f"{method}: asked {asked}, measured {found[method].round(4)}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for title, pictures, hatch in (("normal", test, ""), ("anomalies", anomalies, "//")):
    p_values = detector[-1].p_values(detector[0].transform(pictures))
    style = {"bins": 20, "range": (0, 1), "alpha": 0.6, "hatch": hatch, "label": title}
    axes[0].hist(p_values, weights=np.full(len(p_values), 100 / len(p_values)), **style)
axes[0].set_xlabel("p-value", fontsize=13)
axes[0].set_ylabel("% of pictures", fontsize=13)
axes[1].plot(100 * asked, 100 * asked, color="0.5", linestyle="--", label="as asked")
for (method, rates), marker in zip(found.items(), "os"):
    axes[1].plot(100 * asked, 100 * rates, marker=marker, markersize=8, label=method)
axes[1].set_xlabel("false alarms asked for (%)", fontsize=13)
axes[1].set_ylabel("measured (%)", fontsize=13)
for axis in axes:
    axis.legend(fontsize=12)
figure.savefig("conformal.png", dpi=80)
print("picture: conformal.png")
