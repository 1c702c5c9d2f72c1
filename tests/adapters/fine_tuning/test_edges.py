"""Fine-tuning at its edges: few images, odd extractors, flat rows."""

import numpy as np
import pytest
import timm
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skad import (
    MSC,
    CompactnessAdapter,
    FeatureExtractor,
)
from skad.training import _run as _run
from tests.adapters.fine_tuning.common import (
    DETECTORS,
    SEVEN,
    assert_same_weights,
    compactness,
    contrastive,
    every_adapter,
    every_detector,
    exposure,
    extractor,
    joint,
)


@every_adapter
def test_one_training_image_is_too_few(make, normal, auxiliary):
    adapter = make()
    with pytest.raises(ValueError, match="training needs at least 2 normal images; got 1 sample"):
        adapter.fit(normal[:1], **auxiliary(adapter))
    with pytest.raises(ValueError, match="at least 2 normal images"):
        adapter.fit(normal[:3], [1, -1, -1], **auxiliary(adapter))


def test_batches_of_one_image(normal):
    adapter = compactness(batch_size=1, n_steps=3).fit(normal[:2])
    assert adapter.stopped_at_ == 3
    for estimator in (contrastive(batch_size=1), MSC(batch_size=1)):
        with pytest.raises(ValueError, match="The 'batch_size' parameter of .* in the range \\[2"):
            estimator.fit(normal)
    contrastive(batch_size=2, n_steps=2, learning_rate=1e-6).fit(normal[:3])


@every_adapter
@pytest.mark.parametrize("trainable", ["layer5", [], 9])
def test_stages_that_there_are_not(make, trainable, normal, auxiliary):
    adapter = make(trainable=trainable)
    message = f"{type(adapter).__name__}: trainable=.* names no stages of ResNet.*'layer3'"
    with pytest.raises(ValueError, match=message):
        adapter.fit(normal, **auxiliary(adapter))


@pytest.mark.parametrize("stranger", [PCA(), make_pipeline(extractor())], ids=["PCA", "Pipeline"])
def test_an_extractor_of_another_kind(stranger, normal):
    message = "CompactnessAdapter: extractor must be a FeatureExtractor or an adapter; got a "
    with pytest.raises(TypeError, match=f"{message}{type(stranger).__name__}"):
        compactness(extractor=stranger).fit(normal)


@pytest.mark.parametrize(
    "parameter",
    [
        *({"n_steps": 0}, {"learning_rate": 0}, {"momentum": 1.0}, {"clip_norm": 0}),
        *({"loss": "cosine"}, {"stopping": "late"}, {"penalty": -1}, {"n_checkpoints": 1}),
        *({"weight_decay": -1}, {"collapse_limit": 1.0}, {"trainable": 2.5}, {"extractor": 3}),
    ],
    ids=str,
)
def test_parameters_out_of_range(parameter, normal):
    (name,) = parameter
    with pytest.raises(ValueError, match=f"The '{name}' parameter of CompactnessAdapter"):
        compactness(**parameter).fit(normal)


@pytest.mark.filterwarnings("ignore::skad.CollapseWarning")
def test_images_of_one_colour(auxiliary):
    images = np.zeros((6, 16, 16), dtype=np.uint8)
    for make in (compactness, contrastive):
        adapter = make().fit(images)
        assert np.isfinite(adapter.transform(images)).all()
        assert adapter.training_curve_["spread"][0] == pytest.approx(0, abs=1e-6)


# Flat rows


@pytest.fixture(scope="module")
def digits():
    """Zeros and others as rows of 64 values in 0..16; classes of the others."""
    rows, labels = load_digits(return_X_y=True)
    return rows[labels == 0][:20], rows[labels > 4][:24], labels[labels > 4][:24]


@every_detector
def test_flat_rows_are_images(name, digits):
    zeros, rest, classes = digits
    rest = np.clip(rest, 0, 12)  # of another range than the training rows
    images = [rows.reshape(-1, 8, 8) / 16 for rows in (zeros, rest)]
    fit = {"X_outliers": rest}, {"X_outliers": images[1]}
    if name == "jo":
        fit = [{"X_source": X, "y_source": classes} for X in (rest, images[1])]
    elif name != "oe":
        fit = {}, {}
    detector = clone(DETECTORS[name][0])
    detector.fit(zeros, **fit[0])
    assert detector.pixel_range_ == (0.0, 16.0)
    assert detector.n_features_in_ == 64
    scores = detector.score_samples(rest)
    alike = clone(detector).fit(images[0], **fit[1])
    np.testing.assert_allclose(scores, alike.score_samples(images[1]), rtol=1e-3, atol=1e-6)
    first = detector.pipeline_[0]
    assert first.pixel_range_ == (0.0, 16.0)
    with pytest.raises(ValueError, match="X has 63 features, but .* is expecting 64"):
        detector.score_samples(rest[:, 1:])


def test_flat_outliers_that_are_training_rows(digits):
    zeros, rest, _ = digits
    with pytest.raises(ValueError, match="1 of the 25 images of X_outliers are training images"):
        exposure().fit(zeros, X_outliers=np.vstack([rest, zeros[3]]))


# What a review found


@pytest.mark.bits
def test_gray_and_colored_images_come_together(normal):
    mixed = [image if i % 2 else image[..., 0] for i, image in enumerate(normal)]
    as_gray = normal.copy()
    as_gray[::2] = normal[::2, ..., :1]
    assert_same_weights(contrastive().fit(mixed), contrastive().fit(as_gray))


def one_network(made=[]):  # noqa: B006
    made.append(made[0] if made else timm.create_model("test_resnet"))
    return made[-1]


@pytest.mark.bits
def test_a_factory_may_give_the_same_network_twice(normal):
    first, second = (compactness(extractor=extractor(one_network)).fit(normal) for _ in range(2))
    assert_same_weights(first, second)
    given = one_network().state_dict()
    trained = first.network_.layer4[0].conv1.weight.cpu()
    assert not torch.equal(given["layer4.0.conv1.weight"], trained)


def test_the_penalty_leaves_a_network_without_classifier_some_room(normal):
    ways = {}
    for stopping in ("early", "elastic"):
        adapter = CompactnessAdapter(
            FeatureExtractor(image_size=32),
            stopping=stopping,
            n_steps=10,
            learning_rate=0.6,
            weight_decay=0,
        )
        distance = adapter.fit(normal).training_curve_["center_distance"]
        ways[stopping] = distance[0] - distance[-1]
    assert 0.05 * ways["early"] < ways["elastic"] < ways["early"]


def test_labels_of_another_task_are_refused(normal, others):
    adapter = joint(extractor=extractor(SEVEN), source_head="auto")
    guessed = own_guesses(adapter, normal, others)
    adapter.fit(normal, X_source=others, y_source=guessed)
    with pytest.raises(ValueError, match="gets 0% of y_source right.*source_head='new'"):
        adapter.fit(normal, X_source=others, y_source=(guessed + 1) % 7)


def own_guesses(adapter, normal, others):
    made = extractor(SEVEN).fit(normal)
    features = torch.from_numpy(made.transform(others))
    with torch.no_grad():
        return made.network_.get_classifier().cpu()(features).argmax(1).numpy()


def test_dark_images_are_told_apart(normal, others):
    exposure().fit(normal / 255e3, X_outliers=others / 255e3)
    with pytest.raises(ValueError, match="1 of the 25 images of X_outliers are training images"):
        exposure().fit(normal, X_outliers=np.concatenate([others, normal[:1]]) / 255)


def test_no_gradient_is_kept(normal):
    assert all(p.grad is None for p in compactness().fit(normal).network_.parameters())
