"""Functions of tensors: on a device they stay there, and give what they give on the CPU."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.utils._pytree import tree_leaves, tree_map_only

from skad import augment, losses
from skad.augment import ContrastiveAugmentation, StrongAugmentation
from skad.maps import CentroidPixels, RetrievedCentroids, RetrievedCoreset, RetrievedPixels
from skad.maps import _maps as _maps

from . import far


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def to_far(value):
    return tree_map_only(torch.Tensor, lambda t: t.to("far"), value)


def assert_same(found, expected):
    found, expected = tree_leaves(found), tree_leaves(expected)
    assert {one.device.type for one in found} == {"far"}
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-6)


IMAGES = drawn(4, 3, 12, 15)
CHOSEN = torch.tensor([True, False, True, True])
# What is done to each image is drawn on the CPU.
AUGMENTATIONS = {
    "adjust_brightness": [drawn(4)],
    "adjust_contrast": [drawn(4)],
    "adjust_hue": [drawn(4) - 0.5],
    "adjust_saturation": [drawn(4)],
    "adjust_sharpness": [drawn(4)],
    "affine": [drawn(4, 2, 3)],
    "autocontrast": [],
    "cut_out": [torch.tensor([0, 3, 5, 12]), torch.arange(4), torch.arange(4), 0.5],
    "equalize": [],
    "flip": [CHOSEN],
    "gaussian_blur": [drawn(4) * 2],
    "posterize": [torch.tensor([1, 4, 8, 3])],
    "rotate": [30.0],
    "resized_crop": [*torch.tensor([[0, 1, 2, 3], [0, 2, 0, 1], [5, 8, 9, 3], [4, 9, 12, 8]]), 8],
    "solarize": [drawn(4)],
    "to_gray": [CHOSEN],
}


def test_no_augmentation_is_left_out():
    functions = {name for name in augment.__all__ if inspect.isfunction(getattr(augment, name))}
    assert functions == set(AUGMENTATIONS)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations(name):
    function, parameters = getattr(augment, name), AUGMENTATIONS[name]
    assert_same(function(IMAGES.to("far"), *parameters), function(IMAGES, *parameters))


AUGMENTERS = {
    "contrastive": ContrastiveAugmentation(
        8, jitter_probability=0.5, gray_probability=0.5, blur_probability=0.5
    ),
    "strong": StrongAugmentation(8),
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("listed", [False, True], ids=["batch", "list"])
@pytest.mark.parametrize("kind", AUGMENTERS)
def test_random_views(kind, listed, dtype):
    batch = (drawn(16, 3, 12, 15) * (255 if dtype == torch.uint8 else 1)).to(dtype)
    if listed:
        batch = [*batch[:8], *batch[8:, :, :, :9]]
    views = [
        AUGMENTERS[kind](images, torch.Generator().manual_seed(0))
        for images in (to_far(batch), batch)
    ]
    assert_same(*views)


ROWS, OTHERS, CENTER = drawn(6, 5), drawn(6, 5, seed=1), drawn(5, seed=2)
SHARES = drawn(6, 3).softmax(1)
LOSSES = {
    "angular_center_loss": [ROWS, CENTER],
    "byol_loss": [ROWS, OTHERS, OTHERS, ROWS],
    "compactness_loss": [ROWS, CENTER],
    "dec_loss": [SHARES, SHARES.square().softmax(1)],
    "elastic_penalty": [[ROWS, CENTER], [OTHERS, 2 * CENTER], [ROWS, CENTER]],
    "mean_shifted_contrastive_loss": [ROWS, OTHERS, CENTER],
    "negative_cosine_loss": [ROWS, OTHERS],
    "nt_xent_loss": [ROWS, OTHERS, 0.5],
    "outlier_exposure_loss": [CENTER, 2 * CENTER],
    "reconstruction_loss": [IMAGES, 1 - IMAGES],
    "scan_loss": [ROWS, OTHERS],
    "self_labelling_loss": [10 * ROWS, 10 * OTHERS, 0.5],
    "sharpened_targets": [SHARES],
    "simsiam_loss": [ROWS, OTHERS, OTHERS, ROWS],
    "soft_assignments": [ROWS, drawn(3, 5)],
    "soft_boundary_loss": [ROWS, CENTER, torch.tensor(0.5)],
    "soft_boundary_radius": [ROWS, CENTER],
    "vicreg_loss": [ROWS, OTHERS],
}


def test_no_loss_is_left_out():
    assert set(losses.__all__) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients(name, monkeypatch):
    function, found = getattr(losses, name), []
    # torch.quantile computes in float64 inside.
    monkeypatch.setattr(far.Far, "float64", name == "soft_boundary_radius")
    for given in (to_far(LOSSES[name]), LOSSES[name]):
        given = tree_map_only(torch.Tensor, lambda t: t.clone().requires_grad_(), given)
        values = function(*given)
        if values.requires_grad:
            values.sum().backward()
        tensors = [t for t in tree_leaves(given) if isinstance(t, torch.Tensor)]
        found.append([values.detach(), *(t.grad for t in tensors if t.grad is not None)])
    assert_same(*found)


MAPS = [drawn(3, 4, 6, 6), drawn(3, 5, 3, 3)]
CROPPED = SimpleNamespace(resize="crop", image_size=8)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (_maps.join, [MAPS]),
        (_maps.pixels_of, [MAPS[0]]),
        (_maps.smooth, [MAPS[0][:, 0], 8, 1.5]),
        (_maps.lay_over, [drawn(8, 8), (12, 15), CROPPED]),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_maps(function, arguments):
    assert_same(function(*to_far(arguments)), function(*arguments))


GALLERIES = {
    "all": RetrievedPixels(),
    "of each": RetrievedCentroids(n_centroids=3),
    "coreset of each": RetrievedCoreset(coreset_share=0.2),
    "of all": CentroidPixels(n_centroids=3),
}


@pytest.mark.parametrize("fusion", ["joined", "per_layer"])
@pytest.mark.parametrize("kind", GALLERIES)
def test_galleries_of_pixels(kind, fusion):
    found = []
    for maps in (to_far(MAPS), MAPS):
        gallery = clone(GALLERIES[kind]).set_params(fusion=fusion, n_neighbor_pixels=2)
        gallery.begin(3, "SPADE")
        gallery.add(0, maps)
        gallery.complete()
        found.append(gallery.distances(maps, np.array([[1, 2], [0, 2], [0, 1]])))
    assert_same(*found)
