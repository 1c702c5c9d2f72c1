"""SPADE: masks that keep their rate, layers, adapters, parameters."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans

from skad import (
    SPADE,
    CompactnessAdapter,
    DeepSVDDAdapter,
    FeatureExtractor,
    MeanShiftedContrastive,
    PseudoLabelAdapter,
    RotationAdapter,
    SelfSupervisedAdapter,
)
from skad.backbones import small_cnn, svdd_cifar
from skad.maps._maps import lay_over
from skad.metrics import auroc_score
from skad.networks._preprocessing import Preprocessing, preprocess

try:
    import resource
except ImportError:  # Windows
    resource = None

from tests.detectors.spade.common import LAYERS, SMALL


def test_masks_keep_the_share_of_pixels_that_was_asked_for(temple):
    detector = SPADE(
        **SMALL | {"n_threshold_images": 24}, n_neighbors=4, pixel_contamination=0.2
    ).fit(temple)
    assert detector.predict_masks(temple).mean() == pytest.approx(0.2, abs=0.005)
    stricter = clone(detector).set_params(pixel_contamination=0.01).fit(temple)
    assert stricter.pixel_offset_ < detector.pixel_offset_


def test_masks_keep_the_share_of_images_that_was_asked_for(temple):
    detector = SPADE(
        **SMALL | {"n_threshold_images": 24}, n_neighbors=4, mask_false_alarm_rate=0.25
    ).fit(temple)
    assert detector.predict_masks(temple).any(axis=(1, 2)).mean() == 0.25
    # Fewer than one image in the rate: more are drawn, and none is above it.
    few = SPADE(**SMALL, n_neighbors=4, mask_false_alarm_rate=0.05).fit(temple)
    assert few.predict_masks(temple).any(axis=(1, 2)).sum() <= 1
    strict = SPADE(**SMALL, n_neighbors=4, mask_false_alarm_rate=0.001).fit(temple)
    assert not strict.predict_masks(temple).any()


def test_large_maps_count_as_much_as_small_ones_in_the_threshold(temple):
    large = [np.kron(image, np.ones((12, 12, 1), dtype=np.uint8)) for image in temple[:2]]
    assert large[0].shape[0] * large[0].shape[1] > 2**16
    large += list(temple[2:4])
    detector = SPADE(
        **SMALL | {"n_threshold_images": 4}, n_neighbors=2, pixel_contamination=0.1
    ).fit(large)
    found = np.mean([mask.mean() for mask in detector.predict_masks(large)])
    assert found == pytest.approx(0.1, abs=0.005)


def ramp(height, width):
    """An image whose pixels say where they are."""
    return torch.stack(
        [
            torch.linspace(0, 1, height)[:, None].expand(height, width),
            torch.linspace(0, 1, width)[None].expand(height, width),
            torch.zeros(height, width),
        ]
    )


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (200, 50), (20, 200), (31, 33)])
@pytest.mark.parametrize("resize", ["whole", "crop"])
def test_maps_lie_where_their_pixels_were(size, resize):
    how = Preprocessing(56, resize, (0.0,) * 3, (1.0,) * 3, 3)
    image = ramp(*size)
    seen = preprocess(image[None], how, torch.device("cpu"))[0]
    for channel, side in enumerate(size):
        back = lay_over(seen[channel], size, how)
        assert back.shape == size
        if resize == "whole":
            np.testing.assert_allclose(back, image[channel], atol=1.5 / min(side, 56))
        else:
            low, high = seen[channel].min(), seen[channel].max()
            expected = image[channel].clamp(low, high)  # goes on with the values at the edge
            np.testing.assert_allclose(back, expected, atol=2.5 / min(side, 64))


def test_default_layers_are_the_three_stages_before_the_last(temple):
    assert SPADE(n_neighbors=2, n_threshold_images=1).fit(temple[:4]).layers_ == LAYERS
    mobile = SPADE("mobilenetv2_035", weights=None, image_size=32, n_threshold_images=1)
    assert mobile.fit(temple[:3]).layers_ == ["blocks.1", "blocks.2", "blocks.4"]
    plain = SPADE("torchvision/mobilenet_v2", weights=None, image_size=64, n_threshold_images=1)
    sides = [shape[-1] for shape in plain.fit(temple[:3]).gallery_.store_.shapes]
    assert sides == [16, 8, 4], "the ends of three resolutions, whatever its parts are"
    assert plain.fit(temple[:3]).score_maps(temple[:1]).shape == (1, 48, 48)


@pytest.mark.parametrize("layers", [["layer2"], ["layer3", "layer1"], ["layer1", "layer1"]])
def test_layers_may_be_chosen(temple, layers):
    detector = SPADE(**SMALL, n_neighbors=4, layers=layers).fit(temple[:8])
    assert detector.layers_ == list(dict.fromkeys(layers))
    assert np.isfinite(detector.score_maps(temple[8:10])).all()


def test_transformers_give_maps(temple):
    detector = SPADE("test_vit", weights=None, n_neighbors=2, n_threshold_images=1).fit(temple[:4])
    assert len(detector.layers_) > 1, "all of one resolution"
    assert detector.score_maps(temple[4:6]).shape == (2, 48, 48)


def test_bfloat16_is_near(temple, detector):
    rough = clone(detector).set_params(precision="bfloat16").fit(temple[:16])
    maps = detector.score_maps(temple[16:])
    assert np.abs(rough.score_maps(temple[16:]) / maps - 1).mean() < 0.05


def test_an_adapter_trains_the_network_first(temple):
    adapter = MeanShiftedContrastive(n_steps=3, learning_rate=1e-3)
    detector = SPADE(**SMALL, adapter=adapter, n_neighbors=4).fit(temple[:16])
    frozen = SPADE(**SMALL, n_neighbors=4).fit(temple[:16])
    assert adapter.extractor is None, "the parameter is left as it was"
    assert not np.allclose(detector.score_maps(temple[16:]), frozen.score_maps(temple[16:]))
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.score_maps(temple[16:]), detector.score_maps(temple[16:]))
    assert len(detector.training_curve_["step"]) > 0
    assert not detector.adapter_.network_.training
    scratch = SPADE(
        partial(small_cnn, width=4, image_size=8),
        weights=None,
        n_neighbors=2,
        adapter=SelfSupervisedAdapter(n_steps=2, projector_widths=[8], predictor_widths=[4]),
    ).fit(temple[:6])
    assert scratch.score_maps(temple[:2]).shape == (2, 48, 48)


@pytest.mark.parametrize(
    "adapter",
    [
        CompactnessAdapter(stopping="sample_wise", n_steps=3),
        DeepSVDDAdapter(n_steps=2, collapse_limit=0),
        RotationAdapter(n_steps=2),
        PseudoLabelAdapter(clusterer=KMeans(2, n_init=1), n_epochs=1, output="logits"),
    ],
    ids=lambda adapter: type(adapter).__name__,
)
def test_adapters_whose_own_output_is_no_feature(temple, adapter):
    detector = SPADE(
        partial(svdd_cifar, image_size=32), weights=None, adapter=adapter, n_neighbors=2
    )
    detector.fit(temple[:12])
    features = adapter_features(detector, temple)
    assert features.shape[1] == detector.pipeline_["scorer"].n_features_in_
    assert (detector.predict(temple[:12]) == 1).mean() >= 0.8
    assert detector.score_maps(temple[:2]).shape == (2, 48, 48)


def adapter_features(detector, images):
    return detector.adapter_.extractor_.transform(images)


def test_an_adapter_with_an_extractor_of_its_own_is_refused(temple):
    adapter = MeanShiftedContrastive(FeatureExtractor())
    with pytest.raises(ValueError, match="adapter has an extractor of its own, FeatureExtractor"):
        SPADE(adapter=adapter).fit(temple)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": ["layer9"]}, "has no layer 'layer9'"),
        ({"layers": ["fc"]}, "layers: no image passed through 'fc'"),
        ({"layers": ["global_pool"]}, "layers: 'global_pool'"),
        ({"layers": []}, "layers is empty"),
        ({"n_neighbor_pixels": 0}, "n_neighbor_pixels"),
        ({"fusion": "summed"}, "fusion"),
        ({"pixel_contamination": 0.7}, "pixel_contamination"),
        ({"pixel_contamination": 0}, "pixel_contamination"),
        ({"mask_false_alarm_rate": 1.0}, "mask_false_alarm_rate"),
        ({"memory_limit": -1}, "memory_limit"),
        ({"smoothing": -1}, "smoothing"),
        ({"resize": None}, "resize"),
        ({"adapter": "msc"}, "adapter"),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit(temple, parameters, message):
    detector = SPADE(**SMALL | parameters)
    with pytest.raises(ValueError, match=message):
        detector.fit(temple[:4])
    assert not hasattr(detector, "pipeline_")
    assert not hasattr(detector, "gallery_")


def test_a_fit_that_fails_leaves_the_last_one(temple, detector):
    detector = copy.deepcopy(detector)
    maps = detector.score_maps(temple[16:18])
    with pytest.raises(ValueError, match="has no layer"):
        detector.set_params(layers=["nowhere"]).fit(temple[:4])
    np.testing.assert_array_equal(detector.score_maps(temple[16:18]), maps)
    with pytest.raises(ValueError, match="n_samples = 1"):
        SPADE(**SMALL).fit(temple[:1])


def test_labelled_anomalies_are_left_out(temple, detector, tiles):
    y = np.repeat([1, -1], [16, 4])
    both = clone(detector).fit(np.concatenate([temple[:16], tiles[24:28]]), y)
    np.testing.assert_allclose(
        both.score_maps(temple[16:]), detector.score_maps(temple[16:]), rtol=1e-5
    )


def test_not_fitted():
    from sklearn.exceptions import NotFittedError

    for method in ("score_maps", "predict_masks", "score_samples"):
        with pytest.raises(NotFittedError):
            getattr(SPADE(), method)(np.zeros((1, 8, 8), dtype=np.uint8))


@pytest.mark.shared
def test_magnetic_tiles(shared):
    """Blowholes on tiles of which 60 without a defect were seen."""
    import runpy

    loader = runpy.run_path(str(shared / "data" / "load.py"))
    labels = loader["labels_of"]("magnetic_tile")[0]
    free = np.flatnonzero(labels == 0)[::15]
    defects = np.flatnonzero(labels == 1)[::10]
    images, masks = (loader[name]("magnetic_tile", defects) for name in ("load", "load_masks"))
    detector = SPADE(image_size=128, n_centroids=50, n_threshold_images=5)
    maps = detector.fit(loader["load"]("magnetic_tile", free)[0]).score_maps(images[0])
    values = np.concatenate([one.ravel() for one in maps])
    assert auroc_score(np.concatenate([mask.ravel() for mask in masks]), values) > 0.9
