"""One image alone has the bits that it has among others, by whichever way they are had."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from skad import FeatureExtractor
from skad.networks import _one_image
from skad.networks._one_image import same_arithmetic

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 40, 40, 3)).astype(np.uint8)
NETWORKS = {
    "tiny": ({}, True),
    "tiny-dense": ({"backbone": "tiny-dense", "image_size": 64}, True),
    "ResNet": ({"backbone": "test_resnet", "weights": None, "image_size": 32}, True),
    "padded as in TensorFlow": (
        {"backbone": "tf_mobilenetv3_small_minimal_100", "weights": None, "image_size": 32},
        False,
    ),
}


@pytest.mark.bits
@pytest.mark.parametrize(("network", "plain"), NETWORKS.values(), ids=NETWORKS)
def test_alone_and_among_others(network, plain):
    extractor = FeatureExtractor(**network).fit(IMAGES)
    together = extractor.transform(IMAGES)
    assert (_one_image._concerned(extractor.network_) is not None) is plain
    for image, expected in zip(IMAGES, together):
        found = extractor.transform(image[None])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    by_operation = extractor.fitted_network_.prepare(
        torch.from_numpy(IMAGES[:1]).permute(0, 3, 1, 2)
    )
    with torch.inference_mode(), same_arithmetic(by_operation):
        whole = extractor.fitted_network_.outputs(
            by_operation.to(memory_format=torch.channels_last)
        )
    np.testing.assert_array_equal(whole.numpy(), extractor.transform(IMAGES[:1]))
    assert not any("_conv_forward" in vars(module) for module in extractor.network_.modules())


def test_threads_share_a_network():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding="same"))
    image, inside, leave = torch.rand(1, 3, 16, 16), threading.Event(), threading.Event()

    def first():
        with torch.inference_mode(), same_arithmetic(image, network):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with torch.inference_mode(), same_arithmetic(image, network):
        leave.set()
        thread.join()
        assert "_conv_forward" in vars(network[0]), "though the first one has left"
        assert network(image).shape == (1, 4, 16, 16)
    assert "_conv_forward" not in vars(network[0])
