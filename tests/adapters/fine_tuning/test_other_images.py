"""Outliers and source images."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone

from skad import (
    PANDAOE,
    JointOptimization,
)
from skad.metrics import auroc_score
from skad.training import _run as _run
from tests.adapters.fine_tuning.common import (
    CLASSES,
    SETTINGS,
    SEVEN,
    assert_same_weights,
    contrastive,
    exposure,
    extractor,
    joint,
    untrained,
)


def test_outliers_are_told_apart(tiles):
    temple, flower = tiles[:24], tiles[24:]
    detector = PANDAOE(image_size=32, n_steps=15, clip_norm=0.1).fit(
        flower[::2], X_outliers=temple[::2]
    )
    X, y = np.concatenate([flower[1::2], temple[1::2]]), np.repeat([1, -1], 12)
    assert auroc_score(y, detector.decision_function(X)) > 0.8
    losses = detector.training_curve_["loss"][1:]
    assert losses[-1] < losses[0]


def test_the_logit_is_linear_in_the_features(normal, others):
    adapter = exposure().fit(normal, X_outliers=others)
    below = exposure(output="features").fit(normal, X_outliers=others)
    features, logits = below.transform(others), adapter.transform(others)
    assert (features.shape, logits.shape) == ((24, 96), (24, 1))
    expected = features @ adapter.coef_ + adapter.intercept_
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-6)
    assert adapter.get_feature_names_out().tolist() == ["logit"]
    assert len(below.get_feature_names_out()) == 96


@pytest.mark.parametrize("detector", [exposure(), PANDAOE(n_steps=2, **SETTINGS)], ids=["a", "d"])
def test_outliers_that_do_not_serve(detector, normal, others):
    shared = np.concatenate([others[:3], normal[5:7]])
    cases = [
        (None, r"outlier images are missing; give fit\(X, X_outliers=images\).*set_fit_request\("),
        (others[:1], "X_outliers must hold at least 2 images; got 1"),
        (shared, "2 of the 5 images of X_outliers are training images, the first is image 3"),
        (list(shared / 255.0), "2 of the 5 images"),
        (normal, "20 of the 20"),
        (others * 1.0, "floats of images must lie"),
        ([], "X holds 0 images"),
    ]
    for outliers, message in cases:
        with pytest.raises(ValueError, match=f"OutlierExposureAdapter: {message}"):
            clone(detector).fit(normal, X_outliers=outliers)


def test_outliers_of_any_form(normal, others, tmp_path):
    for i, image in enumerate(others):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    expected = exposure().fit(normal, X_outliers=others)
    tensor = torch.from_numpy(others).permute(0, 3, 1, 2)
    for outliers in (sorted(tmp_path.iterdir()), list(others), tensor):
        assert_same_weights(exposure().fit(normal, X_outliers=outliers), expected)
    sizes = [image[: 20 + i] for i, image in enumerate(others)]
    for outliers in (others[:, ::2, ::2], sizes, others[..., 0]):
        assert exposure().fit(normal, X_outliers=outliers).stopped_at_ == 4


def test_the_epochs_are_counted_in_normal_images(normal, others):
    adapter = exposure(n_steps=None, n_epochs=3, batch_size=8).fit(normal, X_outliers=others)
    assert adapter.stopped_at_ == 9
    msc = contrastive(n_steps=None, n_epochs=2, batch_size=20).fit(normal)
    assert msc.stopped_at_ == 2


@pytest.mark.parametrize(
    ("parameters", "labels", "message"),
    [
        ({}, CLASSES[:-1], r"one label for each of the 24 images of X_source; got shape \(23,\)"),
        ({}, CLASSES * 0, "y_source needs at least 2 classes; got \\[0\\]"),
        ({}, None, r"labelled source images are missing; give fit\(X, X_source=images, y_source="),
        ({"source_head": "pretrained"}, CLASSES / 2, "integers from 0 to 6; .* of dtype float64"),
        ({"source_head": "auto"}, CLASSES + 5, r"integers from 0 to 6; got \[5, 6, 7, 8\]"),
        ({"source_head": "auto"}, CLASSES - 1, r"integers from 0 to 6; got \[-1, 0, 1, 2\]"),
        (
            {"source_head": "pretrained", "extractor": extractor("tiny")},
            CLASSES,
            "source_head='pretrained', but Tiny has no classifier on these features",
        ),
    ],
)
def test_labels_of_source_images_that_do_not_fit(parameters, labels, message, normal, others):
    adapter = joint(**{"extractor": extractor(SEVEN)} | parameters)
    with pytest.raises(ValueError, match=f"JointOptimizationAdapter: .*{message}"):
        adapter.fit(normal, X_source=others, y_source=labels)
    assert not hasattr(adapter, "extractor_")


def test_source_images_are_needed(normal):
    for estimator in (joint(), JointOptimization(n_steps=2, **SETTINGS)):
        with pytest.raises(ValueError, match="source images are missing.*set_fit_request"):
            estimator.fit(normal, y_source=CLASSES)


@pytest.mark.bits
def test_classes_of_any_kind(normal, others):
    new = joint().fit(normal, X_source=others, y_source=CLASSES)
    words = np.array(["a", "b", "c", "d"])[CLASSES]
    assert_same_weights(joint().fit(normal, X_source=others, y_source=words), new)
    own = joint(extractor=extractor(SEVEN), source_head="auto")
    own.fit(normal, X_source=others, y_source=CLASSES)
    anew = clone(own).set_params(source_head="new")
    anew.fit(normal, X_source=others, y_source=CLASSES)
    assert not np.array_equal(own.transform(others), anew.transform(others))
    for adapter in (own, anew):  # the network's own classifier is not trained, its copy is
        before = untrained(adapter, normal)
        assert torch.equal(adapter.network_.fc.weight, before.fc.weight)


def test_joint_loss_is_the_sum_of_both(normal, others):
    made = extractor(SEVEN)
    adapter = joint(extractor=made, source_head="pretrained", n_steps=1, compactness_weight=3.0)
    adapter.fit(normal, X_source=others, y_source=CLASSES)
    fitted = clone(made).fit(normal)
    features, source = fitted.transform(normal), torch.from_numpy(fitted.transform(others))
    logits = fitted.network_.fc.cpu()(source).detach().double()
    entropy = np.mean([-logits[i].log_softmax(0)[c] for i, c in enumerate(CLASSES)])
    compact = ((features - features.mean(0)) ** 2).mean()
    assert adapter.training_curve_["loss"][1] == pytest.approx(entropy + 3 * compact, rel=1e-4)
