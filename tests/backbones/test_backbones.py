"""Networks to be trained from scratch: shapes, parameters, what they are made of, bad input."""

import copy
import pickle
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from skad import FeatureExtractor
from skad.backbones import (
    cifar_resnet18,
    clad_large,
    clad_small,
    small_cnn,
    svdd_cifar,
    svdd_mnist,
    wide_resnet,
)
from skad.networks._preprocessing import resolve_preprocessing
from skad.networks._stages import network_stages

# Narrow networks, and the number of their features.
NARROW = {
    "cifar_resnet18": (partial(cifar_resnet18, width=2), 16),
    "small_cnn": (partial(small_cnn, width=3), 24),
    "wide_resnet": (partial(wide_resnet, depth=10, widening=1), 64),
    "svdd_mnist": (partial(svdd_mnist, code_dim=16), 16),
    "svdd_cifar": (partial(svdd_cifar, code_dim=32), 32),
    "clad_small": (partial(clad_small, code_dim=5), 5),
    "clad_large": (partial(clad_large, code_dim=7), 7),
}
CODERS = ["svdd_mnist", "svdd_cifar", "clad_small", "clad_large"]
every = pytest.mark.parametrize("name", NARROW)
every_coder = pytest.mark.parametrize("name", CODERS)
CHANNELS_AND_SIZES = [(1, 8), (3, 8), (1, 28), (3, 32), (1, 33), (3, 33)]


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def made(name, seed=0, **parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NARROW[name][0](**parameters)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


# Shapes and gradients


@every
@pytest.mark.parametrize(("n_channels", "size"), CHANNELS_AND_SIZES)
def test_images_of_any_size_become_features(name, n_channels, size):
    network = made(name, n_channels=n_channels, image_size=size)
    features = network(noise(2, n_channels, size, size))
    assert features.shape == (2, NARROW[name][1])
    preprocessing = resolve_preprocessing(network)
    found = (preprocessing.image_size, preprocessing.n_channels, preprocessing.resize)
    assert found == (size, n_channels, "whole")
    assert len(preprocessing.mean) == n_channels


@every
def test_a_batch_of_two_reaches_every_parameter(name):
    network = made(name, n_channels=1, image_size=8).train()
    features = network(noise(2, 1, 8, 8))
    (features * torch.arange(1.0, features.shape[1] + 1)).sum().backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None]
    assert not unreached
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert any(float(p.grad.abs().max()) > 0 for p in network.parameters())


@pytest.mark.parametrize("name", ["cifar_resnet18", "small_cnn", "wide_resnet"])
def test_the_mean_over_places_takes_other_sizes_as_well(name):
    network = made(name, image_size=32).eval()
    assert network(noise(2, 3, 19, 40)).shape == (2, NARROW[name][1])


@every
def test_features_do_not_depend_on_company_in_evaluation(name):
    network = made(name, n_channels=3, image_size=16).eval()
    images = noise(3, 3, 16, 16)
    with torch.no_grad():
        together, alone = network(images), network(images[1:2])
    torch.testing.assert_close(alone[0], together[1], rtol=1e-4, atol=1e-5)


# Autoencoders


@every_coder
@pytest.mark.parametrize(("n_channels", "size"), CHANNELS_AND_SIZES)
def test_decoders_draw_images_of_the_size_of_those_seen(name, n_channels, size):
    network = made(name, n_channels=n_channels, image_size=size)
    decoder = network.make_decoder().train()
    images = noise(2, n_channels, size, size)
    drawn = decoder(network(images))
    assert drawn.shape == images.shape
    ((drawn - images) ** 2).sum().backward()
    assert all(p.grad is not None for p in [*decoder.parameters(), *network.parameters()])


@every_coder
@pytest.mark.parametrize("size", [8, 16, 28, 32])
def test_the_whole_code_reaches_the_image(name, size):
    decoder = made(name, n_channels=1, image_size=size).make_decoder().eval()
    codes = (noise(4, NARROW[name][1]) - 0.5).requires_grad_()
    decoder(codes).square().sum().backward()
    assert (codes.grad.abs().amax(dim=0) > 0).all()


@every_coder
def test_decoders_keep_to_the_range_they_tell(name):
    network = made(name, n_channels=1, image_size=8)
    codes, decoder = 1e3 * (noise(4, NARROW[name][1]) - 0.5), network.make_decoder().eval()
    with torch.no_grad():
        drawn = decoder(codes)
    within = bool((drawn >= 0).all() and (drawn <= 1).all())
    assert within == (decoder.decoder_range == "unit") == name.startswith("svdd")


@pytest.mark.parametrize("name", ["svdd_mnist", "svdd_cifar"])
def test_deep_svdd_has_neither_bias_nor_shift(name):
    network = made(name)
    for part in (network, network.make_decoder()):
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        linear = [module for module in part.modules() if isinstance(module, kinds)]
        norms = [m for m in part.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
        assert len(linear) >= 3
        assert len(norms) >= 2
        assert all(module.bias is None for module in linear)
        assert not any(norm.affine for norm in norms)
        assert {norm.eps for norm in norms} == {1e-4}
    # so it is zero on zero, whatever it learns
    size = network.pretrained_cfg["input_size"]
    assert not network.eval()(torch.zeros(2, *size)).any()


def test_only_the_decoder_for_cifar_normalises_codes():
    assert isinstance(made("svdd_cifar").make_decoder().first, nn.BatchNorm1d)
    assert made("svdd_mnist").make_decoder().first is None


@pytest.mark.parametrize("name", ["svdd_cifar", "clad_small", "clad_large"])
def test_first_weights_are_xaviers(name):
    network = made(name)
    gain = nn.init.calculate_gain("leaky_relu", 0.01) if name == "svdd_cifar" else 1.0
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    for part in (network, network.make_decoder()):
        for module in part.modules():
            if isinstance(module, kinds):
                fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(module.weight)
                limit = gain * (6 / (fan_in + fan_out)) ** 0.5
                assert float(module.weight.detach().abs().max()) <= limit * (1 + 1e-6)
                if module.weight.numel() > 1000:
                    deviation = float(module.weight.detach().std())
                    assert deviation == pytest.approx(limit / 3**0.5, rel=0.1)
                assert module.bias is None or not module.bias.any()


def test_each_decoder_is_a_new_one():
    network = made("svdd_cifar", image_size=8)
    one, other = network.make_decoder(), network.make_decoder()
    assert not torch.equal(one.convolutions[0].weight, other.convolutions[0].weight)


# Parameters by closed form


def conv(n_in, n_out, kernel=3):
    return kernel**2 * n_in * n_out


def resnet18_parameters(n_channels, width):
    total = conv(n_channels, width) + 2 * width
    n_in = width
    for n_out in (width, 2 * width, 4 * width, 8 * width):
        total += conv(n_in, n_out) + 3 * conv(n_out, n_out) + 4 * 2 * n_out
        if n_in != n_out:
            total += conv(n_in, n_out, 1) + 2 * n_out
        n_in = n_out
    return total


@pytest.mark.parametrize(("n_channels", "width"), [(3, 64), (1, 64), (3, 8), (1, 5)])
def test_cifar_resnet18_has_so_many_parameters(n_channels, width):
    network = cifar_resnet18(n_channels=n_channels, width=width)
    assert count(network) == resnet18_parameters(n_channels, width)
    if (n_channels, width) == (3, 64):
        assert count(network) == 11168832  # 11173962 with its classifier of 10


def wide_parameters(n_channels, depth, widening):
    n_blocks, n_in, total = (depth - 4) // 6, 16, conv(n_channels, 16)
    for stage, n_out in enumerate((16 * widening, 32 * widening, 64 * widening)):
        for block in range(n_blocks):
            total += 2 * n_in + conv(n_in, n_out) + 2 * n_out + conv(n_out, n_out)
            if block == 0 and (n_in != n_out or stage > 0):
                total += conv(n_in, n_out, 1)
            n_in = n_out
    return total + 2 * n_in


@pytest.mark.parametrize(("n_channels", "depth", "widening"), [(3, 16, 4), (1, 10, 1), (3, 16, 2)])
def test_wide_resnet_has_so_many_parameters(n_channels, depth, widening):
    network = wide_resnet(n_channels=n_channels, depth=depth, widening=widening)
    assert count(network) == wide_parameters(n_channels, depth, widening)
    if (n_channels, depth, widening) == (3, 16, 4):
        assert count(network) == 2746320  # 2748890 with its classifier of 10


@pytest.mark.parametrize(("n_channels", "width"), [(3, 32), (1, 4)])
def test_small_cnn_has_so_many_parameters(n_channels, width):
    widths = [n_channels, *(width * 2**k for k in range(4))]
    expected = sum(conv(i, o) + 2 * o for i, o in pairwise(widths))
    assert count(small_cnn(n_channels=n_channels, width=width)) == expected


def test_deep_svdd_and_clad_have_so_many_parameters():
    assert count(svdd_mnist()) == conv(1, 8, 5) + conv(8, 4, 5) + 4 * 7 * 7 * 32
    convolutions = conv(3, 32, 5) + conv(32, 64, 5) + conv(64, 128, 5)
    assert count(svdd_cifar()) == convolutions + 128 * 4 * 4 * 128
    widths = [1, 4, 8, 16]
    small = sum(conv(i, o) + o for i, o in pairwise(widths))
    assert count(clad_small()) == small + 16 * 49 * 512 + 512 + 512 * 100 + 100
    widths = [3, 48, 48, 96, 96, 192, 192]
    large = sum(conv(i, o) + 3 * o for i, o in pairwise(widths))
    assert count(clad_large()) == large + 192 * 64 * 512 + 512 + 512 * 100 + 100


# Stages


@pytest.mark.parametrize("factory", [cifar_resnet18, small_cnn], ids=lambda f: f.__name__)
def test_stages_are_the_four_layers(factory):
    network = factory(width=2)
    stages = network_stages(network)
    assert list(stages) == ["layer1", "layer2", "layer3", "layer4"]
    named = [name for parameters in stages.values() for name in parameters]
    assert sorted(named) == sorted(name for name, _ in network.named_parameters())
    for stage, parameters in list(stages.items())[1:]:
        assert all(name.startswith(stage + ".") for name in parameters)


def test_stages_of_cifar_resnet18_are_as_wide_and_coarse_as_told():
    network = cifar_resnet18(width=2).eval()
    names = ["layer1", "layer2", "layer3", "layer4"]
    extractor = FeatureExtractor(partial(cifar_resnet18, width=2), weights=None, layers=names)
    maps = extractor.fit(np.zeros((1, 32, 32))).feature_maps(np.zeros((1, 32, 32)))
    told = [(s["module"], s["num_chs"], 32 // s["reduction"]) for s in network.feature_info]
    assert told == [(name, maps[name].shape[1], maps[name].shape[2]) for name in names]
    assert [maps[name].shape[2] for name in names] == [32, 16, 8, 4]


def test_wide_resnets_halve_twice():
    layers = ["layer1", "layer2", "layer3"]
    extractor = FeatureExtractor(NARROW["wide_resnet"][0], weights=None, layers=layers)
    maps = extractor.fit(np.zeros((1, 32, 32))).feature_maps(np.zeros((1, 32, 32)))
    shapes = [value.shape[1:] for value in maps.values()]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_dropout_is_in_training_alone():
    for dropout, same in ((0.5, False), (0.0, True)):
        network = made("wide_resnet", dropout=dropout, image_size=8)
        images = noise(4, 3, 8, 8)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network.train()
            assert torch.equal(network(images), network(images)) == same
        network.eval()
        assert torch.equal(network(images), network(images))


# Copies, pickles and seeds


@every
def test_factories_and_networks_survive_copies_and_pickles(name):
    factory = NARROW[name][0]
    assert pickle.loads(pickle.dumps(factory)).keywords == factory.keywords
    assert pickle.loads(pickle.dumps(factory.func)) is factory.func
    network, images = made(name, n_channels=3, image_size=8).eval(), noise(2, 3, 8, 8)
    with torch.no_grad():
        expected = network(images)
        for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(again(images), expected)
            if name in CODERS:
                assert again.make_decoder()(expected).shape == images.shape


@every
def test_random_weights_follow_the_seed(name):
    images = noise(2, 16, 16).numpy()
    backbone = partial(NARROW[name][0], n_channels=3, image_size=16)
    before = torch.random.get_rng_state()
    first, same, other = (
        FeatureExtractor(backbone, weights=None, random_state=seed).fit_transform(images)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(same, first)
    assert not np.allclose(other, first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_grey_images_fit_networks_of_either_kind():
    gray = noise(2, 8, 8).numpy()
    colored = np.repeat(gray[..., None], 3, axis=3)
    features = {}
    for n_channels in (1, 3):
        extractor = FeatureExtractor(
            partial(small_cnn, n_channels=n_channels, width=2, image_size=8), weights=None
        )
        features[n_channels] = extractor.fit_transform(gray)
        assert features[n_channels].shape == (2, 16)
        if n_channels == 3:
            np.testing.assert_array_equal(extractor.transform(colored), features[3])
        else:
            with pytest.raises(ValueError, match=r"takes 1 channel\(s\), but images have 3"):
                extractor.transform(colored)


# Bad input


@pytest.mark.parametrize("parameter", ["n_channels", "image_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None], ids=repr)
@every
def test_numbers_that_are_no_positive_whole_ones(name, parameter, value):
    message = f"^{name}: {parameter} must be a positive whole number; got {value!r}\\.$"
    with pytest.raises(ValueError, match=message):
        NARROW[name][0](**{parameter: value})


@pytest.mark.parametrize(
    ("factory", "parameter"),
    [
        *((cifar_resnet18, "width"), (small_cnn, "width"), (wide_resnet, "depth")),
        *((wide_resnet, "widening"), (svdd_mnist, "code_dim"), (svdd_cifar, "code_dim")),
        *((clad_small, "code_dim"), (clad_large, "code_dim")),
    ],
)
def test_widths_that_are_no_positive_whole_numbers(factory, parameter):
    for value in (0, 1.5):
        message = f"^{factory.__name__}: {parameter} must be a positive whole number; got {value}"
        with pytest.raises(ValueError, match=message):
            factory(**{parameter: value})


@every
def test_images_too_small_for_the_poolings(name):
    with pytest.raises(ValueError, match=f"^{name}: image_size must be at least 8; got 7\\.$"):
        NARROW[name][0](image_size=7)


@pytest.mark.parametrize(
    ("factory", "parameters", "message"),
    [
        (wide_resnet, {"depth": 15}, "depth must be 6 n \\+ 4, as 10, 16 or 28; got 15"),
        (wide_resnet, {"depth": 4}, "depth must be 6 n \\+ 4, as 10, 16 or 28; got 4"),
        (wide_resnet, {"dropout": 1.0}, "dropout must be in \\[0, 1\\); got 1.0"),
        (wide_resnet, {"dropout": "0.3"}, "dropout must be in \\[0, 1\\); got '0.3'"),
        (wide_resnet, {"dropout": -0.1}, "dropout must be in \\[0, 1\\); got -0.1"),
        (svdd_mnist, {"code_dim": 20}, "code_dim must be a multiple of 16; got 20"),
        (svdd_cifar, {"code_dim": 100}, "code_dim must be a multiple of 16; got 100"),
    ],
)
def test_parameters_out_of_their_range(factory, parameters, message):
    with pytest.raises(ValueError, match=f"^{factory.__name__}: {message}"):
        factory(**parameters)
