"""How many images pass through a network together: on a CPU as many as are of use there."""

import numpy as np
import pytest
import torch

from skad import FeatureExtractor
from skad.networks._fitted import few_at_once


@pytest.mark.parametrize(("size", "n_together"), [(64, 64), (128, 16), (224, 5), (1024, 1)])
def test_large_images_go_in_parts(size, n_together):
    images = torch.empty(1, 1, 1, 1).expand(70, 3, size, size)
    parts = [len(part) for part in few_at_once(images)]
    assert max(parts) == n_together
    assert sum(parts) == 70


@pytest.mark.parametrize("n_images", [17, 0])
def test_parts_change_nothing(n_images):
    """Seventeen: the last of them passes alone."""
    rng = np.random.RandomState(0)
    images = torch.from_numpy(rng.normal(size=(n_images, 3, 128, 128)).astype(np.float32))
    fitted = FeatureExtractor(image_size=128).fit(np.zeros((2, 8, 8), np.uint8)).fitted_network_
    names = ["layer2", "layer3"]
    features, maps = fitted.features_and_maps(images, names)
    with torch.inference_mode():
        expected = fitted.outputs_and_maps(images.contiguous(), names)
    torch.testing.assert_close(features, expected[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, expected[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fitted.features(images), features)
