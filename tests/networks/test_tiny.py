"""The embedded network is timm's ResNet, without timm."""

import subprocess
import sys

import torch
from timm.models.resnet import BasicBlock, ResNet

import skad
from skad.networks._tiny import tiny


def of_timm():
    net = ResNet(
        BasicBlock,
        layers=(1, 2, 2, 2),
        channels=(32, 64, 160, 288),
        stem_type="deep",
        stem_width=16,
        num_classes=0,
    )
    net.maxpool = torch.nn.Identity()
    net.layer4.append(torch.nn.Conv2d(net.num_features, net.num_features, kernel_size=1))
    return net.eval()


def test_it_is_drawn_as_by_timm():
    torch.manual_seed(3)
    expected = of_timm().state_dict()
    torch.manual_seed(3)
    found = tiny().state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_it_computes_as_timm_does():
    torch.manual_seed(4)
    ours, theirs = tiny(), of_timm()
    state = {
        name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value
        for name, value in ours.state_dict().items()
    }
    images = torch.rand(3, 3, 64, 40)
    for network in (ours, theirs):
        network.load_state_dict(state)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))
        maps = ours.forward_features(images)
        assert torch.equal(maps, theirs.forward_features(images))
        assert torch.equal(
            ours.forward_head(maps, pre_logits=True), theirs.forward_head(maps, pre_logits=True)
        )
    info = [stage["module"] for stage in ours.feature_info]
    assert info == [stage["module"] for stage in theirs.feature_info]
    names = {name for name, _ in theirs.named_modules()}
    assert {n for n, _ in ours.named_modules()} - names == {"global_pool.0", "global_pool.1"}


def test_a_model_of_it_is_loaded_without_timm(tiles, tmp_path):
    path = tmp_path / "a.skad"
    skad.save(skad.DN2(image_size=32).fit(tiles), path)
    code = (
        "import sys, skad; skad.load(sys.argv[1])\n"
        "assert not {'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
