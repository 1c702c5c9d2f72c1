"""Stages of networks, and the cut before the first that is trained."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
from torch import nn

from skad import CompactnessAdapter, FeatureExtractor
from skad.networks._cut import CutNetwork
from skad.networks._stages import network_stages, trained_parameters
from tests.processors import needs_bfloat16

IMAGES = np.random.RandomState(0).randint(0, 256, (5, 40, 40, 3)).astype(np.uint8)


class Plain(nn.Module):
    """A network without metadata: two parts, the larger of which has three."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3)
        )

    def forward(self, x):
        return self.body(self.stem(x)).mean((2, 3))


class Skip(nn.Module):
    """A network whose end sees the images once more, past everything else."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.third, self.last = nn.Conv2d(6, 6, 3), nn.Linear(6 + 3, 5)

    def forward(self, x):
        deep = self.third(self.second(self.first(x).relu()).relu())
        return self.last(torch.cat([deep.mean((2, 3)), x.mean((2, 3))], dim=1))


class Bright(Skip):
    """A network to whose features the colours of the images are added at the end."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        deep = self.third(self.second(self.first(x).relu()).relu())
        return 10 * self.last(deep.mean((2, 3))) + x.mean((2, 3))


NETWORKS = {
    "resnet": (partial(timm.create_model, "test_resnet", num_classes=7), 64, "layer3"),
    "efficientnet": ("test_efficientnet", 64, "blocks.3"),
    "densenet": ("densenet121", 64, "features.transition2"),
    "mobilenet": ("mobilenetv3_small_050", 64, "blocks.2"),
    "convnext": ("test_convnext", 64, "stages.2"),
    "vit": ("test_vit", 160, "blocks.4"),
    "torchvision": ("torchvision/mobilenet_v3_small", 64, "features.12"),
    "tiny": ("tiny", 32, "layer3"),
    "plain": (Plain, 40, "body.1"),
}


def fitted(backbone, size, **parameters):
    """An extractor with random weights whose BatchNorms have seen something."""
    extractor = FeatureExtractor(backbone, weights=None, image_size=size, **parameters).fit(IMAGES)
    generator = torch.Generator().manual_seed(0)
    for module in extractor.network_.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.randn(shape, generator=generator) / 5)
            module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
    return extractor


def noise(extractor, n=4):
    size = extractor.preprocessing_.image_size
    images = torch.randn((n, 3, size, size), generator=torch.Generator().manual_seed(1))
    return images.to(next(extractor.network_.parameters()).device)


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_share_out_all_parameters_but_the_classifiers(name):
    backbone, size, _ = NETWORKS[name]
    network = fitted(backbone, size).network_
    stages = network_stages(network)
    shared_out = [parameter for stage in stages.values() for parameter in stage]
    every = [parameter for parameter, _ in network.named_parameters()]
    classifier = {"torchvision": "classifier.3"}.get(name)
    if hasattr(network, "get_classifier"):
        head = network.get_classifier()
        classifier = next((n for n, m in network.named_modules() if m is head), None)
    left = [p for p in every if classifier and p.startswith(f"{classifier}.")]
    assert sorted(shared_out + left) == sorted(every)
    assert len(set(shared_out)) == len(shared_out)
    assert len(stages) > 3
    assert all(stages.values()), "a stage without parameters"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_two_parts_make_the_whole(name):
    backbone, size, entry = NETWORKS[name]
    extractor = fitted(backbone, size)
    images = noise(extractor)
    with torch.no_grad():
        whole = extractor.fitted_network_.copy().outputs(images)
    cut = CutNetwork(extractor.fitted_network_, "last_two", "owner")
    assert cut.entry == entry
    features = cut.trained_part(cut.frozen_part(images))
    torch.testing.assert_close(features.detach(), whole, rtol=1e-4, atol=1e-5)
    features.square().sum().backward()
    trained = set(cut.names)
    for parameter, value in extractor.network_.named_parameters():
        assert (value.grad is not None) == (parameter in trained), parameter


@pytest.mark.parametrize("trainable", ["last", "last_three", "all", ["layer3"], ["layer1", "act1"]])
def test_any_choice_makes_the_whole_and_gets_gradients(trainable):
    extractor = fitted(*NETWORKS["resnet"][:2])
    images = noise(extractor)
    with torch.no_grad():
        whole = extractor.fitted_network_.copy().outputs(images)
    cut = CutNetwork(extractor.fitted_network_, trainable, "owner")
    hidden = cut.frozen_part(images)
    assert torch.equal(hidden, images) == (trainable in ("all", ["layer1", "act1"]))
    features = cut.trained_part(hidden)
    torch.testing.assert_close(features.detach(), whole, rtol=1e-4, atol=1e-5)
    features.square().sum().backward()
    with_gradient = [n for n, p in extractor.network_.named_parameters() if p.grad is not None]
    assert with_gradient == cut.names == list(cut.parameters)


@pytest.mark.parametrize(
    ("trainable", "chosen"),
    [
        ("last", ["layer4"]),
        ("last_two", ["layer3", "layer4"]),
        (2, ["layer3", "layer4"]),
        (np.int64(5), ["act1", "layer1", "layer2", "layer3", "layer4"]),
        ("last_three", ["layer2", "layer3", "layer4"]),
        ("all", ["act1", "layer1", "layer2", "layer3", "layer4"]),
        ("layer2", ["layer2"]),
        (["layer4", "layer1"], ["layer1", "layer4"]),
        (np.array(["layer1"]), ["layer1"]),
    ],
)
def test_what_is_chosen(trainable, chosen):
    network = NETWORKS["resnet"][0]()
    stages = network_stages(network)
    expected = [parameter for stage in chosen for parameter in stages[stage]]
    assert trained_parameters(network, trainable, "owner") == expected
    assert not any(name.startswith("fc.") for name in expected)


def test_a_stage_begins_after_the_last_one():
    stages = network_stages(NETWORKS["resnet"][0]())
    assert {name.split(".")[0] for name in stages["act1"]} == {"conv1", "bn1"}
    assert all(name.startswith("layer3.") for name in stages["layer3"])
    vit = network_stages(timm.create_model("test_vit"))
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= set(vit["blocks.0"])
    assert {"norm.weight", "norm.bias"} <= set(vit["blocks.5"])


def test_a_network_without_metadata_has_its_largest_part_taken_apart():
    assert list(network_stages(Plain())) == ["stem", "body.0", "body.1", "body.3"]
    assert list(network_stages(nn.Conv2d(3, 4, 3))) == [""]


@pytest.mark.parametrize("backbone", [Skip, Bright])
@pytest.mark.parametrize("size", [16, 96])
def test_an_end_that_sees_the_images_is_given_them(backbone, size):
    extractor = fitted(backbone, size)
    images = noise(extractor) / 4
    images += torch.tensor([-1.0, 0.0, 0.5, 1.0]).to(images)[:, None, None, None]
    with torch.no_grad():
        whole = extractor.fitted_network_.copy().outputs(images)
    cut = CutNetwork(extractor.fitted_network_, "last_two", "owner")
    assert cut.entry is None
    features = cut.trained_part(cut.frozen_part(images))
    torch.testing.assert_close(features.detach(), whole)
    features.square().sum().backward()
    assert extractor.network_.first.weight.grad is None
    assert extractor.network_.third.weight.grad is not None


def test_an_end_that_sees_the_images_is_trained():
    extractor = FeatureExtractor(Skip, weights=None, image_size=16)
    adapter = CompactnessAdapter(extractor, n_steps=12, learning_rate=1, clip_norm=None)
    adapter.fit(IMAGES)
    distances = adapter.training_curve_["center_distance"]
    assert distances[-1] < 0.97 * distances[0]
    features = adapter.transform(IMAGES).astype(np.float64)
    measured = np.sqrt(((features - adapter.center_) ** 2).sum(1)).mean()
    assert measured == pytest.approx(distances[-1], rel=1e-4)
    before = FeatureExtractor(Skip, weights=None, image_size=16).fit(IMAGES).network_
    for name, value in adapter.network_.state_dict().items():
        same = torch.equal(value, before.state_dict()[name])
        assert same == name.startswith(("first.", "second.")), name


@needs_bfloat16
@pytest.mark.parametrize(("name", "trainable"), [("tiny", "last_two"), ("resnet", "all")])
def test_what_is_trained_computes_in_float32(name, trainable):
    backbone, size, _ = NETWORKS[name]
    extractor = fitted(backbone, size, precision="bfloat16")
    exact = fitted(backbone, size)
    images = noise(extractor)
    cut = CutNetwork(extractor.fitted_network_, trainable, "owner")
    assert {p.dtype for p in cut.parameters.values()} == {torch.float32}
    frozen = {p.dtype for p in extractor.network_.parameters() if not p.requires_grad}
    if trainable == "last_two":
        assert frozen == {torch.bfloat16}
        buffers = {b.dtype for n, b in extractor.network_.named_buffers() if n[:6] == "layer3"}
        assert torch.bfloat16 not in buffers
    features = cut.trained_part(cut.frozen_part(images))
    assert features.dtype == torch.float32
    # also after training: by the door that every image takes
    torch.testing.assert_close(extractor.fitted_network_.features(images), features.detach())
    whole = exact.fitted_network_.outputs(images).detach()
    assert (features.detach() - whole).norm() < 0.03 * whole.norm()


@pytest.mark.parametrize(
    "trainable", ["layer5", "last_four", "", 0, 6, -1, [], ["layer4", "fc"], ["last"], [4]]
)
def test_stages_that_there_are_not(trainable):
    message = (
        r"MSC: trainable=.* names no stages of ResNet; allowed are 'last', .* a number from 1 to 5"
        ", or a list of 'act1', 'layer1', 'layer2', 'layer3', 'layer4'"
    )
    with pytest.raises(ValueError, match=message):
        trained_parameters(NETWORKS["resnet"][0](), trainable, "MSC")


def test_features_that_do_not_come_from_what_is_trained():
    extractor = fitted("tiny", 32, layers=["layer2", "layer1"])
    message = (
        r"PANDA: no trainable parameter is left: the features \(layers=\['layer2', 'layer1'\]\) do "
        "not depend on the stages that trainable='last_two' names. Choose others of 'act1', "
    )
    with pytest.raises(ValueError, match=message):
        CutNetwork(extractor.fitted_network_, "last_two", "PANDA")


def test_only_what_the_features_come_from_is_trained():
    extractor = fitted("tiny", 32, layers=["layer3"])
    cut = CutNetwork(extractor.fitted_network_, "last_two", "PANDA")
    assert cut.names
    assert all(name.startswith("layer3.") for name in cut.names)


def test_stages_without_parameters():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    network.feature_info = [{"module": "0"}, {"module": "1"}]
    with pytest.raises(ValueError, match="names stages of Sequential without parameters.*'0', '1'"):
        trained_parameters(network, "last", "PANDA")


class Large(Plain):
    """A network for which there may be no room."""

    room = True

    def forward(self, x):
        if not self.room and len(x) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_no_room_is_no_other_way_past_the_cut():
    extractor = FeatureExtractor(Large, image_size=40).fit(IMAGES)
    assert CutNetwork(extractor.fitted_network_, "last", "owner").entry is not None
    extractor.network_.room = False
    with pytest.raises(torch.OutOfMemoryError):
        CutNetwork(extractor.fitted_network_, "last", "owner")
