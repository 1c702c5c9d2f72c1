"""
Networks trained from scratch: NSA, DeepSVDD, rotation prediction
=================================================================

Where pictures look like nothing that a pretrained network has seen, a small network can be trained
on the normal ones alone. NSA has it agree on two views of each picture, DeepSVDD draws codes of an
autoencoder together, rotation prediction tells which way up a picture is.
"""

from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skad import (
    NSA,
    DeepSVDD,
    FeatureExtractor,
    KNNScorer,
    RotationPrediction,
    SelfSupervisedAdapter,
    SklearnScorer,
)
from skad.augment import ContrastiveAugmentation
from skad.backbones import small_cnn, svdd_mnist
from skad.displays import TrainingCurveDisplay
from skad.metrics import auroc_score
from skad.model_selection import pollute

# %%
# One digit is normal, and one in ten training pictures is not
# -------------------------------------------------------------

digits, labels = load_digits(return_X_y=True)
is_normal = labels == 3
train, _ = pollute(
    digits[:700][is_normal[:700]], digits[:700][~is_normal[:700]], 0.1, random_state=0
)
test, y_test = digits[1000:1400], np.where(is_normal[1000:1400], 1, -1)

# %%
# The detectors, and OC-SVM on pixels and on features
# ----------------------------------------------------
#
# All of the papers' settings are for larger networks, images and budgets. A mirrored three is no
# three, so views are not mirrored here.

network = partial(small_cnn, width=8, image_size=16)
views = ContrastiveAugmentation(16, area=(0.4, 1.0), flip_probability=0, blur_probability=0)
heads = {"projector_widths": [64, 64, 64], "predictor_widths": [16, 16]}
training = {"augmentation": views, "n_epochs": 30, "batch_size": 32, "learning_rate": 1e-3, **heads}
extractor = FeatureExtractor(network, weights=None)
detectors = {
    "NSA": NSA(network, **training),
    "NSA, ensemble": NSA(network, scorer="ensemble", scaling="quantile", **training),
    "plain SimSiam": NSA(network, normalize=False, **training),
    "DeepSVDD": DeepSVDD(
        partial(svdd_mnist, image_size=16), n_pretraining_epochs=40, n_epochs=40, batch_size=32
    ),
    "rotations": RotationPrediction(network, n_steps=100, batch_size=32),
    "OC-SVM, pixels": make_pipeline(StandardScaler(), OneClassSVM(gamma="auto", nu=0.5)),
    "OC-SVM, features": make_pipeline(
        SelfSupervisedAdapter(extractor, **training), SklearnScorer(OneClassSVM(nu=0.5))
    ),
}
for name, detector in detectors.items():
    auroc = auroc_score(y_test, detector.fit(train).decision_function(test))
    print(f"{name:16} AUROC {auroc:.3f}")

# %%
# What training does, with and without normalisation
# ---------------------------------------------------
#
# ``monitor`` adds measures of one's own to the curve; where anomalies are known, how well they are
# told, say. The training does not depend on it.


def told(extractor):
    """AUROC of NSA's score on the features as they are."""
    scorer = KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean")
    scorer.fit(extractor.transform(train))
    return {"auroc": auroc_score(y_test, scorer.decision_function(extractor.transform(test)))}


measures = ["concentration", "mmd", "auroc"]
figure, axes = plt.subplots(3, 2, figsize=(10, 6), sharex="col", sharey="row", layout="constrained")
for column, normalize in zip(axes.T, (True, False)):
    adapter = SelfSupervisedAdapter(extractor, normalize=normalize, monitor=told, **training)
    adapter.fit(train)
    TrainingCurveDisplay.from_estimator(adapter, measures=measures, axes=column)
    column[0].set_title("normalised" if normalize else "plain")
picture = Path("from_scratch.png").resolve()
figure.savefig(picture, dpi=100)
print(f"picture: {picture}")
