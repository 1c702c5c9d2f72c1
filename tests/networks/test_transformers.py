"""Vision transformers: sizes of images, maps of tokens, class tokens."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import vision_transformer
from torchvision.models.vision_transformer import VisionTransformer

from skad import SPADE, FeatureExtractor, MeanShiftedContrastive, SelfSupervisedAdapter
from skad.networks._download import downloaded
from skad.networks._input_size import resize_input
from skad.networks._preprocessing import resolve_preprocessing
from skad.networks._recipe import build_network
from skad.networks._tokens import to_map

VIT = partial(VisionTransformer, 32, 8, 3, 2, 16, 24)
STRICT = partial(timm.create_model, "test_vit", dynamic_img_size=False)
REGISTERS = partial(timm.create_model, "test_vit", reg_tokens=4, img_size=64)
NETWORKS = {
    "timm": ("test_vit", 96, "blocks.3", 1, 6),
    "registers": (REGISTERS, None, "blocks.3", 5, 4),
    "torchvision": (VIT, None, "encoder.layers.encoder_layer_1", 1, 4),
}
NETWORKS["eva"] = (
    partial(
        *(timm.models.eva.Eva, 64, 16),
        **{"embed_dim": 24, "depth": 2, "num_heads": 2, "num_reg_tokens": 4},
    ),
    *(None, "blocks.1", 5, 4),
)
every = pytest.mark.parametrize("name", NETWORKS)


def extractor(name, layers=None, **parameters):
    backbone, size, layer, _, _ = NETWORKS[name]
    layers = None if layers is None else [f"{layer}{part}" for part in layers]
    settings = {"weights": None, "image_size": size, "random_state": 0, "layers": layers}
    return FeatureExtractor(backbone, **settings | parameters)


def tokens_of(fitted, name, images):
    """Output of the layer for images."""
    found, layer = [], dict(fitted.network_.named_modules())[NETWORKS[name][2]]
    handle = layer.register_forward_hook(lambda *given: found.append(given[2]))
    network = fitted.fitted_network_
    with torch.inference_mode():
        network.network(network.prepare(torch.from_numpy(images).permute(0, 3, 1, 2)))
    handle.remove()
    return found[0].cpu().numpy()


@every
def test_class_token_and_patch_tokens_are_told_apart(name, tiles):
    tiles = tiles[:4]
    found = extractor(name, ["", ":class_token", ":patch_tokens"]).fit(tiles)
    tokens, n_prefix = tokens_of(found, name, tiles), NETWORKS[name][3]
    of_patches = tokens[:, n_prefix:].mean(1)
    bare, class_token, patch_tokens = np.split(found.transform(tiles), 3, axis=1)
    np.testing.assert_allclose(class_token, tokens[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(patch_tokens, of_patches, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(bare, patch_tokens)
    names, layer = found.get_feature_names_out(), NETWORKS[name][2]
    assert len(set(names)) == len(names) == 3 * tokens.shape[2]
    assert [n for n in names if n.endswith("_0")] == [
        *(f"{layer}_0", f"{layer}:class_token_0", f"{layer}:patch_tokens_0")
    ]


@every
def test_patch_tokens_are_maps(name, tiles):
    tiles = tiles[:4]
    found = extractor(name, ["", ":patch_tokens"]).fit(tiles)
    tokens, (n_prefix, side) = tokens_of(found, name, tiles), NETWORKS[name][3:]
    expected = tokens[:, n_prefix:].reshape(4, side, side, -1).transpose(0, 3, 1, 2)
    maps = found.feature_maps(tiles)
    assert len(maps) == 2
    for one in maps.values():
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)


@every
def test_parts_place_by_place(name, tiles):
    tiles = tiles[:4]
    layer, n_prefix, side = NETWORKS[name][2:]
    flat = [f"{layer}:class_token", f"{layer}:patch_tokens"]
    found = extractor(name, flattened_layers=flat).fit(tiles)
    width = found.tap_widths_[0]
    assert found.tap_widths_ == [width, side**2 * width]
    names = found.get_feature_names_out()
    assert names[0] == f"{layer}:class_token_flat_0"
    assert len(set(names)) == len(names)
    tokens = tokens_of(found, name, tiles)
    expected = np.sort(tokens[:, n_prefix:].reshape(4, -1), axis=1)
    features = np.sort(found.transform(tiles)[:, width:], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@every
def test_a_class_token_has_no_map(name, tiles):
    found = extractor(name, ["", ":class_token"]).fit(tiles[:4])
    layer = NETWORKS[name][2]
    message = f"'{layer}:class_token' is of the image as a whole .* '{layer}' gives"
    with pytest.raises(ValueError, match=message):
        found.feature_maps(tiles[:4])


def test_maps_and_class_token_of_one_layer_need_one_pass(tiles):
    detector = SPADE(
        "test_vit", weights=None, image_size=64, layers=["blocks.2"], n_neighbors=3
    ).fit(tiles[:8])
    assert detector.score_maps(tiles[:2]).shape == (2, 48, 48)
    with pytest.raises(ValueError, match="as a whole and so has no map"):
        detector.set_params(layers=["blocks.2:class_token"]).fit(tiles[:8])


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_class_tokens_are_trained(name, tiles):
    inner = extractor(name, [":class_token"])
    adapter = MeanShiftedContrastive(inner, n_steps=2, batch_size=4, learning_rate=0.1)
    adapter.set_params(trainable=[NETWORKS[name][2]]).fit(tiles[:8])
    before = inner.fit(tiles[:8]).transform(tiles[:8])
    assert np.abs(adapter.transform(tiles[:8]) - before).max() > 1e-4


def test_class_tokens_from_scratch(tiles):
    adapter = SelfSupervisedAdapter(
        FeatureExtractor(VIT, weights=None),
        layers=["encoder.ln:class_token", "projector.0"],
        projector_widths=[6, 5],
        predictor_widths=[4],
        n_steps=2,
        batch_size=4,
    ).fit(tiles[:8])
    assert adapter.transform(tiles[:8]).shape == (8, 16 + 6)
    assert adapter.get_feature_names_out()[0] == "encoder.ln:class_token_0"


@pytest.mark.parametrize(
    ("backbone", "layer", "message"),
    [
        ("test_vit", "blocks.3:cls", "asks for 'cls' of 'blocks.3'.*'class_token'.*'patch_tokens'"),
        ("test_vit", "block.3:class_token", "no layer 'block.3:class_token'"),
        ("test_vit", "patch_embed.proj:class_token", "no tokens .* so it has no class_token"),
        ("test_resnet", "layer2:patch_tokens", "no tokens .* so it has no patch_tokens"),
        ("test_vit", "patch_embed:class_token", "no tokens"),  # those of patches, as a map
        ("xcit_nano_12_p16_224", "blocks.3:class_token", "none is a class token"),
        (
            partial(
                *(timm.create_model, "test_vit"),
                **{"class_token": False, "reg_tokens": 2, "global_pool": "avg"},
            ),
            *("blocks.3:class_token", "none is a class token"),
        ),
        ("swin_tiny_patch4_window7_224", "layers.0:class_token", "no tokens"),
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn", "outputs for 1 images"),
    ],
)
def test_parts_that_there_are_not(backbone, layer, message, tiles):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(backbone, weights=None, layers=[layer]).fit(tiles[:2])


@pytest.mark.parametrize(
    ("backbone", "layer", "shape"),
    [
        ("xcit_nano_12_p16_224", "blocks.3", (128, 14, 14)),
        ("xcit_nano_12_p16_224", "cls_attn_blocks.0", (128, 14, 14)),
        ("swin_tiny_patch4_window7_224", "layers.1", (192, 28, 28)),
        ("torchvision/swin_t", "features.1", (96, 56, 56)),
        ("test_vit", "patch_embed", (64, 10, 10)),
        ("volo_d1_224", "network.0", (192, 28, 28)),
    ],
)
def test_maps_of_other_families(backbone, layer, shape, tiles):
    found = FeatureExtractor(backbone, weights=None, layers=[layer]).fit(tiles[:2])
    assert found.feature_maps(tiles[:2])[layer].shape == (2, *shape)


def test_grids_that_are_not_square():
    network = timm.create_model("test_vit", img_size=32, patch_size=(4, 16))
    network.eval()
    rows = to_map(torch.arange(17.0)[None, :, None], network)
    torch.testing.assert_close(rows[0, 0], torch.arange(1.0, 17).reshape(8, 2))
    with pytest.raises(ValueError, match="is no map"):
        to_map(torch.zeros(1, 10, 3), network)
    with pytest.raises(ValueError, match="is no map"):
        to_map(torch.zeros(1, 12, 3), VIT())


def test_tokens_sorted_by_windows_are_no_map(tiles):
    settings = {"weights": None, "layers": ["blocks.0"]}
    found = FeatureExtractor("hiera_tiny_224", **settings).fit(tiles[:2])
    assert found.transform(tiles[:2]).shape == (2, 96)
    with pytest.raises(ValueError, match="'blocks.0'.* is no map"):
        found.feature_maps(tiles[:2])


# Sizes of images


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3"])
@pytest.mark.parametrize("size", [32, 208])
def test_networks_of_fixed_size_are_made_for_others(name, size, tiles):
    found = FeatureExtractor(name, weights=None, image_size=size).fit(tiles[:3])
    assert found.preprocessing_.image_size == size
    assert found.network_.patch_embed.img_size == (size, size)
    assert np.isfinite(found.transform(tiles[:3])).all()
    (maps,) = found.feature_maps(tiles[:3]).values()
    assert maps.shape[2:] == (size // 16, size // 16)


def test_dinov2_at_another_size(tiles):
    backbone = "vit_small_patch14_reg4_dinov2"
    layers = ["blocks.3", "blocks.3:class_token"]
    found = FeatureExtractor(backbone, weights=None, image_size=56, layers=layers).fit(tiles[:3])
    assert found.transform(tiles[:3]).shape == (3, 2 * 384)
    with pytest.raises(ValueError, match="image_size=224.*|nearest") as error:
        FeatureExtractor(backbone, weights=None, image_size=60).fit(tiles[:3])
    assert "patches of 14 pixels" in str(error.value)
    assert "nearest sizes are 56 or 70" in str(error.value)


@pytest.mark.parametrize(
    ("size", "near"), [(100, "96 or 112"), (10, "are 16"), (161, "160 or 176")]
)
def test_patches_that_do_not_divide_the_size(size, near, tiles):
    with pytest.raises(ValueError, match=f"image_size={size}: .*patches of 16.*{near}"):
        FeatureExtractor("test_vit", weights=None, image_size=size).fit(tiles[:3])


def test_a_file_of_another_size_is_resized(tiles, tmp_path):
    published = timm.create_model("test_vit")
    save_file(published.state_dict(), tmp_path / "published.safetensors")
    found = FeatureExtractor(
        "test_vit", weights=tmp_path / "published.safetensors", image_size=96
    ).fit(tiles[:3])
    expected = timm.create_model("test_vit", img_size=96, num_classes=1000)
    resized = vision_transformer.checkpoint_filter_fn(published.state_dict(), expected)
    expected.load_state_dict(resized)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.network_.state_dict()[name].cpu(), value, msg=name)
    # What was saved of that is of its size already.
    state = found.network_.state_dict()
    state = {name: value.cpu().contiguous() for name, value in state.items()}
    save_file(state, tmp_path / "own.safetensors")
    again = FeatureExtractor("test_vit", weights=tmp_path / "own.safetensors", image_size=96)
    np.testing.assert_array_equal(again.fit_transform(tiles[:3]), found.transform(tiles[:3]))
    with pytest.raises(ValueError, match="does not fit.*pos_embed"):
        again.set_params(image_size=64).fit(tiles[:3])


def test_a_vision_transformer_of_torchvision_is_resized(tiles):
    network = VIT().eval()
    before = network.encoder.pos_embedding.detach().clone()
    smaller = resize_input(network, 16)
    after = smaller.encoder.pos_embedding
    assert after.shape == (1, 5, 16)
    assert torch.equal(after[:, 0], before[:, 0])
    corners = before[:, 1:].reshape(1, 4, 4, 16)[:, ::3, ::3].reshape(1, 4, 16)
    torch.testing.assert_close(after.detach()[:, 1:], corners)
    assert smaller(torch.zeros(1, 3, 16, 16)).shape == (1, 1000)
    with pytest.raises(ValueError, match="image_size=20: .*8 pixels.*16 or 24"):
        resize_input(network, 20)


def test_a_vision_transformer_of_torchvision_by_name():
    network = build_network("torchvision/vit_b_32", None, 0, 64)
    assert (network.image_size, network.encoder.pos_embedding.shape[1]) == (64, 5)


def test_factories_tell_the_size(tiles):
    assert resolve_preprocessing(VIT()).image_size == 32
    assert resolve_preprocessing(REGISTERS()).image_size == 64
    assert FeatureExtractor(VIT, weights=None).fit_transform(tiles[:3]).shape == (3, 16)


@pytest.mark.parametrize(
    ("backbone", "size", "message"),
    [
        (VIT, 64, "image_size=64: VisionTransformer does not take.*Expected 32.*32 x 32.*factory"),
        (
            partial(STRICT, img_size=64),
            96,
            "image_size=96: VisionTransformer does not take.*64 x 64 pixels",
        ),
        (partial(STRICT, img_size=(64, 32)), None, "64 x 32 pixels"),
        ("coat_tiny", 112, "image_size=112: CoaT does not take.*224 x 224 pixels"),
    ],
)
def test_sizes_that_a_network_does_not_take(backbone, size, message, tiles):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(backbone, weights=None, image_size=size).fit(tiles[:3])


def test_pretrained_weights_that_do_not_fit_the_size():
    state = timm.create_model("test_vit").state_dict()

    def build():
        timm.create_model("test_vit", img_size=64).load_state_dict(state)

    with pytest.raises(ValueError, match="'test_vit' fit images of its own size alone"):
        downloaded(build, "test_vit", "nowhere")
