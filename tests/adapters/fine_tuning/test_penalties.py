"""Penalties, Fisher information, sample-wise stopping."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skad import (
    FeatureExtractor,
    FisherDiagonal,
)
from skad._random import torch_seed
from skad.adapters import _fisher
from skad.networks._preprocessing import preprocess
from skad.training import _run as _run
from skad.training._order import BatchSampler
from tests.adapters.fine_tuning.common import (
    CLASSES,
    SEED,
    SEVEN,
    assert_same_weights,
    compactness,
    elastic,
    every_adapter,
    extractor,
    features_of,
    flat,
    moved,
    untrained,
)


@pytest.mark.bits
@every_adapter
def test_less_memory_gives_the_same(make, normal, auxiliary):
    adapter = make(batch_size=8)
    whole = clone(adapter).fit(normal, **auxiliary(adapter))
    hidden = 48 * 4 * 4 * 4  # bytes for an image, of which nine have room
    for limit in (0, 9.5 * hidden / 2**20):
        less = clone(adapter).set_params(memory_limit=limit).fit(normal, **auxiliary(adapter))
        way = flat(whole.network_.parameters()) - flat(untrained(adapter, normal).parameters())
        off = flat(whole.network_.parameters()) - flat(less.network_.parameters())
        assert float(off.norm()) < 1e-3 * float(way.norm()), limit
        for name, values in whole.training_curve_.items():
            np.testing.assert_allclose(less.training_curve_[name], values, rtol=1e-3)
        np.testing.assert_allclose(less.transform(normal), whole.transform(normal), rtol=1e-3)


@pytest.mark.parametrize("stopping", ["elastic", "l2_sp"])
def test_without_penalty_it_is_early_stopping(stopping, normal):
    early = compactness().fit(normal)
    free = compactness(stopping=stopping, penalty=0).fit(normal)
    np.testing.assert_allclose(free.transform(normal), early.transform(normal), rtol=1e-5)
    assert hasattr(free, "fisher_") == (stopping == "elastic")
    assert not hasattr(early, "fisher_")


@pytest.mark.parametrize(("stopping", "penalties"), [("elastic", [1e3, 1e4]), ("l2_sp", [0.1, 5])])
def test_a_penalty_keeps_the_network_near(stopping, penalties, normal):
    make = partial(compactness, n_steps=12, clip_norm=None, momentum=0, weight_decay=0)
    ways = [
        moved(make(stopping=stopping, penalty=penalty).fit(normal), normal)
        for penalty in (0, *penalties)
    ]
    assert ways[0] > ways[1] > ways[2] > 0
    assert ways[2] < 0.95 * ways[0]


def test_the_penalty_is_in_the_loss(normal):
    adapter = compactness(stopping="l2_sp", penalty=3.0, batch_size=20, n_steps=2, momentum=0)
    losses = adapter.fit(normal).training_curve_["loss"]
    once = clone(adapter).set_params(n_steps=1).fit(normal)
    compact = ((once.transform(normal) - once.center_) ** 2).mean()
    assert losses[2] == pytest.approx(compact + 3 / 2 * moved(once, normal) ** 2, rel=1e-4)


@pytest.fixture(scope="module")
def with_fisher(normal):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fisher, "N_BATCHES", 2)
        return elastic().fit(normal)


@pytest.mark.bits
def test_fisher_from_a_file_gives_the_same_fit(with_fisher, normal, tmp_path):
    with_fisher.fisher_.save(tmp_path / "fisher")
    loaded = FisherDiagonal.load(tmp_path / "fisher")
    assert loaded.weights == with_fisher.fisher_.weights
    assert loaded.values.keys() == with_fisher.fisher_.values.keys()
    again = elastic(fisher=tmp_path / "fisher").fit(normal)
    assert_same_weights(again, with_fisher)
    # fewer stages than it was computed for are no matter
    elastic(fisher=str(tmp_path / "fisher"), trainable="last").fit(normal)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"extractor": extractor(random_state=1)},
            "CompactnessAdapter: the Fisher information is of a network with other weights",
        ),
        (
            {"trainable": "last_three"},
            r"the Fisher information lacks 9 of the 30 parameters .*, as 'layer2\.",
        ),
    ],
)
def test_fisher_of_something_else_is_refused(parameters, message, with_fisher, normal, tmp_path):
    with_fisher.fisher_.save(tmp_path / "fisher")
    adapter = elastic(fisher=tmp_path / "fisher", **parameters)
    with pytest.raises(ValueError, match=message):
        adapter.fit(normal)
    assert not hasattr(adapter, "extractor_")


def test_files_that_are_no_fisher_information(normal, tmp_path):
    with pytest.raises(FileNotFoundError):
        elastic(fisher=tmp_path / "none").fit(normal)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="text' was not written by FisherDiagonal.save"):
        elastic(fisher=tmp_path / "text").fit(normal)


@pytest.mark.parametrize("backbone", [SEVEN, "tiny"], ids=["classifier", "none"])
def test_fisher_from_any_images(backbone, normal, others):
    found = {}
    for name, source in {
        "labelled": {"X_source": others[:8], "y_source": CLASSES[:8]},
        "unlabelled": {"X_source": others[:8]},
        "none": {},
    }.items():
        adapter = elastic(extractor=extractor(backbone), n_steps=1).fit(normal[:9], **source)
        values = adapter.fisher_.values
        named = {n for n, _ in adapter.network_.named_parameters()}
        stages = "layer4." if backbone == "tiny" else ("layer3.", "layer4.")
        assert set(values) == {n for n in named if n.startswith(stages)}
        found[name] = flat(values.values())
        assert torch.isfinite(found[name]).all()
        assert found[name].min() >= 0
        assert found[name].max() > 0
    assert not torch.equal(found["labelled"], found["unlabelled"])
    assert not torch.equal(found["unlabelled"], found["none"])


class Small(nn.Module):
    """A network of few parameters that classifies, in the manner of timm."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, stride=8)
        self.body = nn.Linear(4 * 2 * 2, 6)
        self.fc = nn.Linear(6, num_classes) if num_classes else nn.Identity()

    def get_classifier(self):
        return self.fc

    def forward_features(self, x):
        return self.body(self.stem(x).tanh().flatten(1)).tanh()

    def forward_head(self, x, pre_logits=False):
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.fc(self.forward_features(x))


def small_case(backbone, images, **parameters):
    """Adapter of a small network; its untrained network, the trained parameters, the images."""
    made = FeatureExtractor(backbone, weights=None, image_size=16)
    adapter = elastic(extractor=made, trainable=["body"], n_steps=1, **parameters)
    fitted = clone(made).fit(images)
    fitted.network_.cpu()
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    x = preprocess(batch, fitted.preprocessing_, torch.device("cpu"))
    return adapter, fitted.network_, [fitted.network_.body.weight, fitted.network_.body.bias], x


def test_fisher_of_labels_is_a_slow_loop(normal, others):
    adapter, network, parameters, x = small_case(Small, others)
    classes = CLASSES + 1
    adapter.fit(normal, X_source=np.tile(others, (2, 1, 1, 1)), y_source=np.tile(classes, 2))
    sampler = BatchSampler(48, 32, torch_seed(SEED, "auxiliary"))
    expected = 0
    for step in range(2):
        indices = sampler(step) % 24
        assert len(indices) == 24
        mean = 0
        for i in indices:
            chances = network(x[i][None])[0].softmax(0)
            gradients = torch.autograd.grad(chances[classes[i]].log(), parameters)
            mean = mean + flat(gradients) / len(indices)
        expected = expected + mean**2 / 2 * 24 / 32  # told for batches of 32
    found = flat(adapter.fisher_.values.values())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("num_classes", [3, 0], ids=["classes", "features"])
def test_fisher_of_drawn_labels_is_near_its_expectation(
    num_classes, batch_size, normal, monkeypatch
):
    monkeypatch.setattr(_fisher, "N_BATCHES", 400)
    backbone = partial(Small, num_classes)
    adapter, network, parameters, x = small_case(backbone, normal[:10], batch_size=batch_size)
    adapter.fit(normal[:10])
    expected = 0
    if num_classes:
        for image in x:
            chances = network(image[None])[0].softmax(0)
            for chance in chances:
                score = flat(torch.autograd.grad(chance.log(), parameters, retain_graph=True))
                expected = expected + float(chance.detach()) * score**2 / len(x)
    else:
        features = features_of(network, x)
        for value in features.flatten():
            score = flat(torch.autograd.grad(value, parameters, retain_graph=True))
            expected = expected + score**2 / len(x)
    # The mean of b independent scores of mean zero has a b-th of their variance; whatever b was, it
    # is told for batches of 32.
    expected = expected / 32
    found = flat(adapter.fisher_.values.values())
    assert float((found - expected).norm()) < 0.2 * float(expected.norm())
    assert float(found.sum()) == pytest.approx(float(expected.sum()), rel=0.15)


@pytest.mark.parametrize(
    ("parameters", "source", "message"),
    [
        ({}, {"X_source": 24}, "X_source is for stopping='elastic' without fisher=; got stopping="),
        ({"stopping": "l2_sp"}, {"X_source": 24}, "X_source is for stopping='elastic'"),
        ({"stopping": "elastic", "fisher": "f"}, {"X_source": 24}, "fisher='f'. Leave it out"),
        ({"stopping": "elastic"}, {"y_source": CLASSES}, "y_source needs X_source"),
        (
            {"stopping": "elastic"},
            {"X_source": 24, "y_source": CLASSES[1:]},
            r"one label for each of the 24 images of X_source; got shape \(23,\)",
        ),
    ],
)
def test_source_images_that_serve_nothing(parameters, source, message, normal, others):
    source = {name: others if name == "X_source" else value for name, value in source.items()}
    adapter = compactness(**parameters)
    with pytest.raises(ValueError, match=f"CompactnessAdapter: .*{message}"):
        adapter.fit(normal, **source)
    assert vars(adapter) == vars(clone(adapter)) | {"extractor": adapter.extractor}


# Sample-wise early stopping


def test_sample_wise_keeps_the_networks_on_the_way(normal):
    adapter = compactness(stopping="sample_wise", n_steps=7, n_checkpoints=3).fit(normal)
    blocks = np.hsplit(adapter.transform(normal), 3)
    assert adapter.checkpoint_steps_ == [0, 4, 7]
    np.testing.assert_array_equal(blocks[0], clone(adapter.extractor).fit_transform(normal))
    np.testing.assert_array_equal(blocks[2], adapter.extractor_.transform(normal))
    half = compactness(n_steps=4).fit(normal)
    np.testing.assert_array_equal(blocks[1], half.transform(normal))
    assert adapter.get_feature_names_out()[[0, 96, -1]].tolist() == [
        *("step0_features_0", "step4_features_0", "step7_features_95")
    ]
    assert len(adapter.get_feature_names_out()) == 3 * 96


def test_more_checkpoints_than_steps_are_refused(normal):
    adapter = compactness(stopping="sample_wise", n_steps=2, n_checkpoints=4)
    with pytest.raises(ValueError, match="n_checkpoints=4.*n_steps=2"):
        adapter.fit(normal)
