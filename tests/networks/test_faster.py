"""What makes steps faster changes nothing but rounding, and is gone afterwards."""

import numpy as np
import pytest
import timm
import torch

from skad import CompactnessAdapter, FeatureExtractor
from skad.networks._cut import CutNetwork
from skad.networks._folding import folded
from tests.instances import SMALL

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 40, 40, 3)).astype(np.uint8)
NETWORKS = {
    "tiny": {},
    "ResNet": SMALL,
    "MobileNet": {"backbone": "mobilenetv2_035", "weights": None, "image_size": 32},
}


def cut_network(trainable="last_two", **network):
    fitted = FeatureExtractor(**network).fit(IMAGES).fitted_network_
    with torch.no_grad():  # random networks have BatchNorms that do nothing
        generator = torch.Generator().manual_seed(0)
        for module in fitted.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for value in (module.running_mean, module.bias):
                    value.add_(torch.rand(value.shape, generator=generator) / 5)
                for value in (module.running_var, module.weight):
                    value.mul_(torch.rand(value.shape, generator=generator) + 0.5)
    return CutNetwork(fitted, trainable, "test")


def gradients(cut, hidden):
    features = cut.trained_part(hidden.clone())
    return features, torch.autograd.grad(features.square().mean(), list(cut.parameters.values()))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("trainable", ["last", "last_two", "all"])
def test_folding_changes_nothing_but_rounding(network, trainable):
    cut = cut_network(trainable, **network)
    size = cut.fitted.preprocessing.image_size
    images = torch.randn((3, 3, size, size), generator=torch.Generator().manual_seed(1))
    hidden = cut.frozen_part(images)
    features, expected = gradients(cut, hidden)
    names = cut.network.state_dict().keys()
    with cut.folded() as n_folded:
        assert n_folded > 0
        again, found = gradients(cut, cut.frozen_part(images))
        assert cut.network.state_dict().keys() == names
    torch.testing.assert_close(
        again, features, rtol=1e-4, atol=1e-5 * features.detach().abs().max().item()
    )
    for one, other in zip(found, expected):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-8
    assert not any("forward" in vars(module) for module in cut.network.modules())
    torch.testing.assert_close(gradients(cut, hidden)[0], features, rtol=0, atol=0)


class Shared(torch.nn.Module):
    """The BatchNorm is not alone in taking what the convolution gives."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.norm.running_mean += 1.0

    def forward(self, images):
        maps = self.conv(images)
        return (self.norm(maps) + maps).mean((2, 3))


def test_convolutions_that_others_read_are_left_alone():
    network, images = Shared().eval(), torch.randn(2, 3, 16, 16)
    expected = network(images)
    with folded(network, images, network) as n_folded:
        assert n_folded == 0
        assert torch.equal(network(images), expected)


def test_batch_norm_that_learns_is_left_alone():
    network = timm.create_model("test_resnet").train()
    with folded(network, torch.randn(2, 3, 32, 32), network.eval().train()) as n_folded:
        assert n_folded == 0


def test_an_error_unfolds():
    cut = cut_network(**SMALL)
    with pytest.raises(ZeroDivisionError), cut.folded():
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in cut.network.modules())


def test_compiled_stages_train_as_others():
    expected, found = (
        CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=3, batch_size=7, compile=backend).fit(
            IMAGES
        )
        for backend in (False, "eager")
    )
    np.testing.assert_allclose(found.transform(IMAGES), expected.transform(IMAGES), rtol=1e-5)
    assert not any("forward" in vars(module) for module in found.network_.modules())


def test_unknown_backends_are_refused():
    adapter = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=1, compile="fast")
    with pytest.raises(ValueError, match="compile must be a bool or one of .*inductor.*'fast'"):
        adapter.fit(IMAGES)
    assert not hasattr(adapter, "extractor_")
