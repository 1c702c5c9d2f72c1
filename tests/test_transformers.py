"""Vision transformers: images of other sizes, tokens of patches and of the class."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
import torchvision

from skad import SPADE, FeatureExtractor, MeanShiftedContrastive, SelfSupervisedAdapter

from .instances import HEADS

VIT = {"backbone": "test_vit", "weights": None}


def small_transformer():
    """A vision transformer of torchvision: 4 x 4 patches."""
    return torchvision.models.VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)


def tokens_of(network, images, module):
    """What a module gives, by a hook."""
    found = []
    handle = network.get_submodule(module).register_forward_hook(lambda *a: found.append(a[2]))
    with torch.inference_mode():
        network(images)
    handle.remove()
    return found[0]


def prepared(extractor, images):
    return extractor.fitted_network_.prepare(torch.from_numpy(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("test_vit", 96),
        ("test_vit3", 224),
        ("deit_tiny_distilled_patch16_224", 64),
        ("swin_tiny_patch4_window7_224", 96),
        ("mixer_s16_224", 64),
        ("torchvision/vit_b_32", 96),
    ],
)
def test_networks_of_one_size_are_made_for_another(backbone, size, tiles):
    extractor = FeatureExtractor(backbone, weights=None, image_size=size).fit(tiles[:2])
    assert extractor.preprocessing_.image_size == size
    assert np.isfinite(extractor.transform(tiles[:2])).all()


def test_weights_of_a_file_are_interpolated_as_timm_does(tiles, tmp_path):
    torch.manual_seed(0)
    native = timm.create_model("test_vit").eval()
    torch.save(native.state_dict(), tmp_path / "weights.pth")
    size = {"image_size": 96, "resize": "whole"}
    extractor = FeatureExtractor("test_vit", weights=tmp_path / "weights.pth", **size).fit(tiles)
    theirs = timm.create_model(
        "test_vit",
        pretrained=True,
        img_size=96,
        pretrained_cfg_overlay={"file": str(tmp_path / "weights.pth")},
    ).eval()
    images = prepared(extractor, tiles[:3])
    with torch.inference_mode():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    np.testing.assert_allclose(extractor.transform(tiles[:3]), expected, rtol=1e-4, atol=1e-5)


def test_factories_are_set_to_the_size_too(tiles):
    extractor = FeatureExtractor(small_transformer, image_size=64).fit(tiles[:2])
    assert extractor.network_.encoder.pos_embedding.shape[1] == 1 + 8 * 8
    assert extractor.transform(tiles[:2]).shape == (2, 24)


@pytest.mark.parametrize("backbone", ["test_vit", small_transformer])
@pytest.mark.parametrize("image_size", [20, 150])
def test_patches_must_divide_the_image(backbone, image_size, tiles):
    patch = 16 if backbone == "test_vit" else 8
    below = image_size // patch * patch
    told = f"image_size={image_size}: .*give {below} or {below + patch}"
    with pytest.raises(ValueError, match=told):
        FeatureExtractor(backbone, weights=None, image_size=image_size).fit(tiles[:2])


def test_a_size_that_a_network_refuses(tiles):
    with pytest.raises(ValueError, match="image_size=100: .*made for 224 pixels a side"):
        FeatureExtractor("maxvit_tiny_tf_224", weights=None, image_size=100).fit(tiles[:2])


@pytest.mark.parametrize(
    ("backbone", "layer", "n_prefix"),
    [
        ("test_vit", "blocks.2", 1),
        ("vit_small_patch14_reg4_dinov2", "blocks.3", 5),
        (small_transformer, "encoder.layers.encoder_layer_1", 1),
    ],
)
def test_class_token_and_tokens_of_patches(backbone, layer, n_prefix, tiles):
    size = {"image_size": 56 if n_prefix == 5 else 32}
    names = [f"{layer}:class_token", f"{layer}:patch_tokens", layer]
    extractor = FeatureExtractor(backbone, weights=None, layers=names, **size).fit(tiles[:3])
    images = prepared(extractor, tiles[:3])
    tokens = tokens_of(extractor.network_, images, layer)
    of_class, of_patches = tokens[:, 0], tokens[:, n_prefix:]
    expected = torch.cat([of_class, of_patches.mean(1), of_patches.mean(1)], dim=1)
    features = extractor.transform(tiles[:3])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    found = extractor.get_feature_names_out()
    assert len(set(found)) == features.shape[1]
    assert found[0] == f"{layer}:class_token_0"


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [("test_vit", "blocks.2"), (small_transformer, "encoder.layers.encoder_layer_1")],
)
def test_maps_are_tokens_on_their_grid(backbone, layer, tiles):
    extractor = FeatureExtractor(backbone, weights=None, layers=[layer], image_size=64)
    maps = extractor.fit(tiles[:3]).feature_maps(tiles[:3])[layer]
    side = 4 if backbone == "test_vit" else 8
    tokens = tokens_of(extractor.network_, prepared(extractor, tiles[:3]), layer)
    for row, column in [(0, 0), (1, 3), (side - 1, 2)]:
        expected = tokens[:, 1 + row * side + column]
        np.testing.assert_allclose(maps[:, :, row, column], expected, rtol=1e-4, atol=1e-5)


def test_embeddings_of_patches_are_maps_too(tiles):
    extractor = FeatureExtractor(**VIT, layers=["patch_embed"], image_size=64).fit(tiles[:2])
    assert extractor.feature_maps(tiles[:2])["patch_embed"].shape[2:] == (4, 4)


def test_flattened_class_token(tiles):
    layers = ["blocks.1:class_token"]
    flat = FeatureExtractor(**VIT, flattened_layers=layers).fit(tiles[:2]).transform(tiles[:2])
    pooled = FeatureExtractor(**VIT, layers=layers).fit(tiles[:2]).transform(tiles[:2])
    np.testing.assert_array_equal(flat, pooled)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blocks.1:cls", "'blocks.1:cls': behind the colon stands 'class_token' or 'patch_tokens'"),
        ("blocks.77:class_token", "no layer 'blocks.77'; there are 'blocks"),
    ],
)
def test_parts_that_there_are_not(layer, message, tiles):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(**VIT, layers=[layer]).fit(tiles[:2])


def test_networks_without_a_class_token(tiles):
    with pytest.raises(ValueError, match="'layer1:class_token': .*have no class token"):
        FeatureExtractor("test_resnet", weights=None, layers=["layer1:class_token"]).fit(tiles[:2])


def test_a_class_token_is_no_map(tiles):
    extractor = FeatureExtractor(**VIT, layers=["blocks.1:class_token"]).fit(tiles[:2])
    with pytest.raises(ValueError, match="'blocks.1:class_token': .* is no map"):
        extractor.feature_maps(tiles[:2])


def test_score_maps_and_trainings_of_named_tokens(tiles):
    layers = ["blocks.1:patch_tokens", "blocks.3"]
    detector = SPADE(**VIT, image_size=64, layers=layers, n_neighbors=2, n_threshold_images=2)
    assert detector.fit(tiles[:6]).score_maps(tiles[24:26]).shape == (2, 48, 48)
    extractor = FeatureExtractor(**VIT, image_size=64, layers=["blocks.5:class_token"])
    adapter = MeanShiftedContrastive(extractor, n_steps=2, learning_rate=1e-3)
    before = adapter.fit(tiles[:6]).training_curve_["spread"][0]
    assert adapter.training_curve_["spread"][-1] != before
    network = partial(timm.create_model, "test_vit")
    agreeing = SelfSupervisedAdapter(
        FeatureExtractor(network, weights=None, image_size=32),
        layers=["blocks.5:class_token", "projector.0"],
        n_steps=1,
        **HEADS,
    ).fit(tiles[:6])
    assert agreeing.get_feature_names_out()[0] == "blocks.5:class_token_0"
