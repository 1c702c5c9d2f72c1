"""AutoencoderAdapter, decoders, contrast normalisation."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from torch import nn

from skad import (
    DeepSVDD,
)
from skad.adapters._autoencoder import pixels
from skad.training import _run as _run
from tests.adapters.from_scratch.common import CODER, Drawn, autoencoder, extractor, prepared


class Pixels(nn.Module):
    """A network whose features are the pixels that it sees."""

    def __init__(self, n_channels=1, image_size=8):
        super().__init__()
        self.pretrained_cfg = {
            "input_size": (n_channels, image_size, image_size),
            "mean": (0.5,) * n_channels,
            "std": (0.25,) * n_channels,
            "crop_pct": 1.0,
        }

    def forward(self, images):
        return images.flatten(1)


def of_equal_contrast(images):
    rows = np.asarray(images, dtype=np.float64).reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.abs(rows).mean(axis=1, keepdims=True)


def test_contrast_is_normalised_by_the_training_images(zeros, others):
    made = extractor(Pixels, contrast_normalization=True, batch_size=7).fit(zeros)
    train, test = of_equal_contrast(zeros), of_equal_contrast(others)
    low, high = train.min(), train.max()
    np.testing.assert_allclose(made.preprocessing_.contrast_range, (low, high), rtol=1e-5)
    for images, rows in ((zeros, train), (others, test)):
        found, expected = made.transform(images), (rows - low) / (high - low)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = made.transform(zeros)
    assert found.min() == pytest.approx(0, abs=1e-6)
    assert found.max() == pytest.approx(1, abs=1e-6)
    spike = np.zeros((1, 8, 8))
    spike[0, 3, 3] = 1.0
    assert made.transform(spike).max() > 1.5, "test images may go beyond"
    # neither brightness nor contrast of an image counts
    np.testing.assert_allclose(
        made.transform(others * 0.4 + 0.3), made.transform(others), atol=1e-4
    )


def test_contrast_is_that_of_all_channels(colored):
    made = extractor(partial(Pixels, 3, 16), contrast_normalization=True)
    found = made.fit_transform(colored)
    rows = of_equal_contrast(colored.transpose(0, 3, 1, 2) / 255)
    expected = (rows - rows.min()) / (rows.max() - rows.min())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_anomalies_do_not_set_the_contrast_range(zeros):
    spikes = np.zeros((3, 8, 8))
    spikes[:, 2, 2] = 1.0
    images, labels = np.concatenate([spikes, zeros]), np.repeat([-1, 1], [3, 20])
    made = extractor(Pixels, contrast_normalization=True)
    expected = clone(made).fit(zeros).preprocessing_.contrast_range
    assert clone(made).fit(images, labels).preprocessing_.contrast_range == expected
    assert clone(made).fit(images).preprocessing_.contrast_range != expected
    detector = DeepSVDD(CODER, n_pretraining_epochs=1, n_epochs=1).fit(images, labels)
    assert detector.pipeline_[0].extractor_.preprocessing_.contrast_range == expected


def test_images_of_one_colour_have_finite_features(zeros):
    flat = np.stack([np.full((8, 8), value) for value in (0.0, 0.3, 1 / 3, 1.0)])
    made = extractor(Pixels, contrast_normalization=True).fit(zeros)
    low, high = made.preprocessing_.contrast_range
    np.testing.assert_allclose(made.transform(flat), -low / (high - low), rtol=1e-4)
    assert np.isfinite(extractor(Pixels, contrast_normalization=True).fit_transform(flat)).all()
    detector = DeepSVDD(CODER, n_pretraining_epochs=1, n_epochs=1, batch_size=2).fit(flat)
    assert np.isfinite(detector.score_samples(flat)).all()


# Autoencoders


@pytest.mark.parametrize("contrast", [False, True])
def test_autoencoders_learn_to_draw_digits(contrast, zeros):
    made = extractor(CODER, contrast_normalization=contrast)
    adapter = autoencoder(extractor=made, n_steps=60, learning_rate=0.01, decay_at=1.0)
    losses = adapter.fit(zeros).training_curve_["loss"][1:]
    assert losses[-1] < 0.6 * losses[0]
    assert losses[-1] < ((zeros - zeros.mean()) ** 2).sum((1, 2)).mean() or contrast


@pytest.mark.parametrize("statistics", [{}, {"mean": 0.1, "std": 0.7}], ids=["own", "given"])
def test_targets_of_a_sigmoid_are_pixels(statistics, zeros):
    made = extractor(CODER, **statistics).fit(zeros)
    images = prepared(made, zeros)
    assert float(images.min()) < 0
    np.testing.assert_allclose(
        pixels(images, made.preprocessing_)[:, 0], zeros, rtol=1e-5, atol=1e-6
    )
    scaled = extractor(CODER, contrast_normalization=True).fit(zeros)
    images = prepared(scaled, zeros)
    assert pixels(images, scaled.preprocessing_) is images
    assert float(images.min()) == pytest.approx(0, abs=1e-6)
    assert float(images.max()) == pytest.approx(1, abs=1e-6)


class Linear(nn.Module):
    """An encoder that tells nothing of a decoder."""

    def __init__(self):
        super().__init__()
        self.pretrained_cfg = Pixels().pretrained_cfg
        self.linear = nn.Linear(64, 5)

    def forward(self, images):
        return self.linear(images.flatten(1))


class DrawnInRange(Drawn):
    decoder_range = "unit"


def test_a_decoder_says_what_it_draws(zeros):
    first = {}
    for decoder in (Drawn, DrawnInRange):
        made = extractor(CODER, mean=0.25, std=0.5)
        adapter = autoencoder(extractor=made, decoder=decoder, batch_size=20).fit(zeros)
        first[decoder] = adapter.training_curve_["loss"][1]
    plain = (zeros**2).sum((1, 2)).mean()  # pixels in [0, 1]
    seen = (((zeros - 0.25) / 0.5) ** 2).sum((1, 2)).mean()
    assert first[DrawnInRange] == pytest.approx(plain, rel=1e-5)
    assert first[Drawn] == pytest.approx(seen, rel=1e-5)


def test_decoders_that_do_not_fit(zeros):
    message = r"decoder must give images as the network sees them, of shape \(1, 8, 8\); got "
    for decoder, shape in (
        (partial(Drawn, 7), r"\(1, 7, 7\)"),
        (partial(Drawn, n_channels=3), r"\(3, 8, 8\)"),
        (partial(nn.Linear, 16, 64), r"\(64,\)"),
    ):
        adapter = autoencoder(decoder=decoder)
        with pytest.raises(ValueError, match=f"AutoencoderAdapter: the {message}{shape}"):
            adapter.fit(zeros)
        assert not hasattr(adapter, "extractor_")


def test_encoders_without_decoders(zeros):
    message = "AutoencoderAdapter: Linear has no make_decoder.*give decoder=.*svdd_cifar"
    for estimator in (
        autoencoder(extractor=extractor(Linear)),
        DeepSVDD(Linear, n_pretraining_epochs=1, n_epochs=1),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(zeros)
    DeepSVDD(Linear, n_pretraining_epochs=0, n_epochs=1).fit(zeros)
