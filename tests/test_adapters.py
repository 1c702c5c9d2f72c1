"""Adapters, and the detectors on them: what is trained, how, and what survives."""

import pickle
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_random_state
from torch import nn

from skad import (
    MSC,
    PANDA,
    PANDAOE,
    CollapseWarning,
    CompactnessAdapter,
    FeatureExtractor,
    FisherDiagonal,
    JointOptimization,
    JointOptimizationAdapter,
    KNNScorer,
    LogitScorer,
    MeanShiftedContrastive,
    OneClassKFold,
    OutlierExposureAdapter,
    SampleWiseScorer,
    VICRegAdapter,
    auroc_scorer,
)
from skad._random import torch_seed, torch_stream
from skad._rows import unit_rows
from skad.adapters import _compactness, _fisher, _joint, _mean_shifted, _outlier_exposure, _vicreg
from skad.augment import ContrastiveAugmentation
from skad.metrics import auroc_score
from skad.networks._preprocessing import normalize, preprocess
from skad.training import _run as _run
from skad.training._loop import TrainingError
from skad.training._order import BatchSampler

CLASSES = np.arange(24) % 4  # of the source images
SEED = int(check_random_state(0).randint(2**31))  # what adapters make of random_state=0
SEVEN = partial(timm.create_model, "test_resnet", num_classes=7)


def extractor(backbone="test_resnet", **parameters):
    return FeatureExtractor(backbone, **{"weights": None, "image_size": 32} | parameters)


def compactness(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "learning_rate": 0.1, "clip_norm": 1.0}
    return CompactnessAdapter(**defaults | parameters)


def contrastive(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 3, "learning_rate": 0.01}
    return MeanShiftedContrastive(**defaults | parameters)


def exposure(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "learning_rate": 0.05, "clip_norm": None}
    return OutlierExposureAdapter(**defaults | parameters)


def joint(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 4, "clip_norm": 1.0, "source_head": "new"}
    return JointOptimizationAdapter(**defaults | parameters)


def vicreg(**parameters):
    defaults = {"extractor": extractor(), "n_steps": 3, "learning_rate": 1e-3}
    return VICRegAdapter(**{"projector_widths": [8, 4]} | defaults | parameters)


EVERY = [compactness, contrastive, exposure, joint, vicreg]
every_adapter = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)


@pytest.fixture(scope="module")
def normal(tiles):
    return tiles[24:44]


@pytest.fixture(scope="module")
def others(tiles):
    return tiles[:24]


@pytest.fixture(autouse=True)
def small_figures(monkeypatch):
    """Fisher information of two batches instead of a hundred; a look after every step."""
    monkeypatch.setattr(_fisher, "N_BATCHES", 2)
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture
def auxiliary(others):
    """What `fit` takes beside the normal images."""

    def of(estimator):
        if isinstance(estimator, (OutlierExposureAdapter, PANDAOE)):
            return {"X_outliers": others}
        if isinstance(estimator, (JointOptimizationAdapter, JointOptimization)):
            return {"X_source": others, "y_source": CLASSES}
        return {}

    return of


def untrained(adapter, images):
    """The network before training."""
    return clone(adapter.extractor).fit(images).network_


def flat(values):
    """All tensors of an iterable in one row of float64."""
    return torch.cat([value.detach().cpu().double().flatten() for value in values])


def moved(adapter, images):
    """How far training has moved the parameters."""
    before = untrained(adapter, images).parameters()
    return float((flat(adapter.network_.parameters()) - flat(before)).norm())


def assert_same_weights(one, other):
    found, expected = one.network_.state_dict(), other.network_.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


# What is trained, and what is not


@every_adapter
@pytest.mark.parametrize("backbone", [SEVEN, "tiny"], ids=["test_resnet", "tiny"])
def test_only_the_last_stages_and_no_statistics_change(make, backbone, normal, auxiliary):
    adapter = make(extractor=extractor(backbone), weight_decay=0.01, n_steps=2)
    before = untrained(adapter, normal).state_dict()
    after = adapter.fit(normal, **auxiliary(adapter)).network_.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    network = adapter.network_
    expected = {n for n, _ in network.named_parameters() if n.startswith(("layer3.", "layer4."))}
    assert changed == expected
    assert any(name.endswith("bn1.weight") for name in changed)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_each_stage_may_be_trained(normal):
    adapter = compactness(trainable=["layer2"]).fit(normal)
    before, after = untrained(adapter, normal).state_dict(), adapter.network_.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"layer2"}


def test_other_families_are_trained(normal):
    for backbone, size in [("test_vit", 160), ("test_convnext", 32), ("test_efficientnet", 32)]:
        adapter = compactness(extractor=extractor(backbone, image_size=size), learning_rate=0.01)
        curve = adapter.fit(normal[:8]).training_curve_
        assert curve["center_distance"][-1] < curve["center_distance"][0], backbone


# Against straightforward loops


def plain_training(network, names, loss_of, n_steps, *, rate, momentum, decay, clip):
    """Stochastic gradient descent as the book has it; the loss is the whole network's."""
    parameters = [dict(network.named_parameters())[name] for name in names]
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    losses = []
    for step in range(n_steps):
        loss = loss_of(step)
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, parameters)
        norm = float(flat(gradients).norm())
        share = 1 if clip is None else min(1, clip / norm)
        with torch.no_grad():
            for parameter, gradient, speed in zip(parameters, gradients, velocity):
                speed.mul_(momentum).add_(gradient * share + decay * parameter)
                parameter.sub_(rate * speed)
    return losses


def features_of(network, images):
    return network.forward_head(network.forward_features(images), pre_logits=True)


def start(adapter, images):
    """Untrained network, its trained parameters' names, and what it sees."""
    fitted = clone(adapter.extractor).fit(images)
    fitted.network_.cpu()
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    names = [n for n, _ in fitted.network_.named_parameters() if n[:6] in ("layer3", "layer4")]
    prepared = preprocess(batch, fitted.preprocessing_, torch.device("cpu"))
    return fitted, names, prepared


def assert_trained_alike(adapter, network, images):
    found, expected = flat(adapter.network_.parameters()), flat(network.parameters())
    way = expected - flat(untrained(adapter, images).parameters())
    assert float((found - expected).norm()) < 1e-3 * float(way.norm())


@pytest.mark.parametrize("loss", ["squared", "angular"])
@pytest.mark.parametrize("clip", [0.05, None])
def test_compactness_is_a_plain_loop(loss, clip, normal):
    rate = {"squared": 0.05, "angular": 0.005}[loss]
    adapter = compactness(
        loss=loss, n_steps=7, batch_size=8, clip_norm=clip, weight_decay=0.01, learning_rate=rate
    ).fit(normal)
    fitted, names, x = start(adapter, normal)
    network, sampler = fitted.network_, BatchSampler(len(normal), 8, SEED)
    with torch.no_grad():
        first = features_of(network, x)
    if loss == "angular":
        first = first / first.norm(dim=1, keepdim=True)
    center = first.mean(0)
    if loss == "angular":
        center = center / center.norm()

    def loss_of(step):
        found = features_of(network, x[sampler(step)])
        if loss == "squared":
            return ((found - center) ** 2).sum(1).mean() / found.shape[1]
        return -((found / found.norm(dim=1, keepdim=True)) @ center).mean()

    losses = plain_training(
        network, names, loss_of, 7, rate=rate, momentum=0.9, decay=0.01, clip=clip
    )
    assert_trained_alike(adapter, network, normal)
    np.testing.assert_allclose(adapter.center_, center, rtol=1e-4, atol=1e-6)
    curve = adapter.training_curve_
    np.testing.assert_allclose(curve["loss"][1:], losses, rtol=1e-3)
    assert np.isnan(curve["loss"][0])


@pytest.mark.parametrize(
    ("parameters", "shifted_by", "angular"),
    [
        ({}, "center", 0),
        ({"mean_shift": False, "temperature": 0.5}, "nothing", 0),
        ({"angular_weight": 0.7}, "center", 0.7),
        ({"angular_weight": 0.7, "code_compatible": True}, "direction", 1.4),
        ({"code_compatible": True}, "center", 0),
    ],
    ids=["msc", "nt-xent", "angular", "code", "code without angular"],
)
def test_msc_is_a_plain_loop(parameters, shifted_by, angular, normal):
    adapter = contrastive(n_steps=4, batch_size=7, momentum=0.5, **parameters).fit(normal)
    fitted, names, x = start(adapter, normal)
    network, sampler = fitted.network_, BatchSampler(len(normal), 7, SEED)
    augmentation = ContrastiveAugmentation(32)

    def units_of(images):
        found = features_of(network, images)
        return found / found.norm(dim=1, keepdim=True)

    with torch.no_grad():
        center = units_of(x).mean(0)
    direction = center / center.norm()
    shift = {"center": center, "direction": direction, "nothing": 0 * center}[shifted_by]
    temperature = parameters.get("temperature", 0.25)

    def loss_of(step):
        images = torch.from_numpy(normal[sampler(step)]).permute(0, 3, 1, 2)
        views = augmentation(torch.cat([images] * 2), torch_stream(SEED, "views", step))
        z = units_of(normalize(views, fitted.preprocessing_))
        u, n = z - shift, len(images)
        total = 0
        for i in range(2 * n):
            cosines = torch.cosine_similarity(u[i][None], u) / temperature
            rest = torch.cat([cosines[:i], cosines[i + 1 :]])
            total = total - cosines[(i + n) % (2 * n)] + torch.logsumexp(rest, 0)
        constant = 4 * 0.7 if angular == 1.4 else 0
        return total / (2 * n) - angular * 2 * (z @ direction).mean() + constant

    losses = plain_training(
        network, names, loss_of, 4, rate=0.01, momentum=0.5, decay=5e-5, clip=None
    )
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3)
    assert_trained_alike(adapter, network, normal)
    np.testing.assert_allclose(adapter.center_, center, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("fewest", "every"), [(1, 2), (10, 10)])
def test_the_curve_holds_means_between_looks(fewest, every, normal, monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", fewest)
    losses = []

    def spy(features, center):
        loss = ((features - center) ** 2).mean()
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(_compactness, "compactness_loss", spy)
    curve = compactness(n_steps=45, batch_size=5, learning_rate=0.01).fit(normal).training_curve_
    np.testing.assert_array_equal(curve["step"], [*range(0, 45, every), 45])
    expected = [np.mean(losses[i : i + every]) for i in range(0, 45, every)]
    np.testing.assert_allclose(curve["loss"][1:], expected, rtol=1e-6)
    assert set(curve) == {
        *("step", "loss", "center_distance", "spread", "concentration", "effective_rank"),
        "mmd",
    }
    assert {len(values) for values in curve.values()} == {len(expected) + 1}
    assert np.isnan(curve["loss"][0])


def test_the_curve_ends_with_the_features_that_are_given(normal):
    adapter = compactness().fit(normal)
    for features, index in [
        (clone(adapter.extractor).fit_transform(normal), 0),
        (adapter.transform(normal), -1),
    ]:
        rows = features.astype(np.float64)
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        pairs = units @ units.T
        spread = 1 - (pairs.sum() - len(rows)) / (len(rows) * (len(rows) - 1))
        curve = adapter.training_curve_
        assert curve["spread"][index] == pytest.approx(spread, rel=1e-3)
        distance = np.linalg.norm(rows - adapter.center_, axis=1).mean()
        assert curve["center_distance"][index] == pytest.approx(distance, rel=1e-4)


def test_the_center_is_that_of_the_untrained_network(normal):
    adapter = compactness().fit(normal)
    features = clone(adapter.extractor).fit_transform(normal)
    np.testing.assert_allclose(adapter.center_, features.mean(0), rtol=1e-4, atol=1e-6)
    assert not np.allclose(adapter.center_, adapter.transform(normal).mean(0), rtol=1e-3)


# Memory


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


# Held back by a penalty


def elastic(**parameters):
    return compactness(stopping="elastic", **parameters)


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
        assert set(values) == {n for n in named if n.startswith(("layer3.", "layer4."))}
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


# Detectors are pipelines

SETTINGS = {"backbone": "test_resnet", "weights": None, "image_size": 32, "contamination": 0.2}

DETECTORS = {
    "panda": (PANDA(n_steps=3, **SETTINGS), CompactnessAdapter(n_steps=3), KNNScorer()),
    "angular": (
        PANDA(n_steps=3, loss="angular", clip_norm=0.1, **SETTINGS),
        CompactnessAdapter(n_steps=3, loss="angular", clip_norm=0.1),
        KNNScorer(metric="cosine"),
    ),
    "elastic": (
        PANDA(n_steps=3, stopping="elastic", penalty=10.0, n_neighbors=1, **SETTINGS),
        CompactnessAdapter(n_steps=3, stopping="elastic", penalty=10.0),
        KNNScorer(1),
    ),
    "sample_wise": (
        PANDA(n_steps=3, stopping="sample_wise", n_checkpoints=3, distance="knn", **SETTINGS),
        CompactnessAdapter(n_steps=3, stopping="sample_wise", n_checkpoints=3),
        SampleWiseScorer(3, distance="knn"),
    ),
    "msc": (
        MSC(n_epochs=2, temperature=0.3, learning_rate=0.01, **SETTINGS),
        MeanShiftedContrastive(n_epochs=2, temperature=0.3, learning_rate=0.01),
        KNNScorer(metric="cosine"),
    ),
    "oe": (
        PANDAOE(n_epochs=3, trainable="last", **SETTINGS),
        OutlierExposureAdapter(n_epochs=3, trainable="last"),
        LogitScorer(),
    ),
    "jo": (
        JointOptimization(n_steps=3, source_head="new", compactness_weight=2.0, **SETTINGS),
        JointOptimizationAdapter(n_steps=3, source_head="new", compactness_weight=2.0),
        KNNScorer(),
    ),
}
every_detector = pytest.mark.parametrize("name", DETECTORS)


@pytest.mark.bits
@every_detector
def test_a_detector_is_the_pipeline_made_by_hand(name, tiles, normal, auxiliary):
    detector, adapter, scorer = map(clone, DETECTORS[name])
    detector.fit(normal, **auxiliary(detector))
    adapter.set_params(extractor=extractor())
    scorer.set_params(contamination=0.2)
    if isinstance(scorer, KNNScorer) and name in ("panda", "elastic", "jo"):
        scorer.set_params(metric="euclidean")
    scorer.fit(adapter.fit(normal, **auxiliary(adapter)).transform(normal))
    by_hand = Pipeline([("adapter", adapter), ("scorer", scorer)])
    np.testing.assert_array_equal(detector.score_samples(tiles), by_hand.score_samples(tiles))
    np.testing.assert_array_equal(detector.predict(tiles), by_hand.predict(tiles))
    assert detector.offset_ == scorer.offset_
    assert detector.stopped_at_ == adapter.stopped_at_ == (2 if name == "msc" else 3)
    assert detector.collapsed_at_ is None
    for measure, values in adapter.training_curve_.items():
        np.testing.assert_array_equal(detector.training_curve_[measure], values)


@every_detector
def test_parameters_survive_and_reach_the_parts(name):
    detector = DETECTORS[name][0]
    assert clone(detector).get_params() == detector.get_params()
    assert {k: v for k, v in clone(detector).get_params().items() if k in SETTINGS} == SETTINGS
    adapter, scorer = (step for _, step in detector._make_steps())
    parts = (adapter, adapter.extractor, scorer)
    own = detector.get_params()
    for part in parts:
        given = part.get_params(deep=False)
        # What a detector leaves out: one has its own parameter for it, the others do not matter.
        left = {"extractor", "output", "flattened_layers", "contrast_normalization"}
        assert given.keys() - own.keys() <= left
        for parameter in given.keys() & own.keys() - {"metric"}:
            assert given[parameter] is own[parameter], parameter


@pytest.mark.bits
@every_detector
def test_the_same_seed_and_a_pickle_give_the_same_bits(name, tiles, normal, auxiliary):
    detector = clone(DETECTORS[name][0]).set_params(batch_size=8)
    fit = auxiliary(detector)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    scores = detector.fit(normal, **fit).score_samples(tiles)
    again = clone(detector).fit(normal, **fit).score_samples(tiles)
    np.testing.assert_array_equal(again, scores)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(tiles), scores)
    assert loaded.offset_ == detector.offset_
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


@every_adapter
def test_another_seed_gives_another_order(make, normal, auxiliary):
    adapter = make(batch_size=8)
    fit = auxiliary(adapter)
    curves = [
        clone(adapter).set_params(random_state=state).fit(normal, **fit).training_curve_["loss"]
        for state in (0, 1, np.random.RandomState(0))
    ]
    assert not np.allclose(curves[1][1:], curves[0][1:])
    np.testing.assert_array_equal(curves[2], curves[0])


def test_adapters_stack(tiles, normal):
    inner = contrastive()
    adapter = compactness(extractor=inner).fit(normal)
    trained = clone(inner).fit(normal)
    np.testing.assert_allclose(
        adapter.center_, trained.transform(normal).mean(0), rtol=1e-4, atol=1e-6
    )
    assert not hasattr(inner, "extractor_"), "the given adapter is copied"
    assert isinstance(adapter.extractor_, FeatureExtractor)
    assert clone(adapter).get_params()["extractor__extractor__image_size"] == 32
    detector = make_pipeline(adapter, KNNScorer(metric="euclidean")).fit(normal)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(tiles), detector.score_samples(tiles))


def test_bfloat16_trains_and_survives(tiles, normal):
    exact = compactness(extractor=extractor("tiny")).fit(normal)
    adapter = compactness(extractor=extractor("tiny", precision="bfloat16")).fit(normal)
    loaded = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(loaded.transform(tiles), adapter.transform(tiles))
    found, expected = adapter.training_curve_, exact.training_curve_
    np.testing.assert_allclose(found["loss"][1:], expected["loss"][1:], rtol=0.05)
    assert found["center_distance"][-1] < found["center_distance"][0]


def test_features_of_the_trained_network_have_maps_and_names(normal):
    adapter = compactness(extractor=extractor(layers=["layer3", "layer4"])).fit(normal)
    maps, features = adapter.feature_maps(normal), adapter.transform(normal)
    assert list(maps) == ["layer3", "layer4"]
    joined = np.concatenate([m.mean((2, 3)) for m in maps.values()], axis=1)
    np.testing.assert_allclose(features, joined, rtol=1e-4, atol=1e-5)
    assert len(adapter.get_feature_names_out()) == features.shape[1]


def test_features_are_kept_by_the_weights_that_gave_them(normal, tmp_path):
    adapter = compactness(extractor=extractor(memory=tmp_path)).fit(normal)
    untouched = clone(adapter.extractor).fit_transform(normal)
    for _ in range(2):
        np.testing.assert_array_equal(
            adapter.transform(normal), compactness().fit(normal).transform(normal)
        )
    np.testing.assert_array_equal(clone(adapter.extractor).fit_transform(normal), untouched)


# Searches and routing


@pytest.fixture
def search_set(tiles):
    """Flowers among temples: images and labels."""
    return np.concatenate([tiles[24:36], tiles[:6]]), np.repeat([1, -1], [12, 6])


def test_msc_is_searched(search_set):
    search = GridSearchCV(
        MSC(n_steps=1, **SETTINGS),
        {"temperature": [0.1, 1.0]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
        error_score="raise",
    )
    search.fit(*search_set)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.temperature in (0.1, 1.0)
    assert search.best_estimator_.predict(search_set[0]).shape == (18,)


def search_of_exposure():
    return GridSearchCV(
        PANDAOE(n_steps=2, **SETTINGS),
        {"learning_rate": [0.01, 0.1]},
        cv=OneClassKFold(2),
        scoring=auroc_scorer,
        error_score="raise",
    )


def test_outliers_reach_a_search(search_set, others):
    search = search_of_exposure().fit(*search_set, X_outliers=others[6:])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    direct = clone(search.best_estimator_).fit(*search_set, X_outliers=others[6:])
    np.testing.assert_array_equal(
        direct.score_samples(others), search.best_estimator_.score_samples(others)
    )


def test_outliers_are_routed(tiles, normal, others):
    with config_context(enable_metadata_routing=True):
        adapter = exposure().set_fit_request(X_outliers=True)
        pipeline = make_pipeline(adapter, LogitScorer()).fit(normal, X_outliers=others)
        search = search_of_exposure()
        search.estimator.set_fit_request(X_outliers=True)
        X, y = np.concatenate([normal[:12], others[:6]]), np.repeat([1, -1], [12, 6])
        search.fit(X, y, X_outliers=others[6:])
    by_hand = exposure().fit(normal, X_outliers=others)
    np.testing.assert_array_equal(
        pipeline.score_samples(tiles), -by_hand.transform(tiles)[:, 0].astype(np.float64)
    )
    assert search.best_estimator_.stopped_at_ == 2


def test_source_images_are_routed(normal, others):
    with config_context(enable_metadata_routing=True):
        adapter = joint().set_fit_request(X_source=True, y_source=True)
        pipeline = make_pipeline(adapter, KNNScorer())
        pipeline.fit(normal, X_source=others, y_source=CLASSES)
    by_hand = joint().fit(normal, X_source=others, y_source=CLASSES)
    assert_same_weights(pipeline[0], by_hand)
    # without routing, a pipeline passes what is named for a step
    plain = make_pipeline(joint(), KNNScorer())
    name = "jointoptimizationadapter"
    plain.fit(normal, **{f"{name}__X_source": others, f"{name}__y_source": CLASSES})
    assert_same_weights(plain[0], by_hand)


def test_labelled_anomalies_are_left_out(tiles, normal):
    y = np.repeat([-1, 1, -1], [24, 20, 4])
    assert_same_weights(compactness().fit(tiles, y), compactness().fit(normal))


# Collapse

COLLAPSING = {
    "angular": {"loss": "angular", "learning_rate": 0.1},
    "squared": {"loss": "squared", "learning_rate": 4.0, "n_steps": 14},
}


def collapsing(kind, **parameters):
    return compactness(**{"clip_norm": None, "n_steps": 12} | COLLAPSING[kind] | parameters)


@pytest.mark.parametrize("kind", COLLAPSING)
def test_collapse_is_told(kind, normal):
    adapter = collapsing(kind)
    advice = r"stop_at_collapse=True, .*n_steps.*learning_rate.*trainable='last'.*'elastic'"
    with pytest.warns(CollapseWarning, match=f"(?s)CompactnessAdapter: .*collapsed: .*{advice}"):
        adapter.fit(normal)
    spread, steps = adapter.training_curve_["spread"], adapter.training_curve_["step"]
    first = np.flatnonzero(spread < 0.25 * spread[0])[0]
    assert adapter.collapsed_at_ == steps[first] > 0
    assert adapter.stopped_at_ == adapter.n_steps == steps[-1]


@pytest.mark.parametrize("kind", COLLAPSING)
def test_training_stops_at_collapse(kind, normal):
    adapter = collapsing(kind, stop_at_collapse=True).fit(normal)  # warnings are errors
    spread, steps = adapter.training_curve_["spread"], adapter.training_curve_["step"]
    assert adapter.collapsed_at_ == steps[-1] < adapter.n_steps
    assert adapter.stopped_at_ == steps[-2]
    assert (spread[:-1] >= 0.25 * spread[0]).all()
    assert_same_weights(adapter, collapsing(kind, n_steps=adapter.stopped_at_).fit(normal))


def test_going_back_may_be_a_long_way(normal, monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 100)
    adapter = collapsing("angular", stop_at_collapse=True).fit(normal)
    assert (adapter.stopped_at_, adapter.collapsed_at_) == (0, 12)
    assert moved(adapter, normal) == 0


def test_sample_wise_keeps_its_width_in_collapse(normal):
    adapter = collapsing("angular", stopping="sample_wise", stop_at_collapse=True).fit(normal)
    blocks = np.hsplit(adapter.transform(normal), 4)
    np.testing.assert_allclose(blocks[-1], unit_rows(adapter.extractor_.transform(normal)), 1e-6)
    assert adapter.checkpoint_steps_[-1] == adapter.stopped_at_


def test_the_limit_is_a_parameter(normal):
    adapter = collapsing("angular", collapse_limit=0.0).fit(normal)
    assert adapter.collapsed_at_ is None
    strict = compactness(collapse_limit=0.999, stop_at_collapse=True).fit(normal)
    assert strict.collapsed_at_ == 1


# Broken-off fits


def break_off(monkeypatch, module, loss, at):
    """Let a loss fail at its call number `at`, once."""
    calls, done, plain = [], [], getattr(module, loss)

    def failing(*args, **named):
        calls.append(1)
        if len(calls) == at and not done:
            done.append(1)
            raise KeyboardInterrupt
        return plain(*args, **named)

    monkeypatch.setattr(module, loss, failing)
    return calls


BROKEN = {
    "squared": (compactness, _compactness, "compactness_loss", {}),
    "angular": (compactness, _compactness, "angular_center_loss", {"loss": "angular"}),
    "elastic": (compactness, _compactness, "elastic_penalty", {"stopping": "elastic"}),
    "sample_wise": (
        *(compactness, _compactness, "compactness_loss"),
        {"stopping": "sample_wise", "stop_at_collapse": True},
    ),
    "msc": (contrastive, _mean_shifted, "mean_shifted_contrastive_loss", {"momentum": 0.5}),
    "vicreg": (vicreg, _vicreg, "vicreg_loss", {"momentum": 0.5}),
    "oe": (exposure, _outlier_exposure, "outlier_exposure_loss", {}),
    "jo": (joint, _joint, "compactness_loss", {}),
}


@pytest.mark.bits
@pytest.mark.parametrize(("case", "at"), [("squared", 2), *((case, 10) for case in BROKEN)])
def test_a_broken_fit_goes_on_to_the_same_end(
    case, at, tiles, normal, auxiliary, monkeypatch, tmp_path
):
    make, module, loss, parameters = BROKEN[case]
    adapter = make(n_steps=12, batch_size=8, learning_rate=1e-3, **parameters)
    monkeypatch.setattr(_run, "FEWEST_STEPS", 2)
    fit = auxiliary(adapter)
    whole = clone(adapter).fit(normal, **fit)
    adapter.set_params(checkpoint=tmp_path / "folder")
    unfitted = dict(vars(adapter))
    calls = break_off(monkeypatch, module, loss, at)
    with pytest.raises(KeyboardInterrupt) as caught:
        adapter.fit(normal, **fit)
    assert vars(adapter) == unfitted
    kept = [str(path) for path in (tmp_path / "folder").iterdir()]
    (note,) = caught.value.__notes__
    if at == 2:
        assert not kept
        assert note.startswith("No state had been kept in")
    else:
        assert kept[0] in note
        assert "fit again with the same parameters and images" in note
        calls.clear()
    adapter.fit(normal, **fit)
    assert len(calls) == (4 if at == 10 else 14)  # from step 8 on, where the last look was
    assert not list((tmp_path / "folder").iterdir()), "nothing is left of a finished training"
    assert_same_weights(adapter, whole)
    for name, values in whole.training_curve_.items():
        np.testing.assert_array_equal(adapter.training_curve_[name], values)
    np.testing.assert_array_equal(adapter.transform(tiles), whole.transform(tiles))


KILLED = """
import os, signal, sys
import numpy as np, torch
torch.set_num_threads(1)
from skad import PANDA
from skad.adapters import _compactness
from skad.training import _run
_run.FEWEST_STEPS = 1
calls, plain = [], _compactness.compactness_loss
def failing(*args):
    calls.append(1)
    if len(calls) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args)
_compactness.compactness_loss = failing
PANDA("test_resnet", weights=None, image_size=32, n_steps=9, batch_size=8, checkpoint=sys.argv[1]
).fit(np.load(sys.argv[2]))
"""


@pytest.mark.bits
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_fit_goes_on(tiles, normal, monkeypatch, tmp_path):
    np.save(tmp_path / "normal.npy", normal)
    folder = tmp_path / "folder"
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "normal.npy")]
    assert subprocess.run(command, timeout=120).returncode == -9
    (kept,) = folder.iterdir()
    assert kept.suffix == ".pt"
    parameters = {"weights": None, "image_size": 32, "n_steps": 9, "batch_size": 8}
    whole = PANDA("test_resnet", **parameters).fit(normal)
    calls = break_off(monkeypatch, _compactness, "compactness_loss", -1)
    detector = PANDA("test_resnet", **parameters, checkpoint=folder).fit(normal)
    assert len(calls) == 3
    np.testing.assert_array_equal(detector.score_samples(tiles), whole.score_samples(tiles))
    assert not list(folder.iterdir())


@pytest.fixture
def broken(normal, monkeypatch, tmp_path):
    """An adapter whose fit broke off at its sixth step of eight, and the counter of its losses."""
    adapter = compactness(n_steps=8, batch_size=8, checkpoint=tmp_path)
    calls = break_off(monkeypatch, _compactness, "compactness_loss", 6)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(normal)
    calls.clear()
    return adapter, calls


@pytest.mark.parametrize(
    ("parameters", "goes_on"),
    [
        ({}, True),
        ({"memory_limit": 1}, True),
        ({"extractor__n_jobs": 1}, True),
        ({"learning_rate": 0.05}, False),
        ({"n_steps": 7}, False),
        ({"random_state": 1}, False),
        ({"trainable": "last"}, False),
        ({"stopping": "l2_sp"}, False),
        ({"extractor__random_state": 1}, False),
        ({"extractor__mean": 0.4}, False),
    ],
)
def test_only_the_same_training_goes_on(parameters, goes_on, broken, normal):
    adapter, calls = broken
    adapter.set_params(**parameters).fit(normal)
    assert len(calls) == (3 if goes_on else adapter.n_steps)


def test_other_images_do_not_go_on(broken, normal):
    adapter, calls = broken
    for images in (normal[1:], normal[::-1].copy(), np.where(normal == 7, 8, normal)):
        calls.clear()
        clone(adapter).fit(images)
        assert len(calls) == 8
    calls.clear()
    adapter.fit(list(normal))  # the same, in another container
    assert len(calls) == 3


def test_other_labels_of_source_images_do_not_go_on(normal, others, monkeypatch, tmp_path):
    adapter = joint(n_steps=8, checkpoint=tmp_path)
    calls = break_off(monkeypatch, _joint, "compactness_loss", 6)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(normal, X_source=others, y_source=CLASSES)
    calls.clear()
    adapter.fit(normal, X_source=others, y_source=CLASSES[::-1])
    assert len(calls) == 8


def test_another_fisher_information_does_not_go_on(normal, others, monkeypatch, tmp_path):
    for name, source in (("one", {}), ("other", {"X_source": others})):
        elastic(n_steps=1).fit(normal, **source).fisher_.save(tmp_path / name)
    adapter = elastic(n_steps=8, fisher=tmp_path / "one", checkpoint=tmp_path / "folder")
    calls = break_off(monkeypatch, _compactness, "compactness_loss", 6)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(normal)
    calls.clear()
    adapter.set_params(fisher=tmp_path / "other").fit(normal)
    assert len(calls) == 8


def test_a_broken_file_is_named(broken, normal, tmp_path):
    adapter, _ = broken
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}.*Remove it to train from"):
        adapter.fit(normal)
    assert not hasattr(adapter, "extractor_")


@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": 1e30},
        {"learning_rate": 1e9, "momentum": 0.0},
        {"learning_rate": 1e30, "loss": "angular"},
        {"learning_rate": 3.0, "stopping": "l2_sp", "penalty": 1e12},
    ],
    ids=["loss", "features", "angular", "penalty"],
)
def test_training_that_is_not_finite_is_one_clear_error(parameters, normal, tmp_path):
    adapter = compactness(clip_norm=None, checkpoint=tmp_path, **parameters)
    unfitted = dict(vars(adapter))
    message = r"CompactnessAdapter: the .* at step [1234]\b.*learning_rate"
    with pytest.raises(TrainingError, match=message):
        adapter.fit(normal)
    assert not list(tmp_path.iterdir()), "it would end in the same way"
    assert vars(adapter) == unfitted
    assert issubclass(TrainingError, ArithmeticError)


def test_a_failed_refit_leaves_what_was_fitted(tiles, normal):
    adapter = compactness().fit(normal)
    before = adapter.transform(tiles)
    adapter.set_params(learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingError):
        adapter.fit(tiles)
    np.testing.assert_array_equal(adapter.transform(tiles), before)


# Outliers and source images


def test_outliers_are_told_apart(tiles):
    temple, flower = tiles[:24], tiles[24:]
    detector = PANDAOE(image_size=32, n_steps=15, clip_norm=0.1).fit(
        flower[::2], X_outliers=temple[::2]
    )
    X, y = np.concatenate([flower[1::2], temple[1::2]]), np.repeat([1, -1], 12)
    assert auroc_score(y, detector.decision_function(X)) > 0.8
    losses = detector.training_curve_["loss"][1:]
    assert losses[-1] < losses[0]


def test_the_logit_is_linear_in_the_features(normal, others):
    adapter = exposure().fit(normal, X_outliers=others)
    below = exposure(output="features").fit(normal, X_outliers=others)
    features, logits = below.transform(others), adapter.transform(others)
    assert (features.shape, logits.shape) == ((24, 96), (24, 1))
    expected = features @ adapter.coef_ + adapter.intercept_
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-6)
    assert adapter.get_feature_names_out().tolist() == ["logit"]
    assert len(below.get_feature_names_out()) == 96


@pytest.mark.parametrize("detector", [exposure(), PANDAOE(n_steps=2, **SETTINGS)], ids=["a", "d"])
def test_outliers_that_do_not_serve(detector, normal, others):
    shared = np.concatenate([others[:3], normal[5:7]])
    cases = [
        (None, r"outlier images are missing; give fit\(X, X_outliers=images\).*set_fit_request\("),
        (others[:1], "X_outliers must hold at least 2 images; got 1"),
        (shared, "2 of the 5 images of X_outliers are training images, the first is image 3"),
        (list(shared / 255.0), "2 of the 5 images"),
        (normal, "20 of the 20"),
        (others * 1.0, "floats of images must lie"),
        ([], "X holds 0 images"),
    ]
    for outliers, message in cases:
        with pytest.raises(ValueError, match=f"OutlierExposureAdapter: {message}"):
            clone(detector).fit(normal, X_outliers=outliers)


def test_outliers_of_any_form(normal, others, tmp_path):
    for i, image in enumerate(others):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    expected = exposure().fit(normal, X_outliers=others)
    tensor = torch.from_numpy(others).permute(0, 3, 1, 2)
    for outliers in (sorted(tmp_path.iterdir()), list(others), tensor):
        assert_same_weights(exposure().fit(normal, X_outliers=outliers), expected)
    sizes = [image[: 20 + i] for i, image in enumerate(others)]
    for outliers in (others[:, ::2, ::2], sizes, others[..., 0]):
        assert exposure().fit(normal, X_outliers=outliers).stopped_at_ == 4


def test_the_epochs_are_counted_in_normal_images(normal, others):
    adapter = exposure(n_steps=None, n_epochs=3, batch_size=8).fit(normal, X_outliers=others)
    assert adapter.stopped_at_ == 9
    msc = contrastive(n_steps=None, n_epochs=2, batch_size=20).fit(normal)
    assert msc.stopped_at_ == 2


@pytest.mark.parametrize(
    ("parameters", "labels", "message"),
    [
        ({}, CLASSES[:-1], r"one label for each of the 24 images of X_source; got shape \(23,\)"),
        ({}, CLASSES * 0, "y_source needs at least 2 classes; got \\[0\\]"),
        ({}, None, r"labelled source images are missing; give fit\(X, X_source=images, y_source="),
        ({"source_head": "pretrained"}, CLASSES / 2, "integers from 0 to 6; .* of dtype float64"),
        ({"source_head": "auto"}, CLASSES + 5, r"integers from 0 to 6; got \[5, 6, 7, 8\]"),
        ({"source_head": "auto"}, CLASSES - 1, r"integers from 0 to 6; got \[-1, 0, 1, 2\]"),
        (
            {"source_head": "pretrained", "extractor": extractor("tiny")},
            CLASSES,
            "source_head='pretrained', but ResNet has no classifier on these features",
        ),
    ],
)
def test_labels_of_source_images_that_do_not_fit(parameters, labels, message, normal, others):
    adapter = joint(**{"extractor": extractor(SEVEN)} | parameters)
    with pytest.raises(ValueError, match=f"JointOptimizationAdapter: .*{message}"):
        adapter.fit(normal, X_source=others, y_source=labels)
    assert not hasattr(adapter, "extractor_")


def test_source_images_are_needed(normal):
    for estimator in (joint(), JointOptimization(n_steps=2, **SETTINGS)):
        with pytest.raises(ValueError, match="source images are missing.*set_fit_request"):
            estimator.fit(normal, y_source=CLASSES)


@pytest.mark.bits
def test_classes_of_any_kind(normal, others):
    new = joint().fit(normal, X_source=others, y_source=CLASSES)
    words = np.array(["a", "b", "c", "d"])[CLASSES]
    assert_same_weights(joint().fit(normal, X_source=others, y_source=words), new)
    own = joint(extractor=extractor(SEVEN), source_head="auto")
    own.fit(normal, X_source=others, y_source=CLASSES)
    anew = clone(own).set_params(source_head="new")
    anew.fit(normal, X_source=others, y_source=CLASSES)
    assert not np.array_equal(own.transform(others), anew.transform(others))
    for adapter in (own, anew):  # the network's own classifier is not trained, its copy is
        before = untrained(adapter, normal)
        assert torch.equal(adapter.network_.fc.weight, before.fc.weight)


def test_joint_loss_is_the_sum_of_both(normal, others):
    made = extractor(SEVEN)
    adapter = joint(extractor=made, source_head="pretrained", n_steps=1, compactness_weight=3.0)
    adapter.fit(normal, X_source=others, y_source=CLASSES)
    fitted = clone(made).fit(normal)
    features, source = fitted.transform(normal), torch.from_numpy(fitted.transform(others))
    logits = fitted.network_.fc.cpu()(source).detach().double()
    entropy = np.mean([-logits[i].log_softmax(0)[c] for i, c in enumerate(CLASSES)])
    compact = ((features - features.mean(0)) ** 2).mean()
    assert adapter.training_curve_["loss"][1] == pytest.approx(entropy + 3 * compact, rel=1e-4)


# Bad input


@every_adapter
def test_one_training_image_is_too_few(make, normal, auxiliary):
    adapter = make()
    with pytest.raises(ValueError, match="training needs at least 2 normal images; got 1 sample"):
        adapter.fit(normal[:1], **auxiliary(adapter))
    with pytest.raises(ValueError, match="at least 2 normal images"):
        adapter.fit(normal[:3], [1, -1, -1], **auxiliary(adapter))


def test_batches_of_one_image(normal):
    adapter = compactness(batch_size=1, n_steps=3).fit(normal[:2])
    assert adapter.stopped_at_ == 3
    for estimator in (contrastive(batch_size=1), MSC(batch_size=1)):
        with pytest.raises(ValueError, match="The 'batch_size' parameter of .* in the range \\[2"):
            estimator.fit(normal)
    contrastive(batch_size=2, n_steps=2, learning_rate=1e-6).fit(normal[:3])


@every_adapter
@pytest.mark.parametrize("trainable", ["layer5", [], 9])
def test_stages_that_there_are_not(make, trainable, normal, auxiliary):
    adapter = make(trainable=trainable)
    message = f"{type(adapter).__name__}: trainable=.* names no stages of ResNet.*'layer3'"
    with pytest.raises(ValueError, match=message):
        adapter.fit(normal, **auxiliary(adapter))


@pytest.mark.parametrize("stranger", [PCA(), make_pipeline(extractor())], ids=["PCA", "Pipeline"])
def test_an_extractor_of_another_kind(stranger, normal):
    message = "CompactnessAdapter: extractor must be a FeatureExtractor or an adapter; got a "
    with pytest.raises(TypeError, match=f"{message}{type(stranger).__name__}"):
        compactness(extractor=stranger).fit(normal)


@pytest.mark.parametrize(
    "parameter",
    [
        *({"n_steps": 0}, {"learning_rate": 0}, {"momentum": 1.0}, {"clip_norm": 0}),
        *({"loss": "cosine"}, {"stopping": "late"}, {"penalty": -1}, {"n_checkpoints": 1}),
        *({"weight_decay": -1}, {"collapse_limit": 1.0}, {"trainable": None}, {"extractor": 3}),
    ],
    ids=str,
)
def test_parameters_out_of_range(parameter, normal):
    (name,) = parameter
    with pytest.raises(ValueError, match=f"The '{name}' parameter of CompactnessAdapter"):
        compactness(**parameter).fit(normal)


@pytest.mark.filterwarnings("ignore::skad.CollapseWarning")
def test_images_of_one_colour(auxiliary):
    images = np.zeros((6, 16, 16), dtype=np.uint8)
    for make in (compactness, contrastive):
        adapter = make().fit(images)
        assert np.isfinite(adapter.transform(images)).all()
        assert adapter.training_curve_["spread"][0] == pytest.approx(0, abs=1e-6)


# Flat rows


@pytest.fixture(scope="module")
def digits():
    """Zeros and others as rows of 64 values in 0..16; classes of the others."""
    rows, labels = load_digits(return_X_y=True)
    return rows[labels == 0][:20], rows[labels > 4][:24], labels[labels > 4][:24]


@every_detector
def test_flat_rows_are_images(name, digits):
    zeros, rest, classes = digits
    rest = np.clip(rest, 0, 12)  # of another range than the training rows
    images = [rows.reshape(-1, 8, 8) / 16 for rows in (zeros, rest)]
    fit = {"X_outliers": rest}, {"X_outliers": images[1]}
    if name == "jo":
        fit = [{"X_source": X, "y_source": classes} for X in (rest, images[1])]
    elif name != "oe":
        fit = {}, {}
    detector = clone(DETECTORS[name][0])
    detector.fit(zeros, **fit[0])
    assert detector.pixel_range_ == (0.0, 16.0)
    assert detector.n_features_in_ == 64
    scores = detector.score_samples(rest)
    alike = clone(detector).fit(images[0], **fit[1])
    np.testing.assert_allclose(scores, alike.score_samples(images[1]), rtol=1e-3, atol=1e-6)
    first = detector.pipeline_[0]
    assert first.pixel_range_ == (0.0, 16.0)
    with pytest.raises(ValueError, match="X has 63 features, but .* is expecting 64"):
        detector.score_samples(rest[:, 1:])


def test_flat_outliers_that_are_training_rows(digits):
    zeros, rest, _ = digits
    with pytest.raises(ValueError, match="1 of the 25 images of X_outliers are training images"):
        exposure().fit(zeros, X_outliers=np.vstack([rest, zeros[3]]))


# What a review found


@pytest.mark.bits
def test_gray_and_colored_images_come_together(normal):
    mixed = [image if i % 2 else image[..., 0] for i, image in enumerate(normal)]
    as_gray = normal.copy()
    as_gray[::2] = normal[::2, ..., :1]
    assert_same_weights(contrastive().fit(mixed), contrastive().fit(as_gray))


def one_network(made=[]):  # noqa: B006
    made.append(made[0] if made else timm.create_model("test_resnet"))
    return made[-1]


@pytest.mark.bits
def test_a_factory_may_give_the_same_network_twice(normal):
    first, second = (compactness(extractor=extractor(one_network)).fit(normal) for _ in range(2))
    assert_same_weights(first, second)
    given = one_network().state_dict()
    trained = first.network_.layer4[0].conv1.weight.cpu()
    assert not torch.equal(given["layer4.0.conv1.weight"], trained)


def test_the_penalty_leaves_a_network_without_classifier_some_room(normal):
    ways = {}
    for stopping in ("early", "elastic"):
        adapter = CompactnessAdapter(
            FeatureExtractor(image_size=32),
            stopping=stopping,
            n_steps=10,
            learning_rate=0.6,
            weight_decay=0,
        )
        distance = adapter.fit(normal).training_curve_["center_distance"]
        ways[stopping] = distance[0] - distance[-1]
    assert 0.05 * ways["early"] < ways["elastic"] < ways["early"]


def test_labels_of_another_task_are_refused(normal, others):
    adapter = joint(extractor=extractor(SEVEN), source_head="auto")
    guessed = own_guesses(adapter, normal, others)
    adapter.fit(normal, X_source=others, y_source=guessed)
    with pytest.raises(ValueError, match="gets 0% of y_source right.*source_head='new'"):
        adapter.fit(normal, X_source=others, y_source=(guessed + 1) % 7)


def own_guesses(adapter, normal, others):
    made = extractor(SEVEN).fit(normal)
    features = torch.from_numpy(made.transform(others))
    with torch.no_grad():
        return made.network_.get_classifier().cpu()(features).argmax(1).numpy()


def test_dark_images_are_told_apart(normal, others):
    exposure().fit(normal / 255e3, X_outliers=others / 255e3)
    with pytest.raises(ValueError, match="1 of the 25 images of X_outliers are training images"):
        exposure().fit(normal, X_outliers=np.concatenate([others, normal[:1]]) / 255)


def test_no_gradient_is_kept(normal):
    assert all(p.grad is None for p in compactness().fit(normal).network_.parameters())
