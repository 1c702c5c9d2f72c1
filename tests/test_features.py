"""FeatureExtractor: backbones, taps, preprocessing, weights, pickles, the cache."""

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.base import clone

from skad import FeatureExtractor
from skad.networks._preprocessing import resize_images, resolve_preprocessing
from skad.networks._recipe import build_network, load_weights
from tests.processors import needs_bfloat16

SMALL = partial(timm.create_model, "test_resnet", num_classes=7)


def seeded_extractor(backbone, **parameters):
    return FeatureExtractor(backbone, weights=None, image_size=64, **parameters)


def test_the_default_is_the_plain_network_on_resized_pixels(tiles):
    network = build_network("tiny")
    x = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    x = torch.nn.functional.interpolate(x, (64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.inference_mode():
        expected = network((x - 0.5) / 0.5)
    np.testing.assert_allclose(
        FeatureExtractor().fit_transform(tiles), expected.numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [(64, 64), (40, 100), (333, 250)])
def test_crop_is_the_papers_preprocessing(size):
    rows, columns = np.mgrid[: size[0], : size[1]]
    # smooth: at hard edges PIL cuts overshoot off between its two passes, torch only at the end
    waves = [np.sin(rows / 9), np.cos(columns / 11), np.sin((rows + columns) / 15)]
    image = (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8)
    height, width = (int(256 * side / min(size)) for side in size)
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    expected = np.asarray(expected.crop((left, top, left + 224, top + 224)))
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    found = resize_images(x, 224, "crop")[0].permute(1, 2, 0).numpy() * 255
    assert found.shape == (224, 224, 3)
    assert np.abs(found - expected).max() < 1.51  # PIL rounds to whole numbers, twice


def test_whole_resizes_like_pil(tiles):
    expected = np.asarray(Image.fromarray(tiles[3]).resize((20, 20), Image.Resampling.BICUBIC))
    x = torch.from_numpy(tiles[3]).permute(2, 0, 1)[None].float() / 255
    found = resize_images(x, 20, "whole")[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - expected).max() < 1.51


def test_a_long_strip_does_not_explode():
    found = resize_images(torch.rand(2, 1, 1, 20000), 224, "crop")
    assert found.shape == (2, 1, 224, 224)


def test_a_row_beyond_the_range_is_not_cut_off():
    rows = np.random.RandomState(0).uniform(0, 1, (30, 16))
    extractor = FeatureExtractor().fit(rows)
    far, farther = extractor.transform(np.stack([rows[0] + 5, rows[0] + 50]))
    assert not np.allclose(far, farther)


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("test_resnet", 96),
        ("timm/test_vit", 64),
        ("test_convnext", 64),
        ("torchvision/resnet18", 512),
        ("torchvision/mobilenet_v3_small", 1024),
        ("torchvision/vgg11", 4096),
    ],
)
def test_names_of_timm_and_torchvision(name, width, tiles):
    size = 160 if "vit" in name else 64
    extractor = FeatureExtractor(name, weights=None, image_size=size).fit(tiles)
    features = extractor.transform(tiles[:5])
    assert features.shape == (5, width)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0
    assert len(extractor.get_feature_names_out()) == width


def test_what_enters_the_classifier_is_the_feature(tiles):
    extractor = seeded_extractor("torchvision/resnet18").fit(tiles)
    logits = seeded_extractor("torchvision/resnet18", layers=["fc"])
    features = torch.from_numpy(extractor.transform(tiles))
    with torch.inference_mode():
        expected = extractor.network_.fc.cpu()(features).numpy()
    np.testing.assert_allclose(logits.fit_transform(tiles), expected, rtol=1e-4, atol=1e-5)


def test_any_network_from_a_factory(tiles):
    factory = partial(torch.nn.Conv2d, 3, 4, 3)
    assert FeatureExtractor(factory, image_size=16).fit_transform(tiles).shape == (48, 4)


def test_metadata_of_the_network_decides_what_is_left_open():
    network = timm.create_model("test_resnet")
    config = network.pretrained_cfg
    found = resolve_preprocessing(network)
    assert (found.image_size, found.mean) == (config["input_size"][-1], config["mean"])
    assert found.resize == ("whole" if config["crop_pct"] == 1.0 else "crop")
    tiny = resolve_preprocessing(build_network("tiny"))
    assert (tiny.image_size, tiny.resize, tiny.mean) == (64, "whole", (0.5, 0.5, 0.5))
    bare = resolve_preprocessing(torch.nn.Conv2d(1, 4, 3))
    assert (bare.image_size, bare.resize, bare.n_channels) == (224, "crop", 1)
    given = resolve_preprocessing(network, image_size=32, resize="whole", mean=0.1, std=(1, 2, 3))
    assert given.mean == (0.1, 0.1, 0.1)
    assert (given.image_size, given.resize, given.std) == (32, "whole", (1.0, 2.0, 3.0))


def test_several_layers_are_the_averaged_maps_side_by_side(tiles):
    layers = ["layer2", "layer4", "layer1.0"]
    extractor = FeatureExtractor(layers=layers).fit(tiles)
    features, maps = extractor.transform(tiles), extractor.feature_maps(tiles)
    assert list(maps) == layers
    assert [m.ndim for m in maps.values()] == [4, 4, 4]
    joined = np.concatenate([m.mean((2, 3)) for m in maps.values()], axis=1)
    np.testing.assert_allclose(features, joined, rtol=1e-4, atol=1e-5)
    names = extractor.get_feature_names_out()
    assert names[0] == "layer2_0"
    assert names[-1] == f"layer1.0_{maps['layer1.0'].shape[1] - 1}"


def test_without_layers_the_last_map_is_given(tiles):
    extractor = FeatureExtractor().fit(tiles)
    (last,) = extractor.feature_maps(tiles).values()
    pooled = extractor.transform(tiles)
    np.testing.assert_allclose(last.mean((2, 3)), pooled, rtol=1e-4, atol=1e-5)


def test_tokens_of_a_transformer_are_laid_out_on_a_grid(tiles):
    network = FeatureExtractor("test_vit", weights=None, layers=["blocks.1"]).fit(tiles)
    (found,) = network.feature_maps(tiles[:2]).values()
    assert found.shape == (2, 64, 10, 10)


def test_a_vector_is_no_map(tiles):
    extractor = seeded_extractor("torchvision/resnet18").fit(tiles)
    with pytest.raises(ValueError, match="is no map"):
        extractor.feature_maps(tiles)


def test_random_weights_follow_the_seed_and_leave_the_global_state(tiles):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (
        seeded_extractor("test_resnet", random_state=seed).fit_transform(tiles)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


@pytest.mark.parametrize("kind", ["safetensors", "pth", "checkpoint"])
def test_weights_from_a_file(kind, tiles, tmp_path):
    from safetensors.torch import save_file

    network = SMALL()
    state = network.state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "pth":
        torch.save(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    by_factory = FeatureExtractor(SMALL, weights=path, image_size=64)
    by_name = FeatureExtractor("test_resnet", weights=path, image_size=64)
    features = by_factory.fit_transform(tiles)
    for fitted in (by_factory, by_name.fit(tiles)):
        for name, value in fitted.network_.state_dict().items():
            assert torch.equal(value.cpu(), state[name])
    np.testing.assert_array_equal(by_name.transform(tiles), features)


def test_half_precision_weights_become_float32(tmp_path):
    network, other = SMALL(), SMALL()
    torch.save({k: v.half() for k, v in network.state_dict().items()}, tmp_path / "w.pth")
    load_weights(other, tmp_path / "w.pth")
    assert other.conv1[0].weight.dtype == torch.float32
    assert torch.equal(other.conv1[0].weight, network.conv1[0].weight.half().float())


def test_a_download_that_fails_says_which_file(monkeypatch, tiles):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(OSError, match=r"'model.safetensors' of 'timm/resnet18.*weights=.*'tiny'"):
        FeatureExtractor("resnet18").fit(tiles)


def test_backbones_without_published_weights(tiles):
    name = next(n for n in timm.list_models() if not timm.get_pretrained_cfg(n).has_weights)
    with pytest.raises(ValueError, match="no pretrained weights are published.*weights=None"):
        FeatureExtractor(name).fit(tiles)


@needs_bfloat16
def test_bfloat16_is_close(tiles):
    exact, rough = (
        FeatureExtractor(precision=precision).fit_transform(tiles)
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert 0.995 < cosine.min() < 0.999999


def test_pickles_carry_the_network(tiles, tmp_path):
    extractor = FeatureExtractor(SMALL, image_size=64).fit(tiles)
    features = extractor.transform(tiles)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor)).transform(tiles), features)
    joblib.dump(extractor, tmp_path / "extractor.joblib")
    np.save(tmp_path / "tiles.npy", tiles)
    code = (
        "import joblib, numpy as np, torch; torch.set_num_threads(1);"
        f"e = joblib.load(r'{tmp_path / 'extractor.joblib'}');"
        f"np.save(r'{tmp_path / 'out.npy'}', e.transform(np.load(r'{tmp_path / 'tiles.npy'}')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), features)


def test_clones_are_unfitted():
    extractor = FeatureExtractor(layers=["layer1"], mean=(0.1, 0.2, 0.3))
    assert clone(extractor).get_params() == extractor.get_params()


def test_progress_is_shown_when_asked_for(tiles, capsys):
    FeatureExtractor(verbose=True).fit_transform(tiles)
    assert "Extracting features" in capsys.readouterr().err
    FeatureExtractor().fit_transform(tiles)
    assert capsys.readouterr().err == ""


def test_pandas_output(tiles):
    extractor = FeatureExtractor().set_output(transform="pandas").fit(tiles)
    table = extractor.transform(tiles)
    assert list(table.columns) == list(extractor.get_feature_names_out())


class Counted(torch.nn.Conv2d):
    """A network that counts its images, over all its copies."""

    images = 0

    def __init__(self):
        super().__init__(3, 5, 3)

    def forward(self, images):
        Counted.images += len(images)
        return super().forward(images)


def test_memory_computes_each_image_once(tiles, tmp_path):
    extractor = FeatureExtractor(Counted, image_size=32, memory=tmp_path, random_state=3)
    plain = clone(extractor).set_params(memory=None).fit_transform(tiles)
    found = extractor.fit_transform(tiles)
    np.testing.assert_allclose(found, plain, rtol=1e-6)
    Counted.images = 0
    again = clone(extractor).set_params(memory=joblib.Memory(tmp_path, verbose=0)).fit(tiles)
    trial = Counted.images
    np.testing.assert_array_equal(again.transform(tiles[::-1]), found[::-1])
    ragged = [tiles[0][:20], tiles[1], tiles[2][:20]]
    np.testing.assert_array_equal(again.transform(ragged), again.transform(ragged))
    assert Counted.images - trial == 2, "only the two that were cut are new"


class Power(torch.nn.Module):
    """A network whose factory sets what no parameter shows."""

    def __init__(self, power):
        super().__init__()
        self.power = power

    def forward(self, images):
        return (images**self.power).mean((2, 3))


def test_memory_tells_factories_apart(tiles, tmp_path):
    for power in (1, 2):
        factory = partial(Power, power)
        kept = FeatureExtractor(factory, image_size=8, memory=tmp_path).fit_transform(tiles)
        plain = FeatureExtractor(factory, image_size=8).fit_transform(tiles)
        np.testing.assert_array_equal(kept, plain)


def test_a_network_without_parameters_can_be_pickled(tiles):
    extractor = FeatureExtractor(partial(Power, 2), image_size=8, memory=joblib.Memory(None))
    features = extractor.fit_transform(tiles)
    again = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(again.transform(tiles), features)


def test_threads_may_share_an_extractor(tiles):
    extractor = FeatureExtractor(layers=["layer1", "layer4"], device=torch.device("cpu"))
    parts = [tiles[i::4] for i in range(4)]
    expected = [extractor.fit(tiles).transform(part) for part in parts]
    with ThreadPoolExecutor(4) as threads:
        for found, alone in zip(threads.map(extractor.transform, parts * 3), expected * 3):
            np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "layer", "width"),
    [("torchvision/swin_t", "features.1", 96), ("torchvision/swin_t", "features.0.0", 96)],
)
def test_maps_with_channels_last_are_turned(name, layer, width, tiles):
    extractor = FeatureExtractor(name, weights=None, image_size=64, layers=[layer]).fit(tiles)
    (found,) = extractor.feature_maps(tiles[:2]).values()
    assert found.shape == (2, width, 16, 16)


def test_memory_tells_networks_and_preprocessing_apart(tiles, tmp_path):
    for parameters in (
        {"random_state": 1},
        {"random_state": 2},
        {"mean": 0.1},
        {"image_size": 40},
        {"resize": "whole"},
    ):
        with_memory = FeatureExtractor(
            **{"backbone": Counted, "image_size": 32, "memory": tmp_path, **parameters}
        ).fit_transform(tiles)
        without = FeatureExtractor(
            **{"backbone": Counted, "image_size": 32, **parameters}
        ).fit_transform(tiles)
        np.testing.assert_array_equal(with_memory, without)


SECOND_BATCH_READ = threading.Event()


class Waiting(torch.nn.Module):
    """A network that works on the first batch until the second is being read."""

    def forward(self, images):
        if len(images) > 1:
            assert SECOND_BATCH_READ.wait(timeout=30), "nothing was read during the forward pass"
        return images.mean((2, 3))


class Telling(torch.utils.data.Dataset):
    """Images that tell when the second batch of four is read."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 4:
            SECOND_BATCH_READ.set()
        if i >= 8:
            raise IndexError(i)
        return np.zeros((8, 8), dtype=np.uint8)


def test_the_next_batch_is_read_while_the_network_works():
    SECOND_BATCH_READ.clear()
    extractor = FeatureExtractor(Waiting, image_size=8, batch_size=4).fit(Telling())
    assert extractor.transform(Telling()).shape == (8, 3)
