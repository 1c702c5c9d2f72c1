"""Published weights: from the cache at once, else a quick and quiet no."""

import os
import time
from urllib.parse import urlparse

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from skad import FeatureExtractor

IMAGES = np.random.RandomState(0).randint(0, 256, (3, 40, 40, 3)).astype(np.uint8)


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches, and no network: names are not even looked up."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.file_download, "HF_HUB_CACHE", str(tmp_path / "hub"), False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    asked = []

    def refuse(host, *_, **__):
        asked.append(host)
        raise OSError("name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return tmp_path, asked


@pytest.mark.parametrize("backbone", ["test_resnet", "torchvision/mobilenet_v3_small"])
def test_no_connection_is_told_at_once(backbone, caches, caplog, capfd):
    started = time.monotonic()
    with pytest.raises(OSError, match="could not be had: file .*weights='...'.*backbone='tiny'"):
        FeatureExtractor(backbone).fit(IMAGES)
    assert time.monotonic() - started < 3
    assert caches[1], "a server was asked"
    assert caplog.text == ""
    assert capfd.readouterr().err == ""


def test_names_that_are_looked_up_for_ever_are_left_behind(caches, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(OSError, match="could not be had"):
        FeatureExtractor("test_resnet").fit(IMAGES)
    assert time.monotonic() - started < 3


def test_a_cached_file_of_the_hub_asks_nobody(caches):
    folder, asked = caches
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = timm.create_model("test_resnet")
    config = timm.get_pretrained_cfg("test_resnet")
    cached = folder / "hub" / f"models--{config.hf_hub_id.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    save_file(network.state_dict(), cached / "snapshots" / "abc" / "model.safetensors")
    found = FeatureExtractor("test_resnet").fit(IMAGES).network_
    assert torch.equal(next(found.parameters()), next(network.parameters()))
    assert asked == []


def test_a_cached_file_of_torchvision_asks_nobody(caches):
    folder, asked = caches
    name = "mobilenet_v3_small"
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file = folder / "torch" / "hub" / "checkpoints" / os.path.basename(urlparse(url).path)
    file.parent.mkdir(parents=True)
    network = torchvision.models.get_model(name, weights=None)
    torch.save(network.state_dict(), file)
    found = FeatureExtractor(f"torchvision/{name}").fit(IMAGES).network_
    assert torch.equal(next(found.parameters()), next(network.parameters()))
    assert asked == []
