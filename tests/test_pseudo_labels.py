"""Pseudo-labels and ODIN, by loops written out here; deep clustering and CLAD by their parts."""

import copy
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn import config_context
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import check_random_state
from torch import nn

from skad import (
    CLAD,
    DEC,
    SCAN,
    AutoencoderAdapter,
    ConfidenceScorer,
    DeepClustering,
    FeatureExtractor,
    GaussianScorer,
    KNNScorer,
    OneClassKFold,
    PseudoLabelAdapter,
    auroc_scorer,
)
from skad._random import torch_seed
from skad.adapters import _pseudo_labels
from skad.adapters._odin import odin_logits
from skad.backbones import clad_small, small_cnn, svdd_mnist
from skad.training import _run as _run
from skad.training._order import BatchSampler

NET = partial(small_cnn, width=4, image_size=8)
CODER = partial(svdd_mnist, image_size=8, code_dim=16)
ENCODER = partial(clad_small, image_size=8, code_dim=5)
SEED = int(check_random_state(0).randint(2**31))  # what is made of random_state=0
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Given(ClusterMixin, BaseEstimator):
    """A clusterer that has its labels beforehand, and keeps what it was given."""

    def __init__(self, labels=None):
        self.labels = labels

    def fit(self, X, y=None):
        self.seen_ = X
        self.labels_ = np.asarray(self.labels)
        return self


def extractor(backbone=NET, **parameters):
    return FeatureExtractor(backbone, weights=None, **parameters)


def pseudo(clusterer=None, **parameters):
    defaults = {"extractor": extractor(), "augmentation": None, "n_epochs": 3, "batch_size": 10}
    defaults |= {"learning_rate": 1e-2, "final_learning_rate": 1e-3, "collapse_limit": 0.0}
    return PseudoLabelAdapter(clusterer=clusterer or kmeans(), **defaults | parameters)


def kmeans(n_clusters=3):
    return KMeans(n_clusters, n_init=1, random_state=0)


def dec(**parameters):
    coder = AutoencoderAdapter(extractor(CODER), n_steps=3, batch_size=10, learning_rate=1e-2)
    settings = {"n_clusters": 3, "n_steps": 4, "batch_size": 10} | parameters
    return DEC(coder, **settings)


KINDS = {
    "features": pseudo,
    "from scratch": partial(pseudo, batch_norm="train", averaged_epochs="last"),
    "mild": partial(pseudo, augmentation="mild", trainable="last_two"),
    "odin": partial(pseudo, output="odin", trainable="head"),
    "dec": partial(pseudo, dec(), output="logits"),
}
every = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def a_look_after_every_step(monkeypatch):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 1)


@pytest.fixture(scope="module")
def digits():
    """Images of 8 x 8 pixels in [0, 1], and what they show."""
    rows, labels = load_digits(return_X_y=True)
    return rows.reshape(-1, 8, 8) / 16, labels


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][digits[1] < 3][:30]


@pytest.fixture(scope="module")
def classes(digits):
    """Classes of the images."""
    return digits[1][digits[1] < 3][:30]


@pytest.fixture(scope="module")
def others(digits):
    return digits[0][digits[1] > 2][:12]


@pytest.fixture(scope="module")
def colored():
    return np.random.RandomState(0).randint(0, 256, (14, 8, 8, 3), dtype=np.uint8)


def copies(tensors):
    return {name: tensor.detach().clone().cpu() for name, tensor in tensors.items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def untrained(adapter, images):
    """With the network on the CPU, where slow trainings go on from it."""
    fitted = clone(adapter.extractor).fit(images)
    fitted.network_.cpu()
    return fitted


def first_head(n_features, n_classes):
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(SEED, "head"))
        return nn.Linear(n_features, n_classes)


def prepared(fitted, images):
    """Images as the network takes them."""
    made = fitted.preprocessing_
    images = np.asarray(images)
    if images.dtype == np.uint8:
        images = images / 255
    batch = torch.from_numpy(images.astype(np.float32))
    batch = batch.permute(0, 3, 1, 2) if batch.ndim == 4 else batch[:, None]
    mean, std = (torch.tensor(v)[:, None, None] for v in (made.mean, made.std))
    return (batch.expand(-1, made.n_channels, -1, -1) - mean) / std


def weights_of(adapter):
    network = copies(adapter.network_.state_dict())
    state = {f"network.{name}": value for name, value in network.items()}
    return state | {
        "head.weight": torch.from_numpy(adapter.coef_),
        "head.bias": torch.from_numpy(adapter.intercept_),
    }


def assert_close(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name, **tolerance)


# The training


def slow_training(adapter, images, labels):
    """Cross-entropy and Adam, written out; the weights at the end of each epoch."""
    fitted = untrained(adapter, images)
    x, labels = prepared(fitted, images), torch.as_tensor(labels)
    network = fitted.network_.requires_grad_(True)
    head = first_head(network(x[:1].clone()).shape[1], len(set(labels[labels >= 0].tolist())))
    both = nn.ModuleDict({"network": network.eval(), "head": head})
    values = list(both.parameters())
    means, squares = ([torch.zeros_like(v) for v in values] for _ in range(2))
    batch_of = BatchSampler(len(x), adapter.batch_size, SEED)
    n_steps, n_taken, ends, losses = adapter.n_epochs * batch_of.n_batches, 0, [], []
    for step in range(n_steps):
        indices = [i for i in batch_of(step) if labels[i] >= 0]
        total = torch.zeros(())
        for i in indices:
            total = total - head(network(x[i : i + 1].clone())).log_softmax(1)[0, labels[i]]
        wave = (1 + math.cos(math.pi * step / n_steps)) / 2
        rate = adapter.final_learning_rate
        rate += (adapter.learning_rate - adapter.final_learning_rate) * wave
        if indices:
            losses.append(float(total.detach()) / len(indices))
            gradients, n_taken = torch.autograd.grad(total / len(indices), values), n_taken + 1
            for value, mean, square, gradient in zip(values, means, squares, gradients):
                with torch.no_grad():
                    gradient = gradient + adapter.weight_decay * value
                    mean.mul_(0.9).add_(0.1 * gradient)
                    square.mul_(0.999).add_(0.001 * gradient**2)
                    size = (square / (1 - 0.999**n_taken)).sqrt() + 1e-8
                    value.sub_(rate * mean / (1 - 0.9**n_taken) / size)
        else:
            losses.append(math.nan)
        if (step + 1) % batch_of.n_batches == 0:
            ends.append(copies(both.state_dict()))
    return ends, losses


def mean_of(states):
    return {
        name: sum(state[name] for state in states) / len(states)
        if states[0][name].is_floating_point()
        else states[-1][name]
        for name in states[0]
    }


@pytest.mark.parametrize(
    ("averaged", "epochs"), [("all", [1, 2, 3]), ("last", [3]), ([2], [2]), ([3, 1], [1, 3])]
)
def test_training_is_that_of_a_plain_loop(averaged, epochs, images, classes):
    adapter = pseudo(averaged_epochs=averaged, weight_decay=1e-2)
    adapter.fit(images, class_labels=classes)
    ends, losses = slow_training(adapter, images, classes)
    expected = mean_of([ends[epoch - 1] for epoch in epochs])
    # Adam takes a step of full length where a gradient is next to nothing.
    assert_close(weights_of(adapter), expected, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3, atol=1e-5)
    for other in ends:
        far = (other["network.layer4.0.weight"] - expected["network.layer4.0.weight"]).abs().max()
        assert far > 1e-3 or len(epochs) == 1


def test_training_may_begin_with_discriminant_analysis(images, classes):
    kept = {"first_head": "discriminant", "trainable": "head", "learning_rate": 1e-12}
    labels = np.where(np.arange(len(images)) % 7 == 0, -1, classes)
    adapter = pseudo(Given(labels), **kept | {"final_learning_rate": 0.0}, output="logits")
    logits = adapter.fit(images).transform(images)
    features = extractor().fit_transform(images).astype(np.float64)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    analysis.fit(features[labels != -1], labels[labels != -1])
    expected = analysis.decision_function(features)
    np.testing.assert_allclose(logits, expected, atol=1e-3 * np.abs(expected).max())


def test_noise_is_no_part_of_the_loss(images, classes):
    labels = np.where(np.arange(30) % 3 == 0, -1, classes)
    adapter = pseudo(Given(labels)).fit(images)
    ends, losses = slow_training(adapter, images, labels)
    assert_close(weights_of(adapter), mean_of(ends), rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(adapter.training_curve_["loss"][1:], losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(adapter.labels_, labels)
    np.testing.assert_array_equal(adapter.classes_, [0, 1, 2])


@pytest.mark.parametrize("is_noise", [True, False])
def test_what_noise_shows_is_of_no_account(is_noise, images, classes):
    """If BatchNorm keeps its statistics."""
    labels = classes.copy()
    labels[:6] = -1
    changed = images.copy()
    indices = slice(0, 6) if is_noise else slice(6, 12)
    changed[indices] = 1 - images[indices]
    one, other = (weights_of(pseudo(Given(labels)).fit(given)) for given in (images, changed))
    if is_noise:
        assert_close(one, other, rtol=0, atol=1e-5)
    else:
        assert not torch.allclose(one["head.weight"], other["head.weight"], atol=1e-3)


def test_a_step_of_noise_alone_is_left_out(images, classes, watched):
    labels = np.where(np.arange(30) % 2 == 0, -1, classes)
    weights = {}

    def keep(run, step):
        weights[step] = copies(run.task.trained)

    watched(PseudoLabelAdapter, then=keep)
    adapter = pseudo(Given(labels), batch_size=1, weight_decay=0.5, n_epochs=1).fit(images)
    is_noise = [bool(labels[BatchSampler(30, 1, SEED)(step)][0] == -1) for step in range(30)]
    assert 5 < sum(is_noise) < 25
    for step in range(1, 30):
        assert same(weights[step], weights[step + 1]) == is_noise[step]
    assert np.isnan(adapter.training_curve_["loss"][1:]).tolist() == is_noise


def test_averages_are_of_single_epochs(images):
    fit = {epochs: weights_of(pseudo(averaged_epochs=e).fit(images)) for epochs, e in EPOCHS}
    single = [fit["1"], fit["2"], fit["3"]]
    assert_close(fit["all"], mean_of(single), rtol=1e-6, atol=1e-6)
    assert_close(fit["one and two"], mean_of(single[:2]), rtol=1e-6, atol=1e-6)
    assert same(fit["last"], fit["3"])
    for epochs in "12":
        assert not torch.allclose(fit[epochs]["head.weight"], fit["3"]["head.weight"], atol=1e-3)


EPOCHS = [("all", "all"), ("last", "last"), ("1", [1]), ("2", (2,)), ("3", np.array([3]))]
EPOCHS += [("one and two", [2, 1, 2])]


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_the_average_of_what_does_not_move_is_the_same(batch_norm, images):
    adapter = pseudo(learning_rate=1e-30, final_learning_rate=0.0, batch_norm=batch_norm)
    adapter.fit(images)
    before = untrained(adapter, images).network_
    found = copies(adapter.network_.state_dict())
    for name, value in before.named_parameters():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-25)
    head = first_head(32, 3)
    np.testing.assert_array_equal(adapter.coef_, head.weight.detach())
    np.testing.assert_array_equal(adapter.intercept_, head.bias.detach())


@pytest.mark.parametrize("augmentation", [None, "mild"])
@pytest.mark.parametrize("trainable", ["all", "last", "head"])
def test_statistics_stay_in_evaluation_mode(trainable, augmentation, images):
    adapter = pseudo(trainable=trainable, augmentation=augmentation).fit(images)
    before, after = (
        copies(m.state_dict()) for m in (untrained(adapter, images).network_, adapter.network_)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if name.endswith(STATISTICS)}
    expected = {"head": "nothing", "last": "layer4.", "all": "layer"}[trainable]
    assert changed == {name for name in before if name.startswith(expected)} - statistics
    assert not np.allclose(adapter.coef_, first_head(32, 3).weight.detach(), atol=1e-3)


def test_statistics_are_learned_and_averaged_from_scratch(images, watched):
    ends = []

    def keep(run, step):
        if step % 3 == 0:
            ends.append(copies(run.task.network.state_dict()))

    watched(PseudoLabelAdapter, then=keep)
    adapter = pseudo(batch_norm="train", averaged_epochs=[1, 3]).fit(images)
    found = copies(adapter.network_.state_dict())
    assert_close(found, mean_of([ends[0], ends[2]]), rtol=1e-6, atol=1e-6)
    before = untrained(adapter, images).network_.state_dict()
    assert not any(torch.equal(before[name], found[name]) for name in before)
    assert not adapter.network_.training


def test_the_rate_falls_along_half_a_cosine(images, watched):
    rates = []
    watched(
        PseudoLabelAdapter,
        then=lambda run, step: rates.extend(group["lr"] for group in run.optimizer.param_groups),
    )
    pseudo(learning_rate=1e-3, final_learning_rate=1e-4, n_epochs=4).fit(images)
    at = np.arange(12) / 12
    np.testing.assert_allclose(rates, 1e-4 + 9e-4 * (1 + np.cos(np.pi * at)) / 2)
    assert rates[0] == 1e-3
    assert (np.diff(rates) < 0).all()


def test_mild_views_are_what_is_learned_from(images):
    seen = []

    def view(batch, generator):
        seen.append((batch.clone().cpu(), generator.initial_seed()))
        return batch.float()

    adapter = pseudo(augmentation=view).fit(images)
    plain = pseudo().fit(images)
    assert_close(weights_of(adapter), weights_of(plain), rtol=1e-3, atol=2e-4)
    assert len(seen) == 9
    assert len({seed for _, seed in seen}) == 9
    batch_of = BatchSampler(30, 10, SEED)
    for step, (batch, _) in enumerate(seen):
        np.testing.assert_allclose(batch[:, 0], images[batch_of(step)], atol=1e-6)
    mild = weights_of(pseudo(augmentation="mild").fit(images))
    assert not torch.allclose(mild["head.weight"], weights_of(plain)["head.weight"], atol=1e-3)


def test_a_stop_at_collapse_is_without_an_average(images, watched):
    weights = {}
    watched(
        PseudoLabelAdapter,
        then=lambda run, step: weights.update({step: copies(run.start.cut.parameters)}),
    )
    adapter = pseudo(collapse_limit=0.999, stop_at_collapse=True, learning_rate=0.1).fit(images)
    assert adapter.collapsed_at_ is not None
    stopped_at = adapter.stopped_at_
    assert stopped_at < adapter.collapsed_at_
    found = dict(adapter.network_.named_parameters())
    if stopped_at:
        assert same(copies(found), weights[stopped_at])
    else:
        assert same(
            copies(found), copies(dict(untrained(adapter, images).network_.named_parameters()))
        )


# Clusters


def test_a_bare_clusterer_gets_features(images):
    adapter = pseudo(Given(np.arange(30) % 2)).fit(images)
    features = clone(adapter.extractor).fit_transform(images)
    seen = adapter.clusterer_.seen_
    assert isinstance(seen, np.ndarray)
    np.testing.assert_allclose(seen, features, rtol=1e-5, atol=1e-6)
    adapter = pseudo().fit(images)
    np.testing.assert_array_equal(adapter.labels_, kmeans().fit_predict(features))
    assert isinstance(adapter.clusterer_, KMeans)
    assert not hasattr(adapter.clusterer, "labels_"), "a copy is fitted"


def test_a_pipeline_that_begins_with_an_extractor_gets_images(images):
    given = make_pipeline(extractor(CODER), Normalizer(), kmeans(4))
    adapter = pseudo(given).fit(images)
    expected = clone(given).fit_predict(images)
    np.testing.assert_array_equal(adapter.labels_, expected)
    np.testing.assert_array_equal(adapter.clusterer_.predict(images), expected)
    rows = make_pipeline(Normalizer(), kmeans(4))
    features = extractor().fit_transform(images)
    found = pseudo(rows).fit(images)
    np.testing.assert_array_equal(found.labels_, rows.fit_predict(features))


@pytest.mark.filterwarnings("ignore::skad.clusterers.ClusterWarning")
def test_a_clusterer_of_images_gets_images(images):
    for clusterer in (
        dec(),
        SCAN(
            extractor(partial(NET, width=8), std=0.02),
            n_clusters=3,
            n_neighbors=4,
            trainable="head",
            augmentation=None,
            n_epochs=4,
            batch_size=10,
            learning_rate=0.05,
            n_self_labelling_epochs=0,
        ),
    ):
        adapter = pseudo(clusterer).fit(images)
        expected = clone(clusterer).fit(images)
        np.testing.assert_array_equal(adapter.labels_, expected.labels_)
        assert len(set(adapter.labels_)) > 1
        assert adapter.clusterer_.network_ is not adapter.network_
        np.testing.assert_array_equal(
            adapter.clusterer_.predict_proba(images), expected.predict_proba(images)
        )


def test_no_file_of_a_clusterer_in_training_stays(images, tmp_path):
    pseudo(dec(checkpoint=tmp_path), checkpoint=tmp_path).fit(images)
    assert not list(tmp_path.iterdir())


def test_noise_of_a_clusterer_is_left_out(images):
    features = extractor().fit_transform(images)
    scaled = (features - features.mean(0)) / features.std()
    for radius in np.linspace(0.2, 3, 30):
        labels = DBSCAN(radius, min_samples=3).fit_predict(scaled)
        if labels.max() > 0 and labels.min() == -1:
            break
    assert labels.max() > 0
    assert labels.min() == -1
    adapter = pseudo(Given(labels)).fit(images)
    np.testing.assert_array_equal(adapter.classes_, range(labels.max() + 1))
    np.testing.assert_array_equal(adapter.labels_, labels)
    assert adapter.coef_.shape == (labels.max() + 1, 32)
    spread = DBSCAN(1e-9)
    with pytest.raises(ValueError, match="got .*30 images of noise. Ask for more clusters, or"):
        pseudo(spread).fit(images)


def test_clusters_may_have_any_numbers(images, classes):
    adapter = pseudo(Given(classes * 10 + 5), output="logits").fit(images)
    np.testing.assert_array_equal(adapter.classes_, [5, 15, 25])
    np.testing.assert_array_equal(adapter.labels_, classes)
    assert adapter.get_feature_names_out().tolist() == ["logit_5", "logit_15", "logit_25"]


def test_the_default_is_kmeans_on_features_of_unit_length(images):
    adapter = PseudoLabelAdapter(extractor(), n_epochs=1, augmentation=None).fit(images)
    features = extractor().fit_transform(images).astype(np.float32)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = KMeans(10, n_init=10, random_state=SEED).fit_predict(units)
    np.testing.assert_array_equal(adapter.labels_, expected)
    assert len(adapter.classes_) == 10
    assert adapter.coef_.shape == (10, 32)
    assert adapter.coef_.dtype == adapter.intercept_.dtype == np.float32


@pytest.mark.parametrize("kind", ["numbers", "words", "list"])
def test_classes_may_be_given(kind, images, classes):
    given = {"numbers": classes - 1, "words": np.array(["b", "a", "c"])[classes]}
    given["list"] = given["words"].tolist()
    adapter = pseudo(output="logits").fit(images, class_labels=given[kind])
    names = np.unique(given[kind])
    np.testing.assert_array_equal(adapter.classes_, names)
    np.testing.assert_array_equal(names[adapter.labels_], given[kind])
    assert adapter.clusterer_ is None
    expected = [f"logit_{name}" for name in names]
    assert adapter.get_feature_names_out().tolist() == expected
    numbers = np.unique(given[kind], return_inverse=True)[1]
    assert same(weights_of(adapter), weights_of(pseudo().fit(images, class_labels=numbers)))


@pytest.mark.parametrize("labels", ["signs", "booleans"])
def test_classes_of_anomalies_are_left_out(labels, images, classes):
    is_anomaly = np.arange(30) % 4 == 0
    y = is_anomaly if labels == "booleans" else np.where(is_anomaly, -1, 1)
    words = np.array(["a", "b", "c"])[classes]
    words[is_anomaly] = "odd"
    found = pseudo().fit(images, y, class_labels=words)
    expected = pseudo().fit(images[~is_anomaly], class_labels=words[~is_anomaly])
    assert found.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert same(weights_of(found), weights_of(expected))


def test_classes_must_fit_the_images(images, classes, watched):
    steps = watched(PseudoLabelAdapter)
    y = np.r_[np.ones(28), -1, -1]
    for labels, given in ((None, classes[:29]), (y, classes[:29]), (None, classes[:, None])):
        with pytest.raises(ValueError, match="class_labels must be one for each of the"):
            pseudo().fit(images, labels, class_labels=given)
    with pytest.raises(ValueError, match=r"class_labels must tell at least 2 classes apart; got"):
        pseudo().fit(images, class_labels=np.zeros(30))
    with pytest.raises(ValueError, match=r"clusterer's labels must tell .* Ask for more clusters"):
        pseudo(kmeans(1)).fit(images)
    with pytest.raises(ValueError, match=r"clusterer's labels must be one for each of the 30"):
        pseudo(Given(np.arange(29) % 2)).fit(images)
    assert not steps


def test_classes_are_not_those_of_the_normal_images_alone(images, classes):
    """Which they are for would be a guess: they belong to all images, as labels do."""
    with pytest.raises(ValueError, match="class_labels must be one for each"):
        pseudo().fit(images, np.r_[-1, np.ones(29)], class_labels=classes[:29])


def test_a_clusterer_needs_fit_predict(images):
    for clusterer in (extractor(), object(), "kmeans"):
        with pytest.raises(ValueError, match="'clusterer' parameter"):
            pseudo(clusterer).fit(images)


# Outputs


def test_outputs(images, others):
    fitted = {name: pseudo(output=name).fit(images) for name in ("features", "logits", "odin")}
    found = {name: adapter.transform(others) for name, adapter in fitted.items()}
    assert {name: rows.shape for name, rows in found.items()} == {
        "features": (12, 32),
        "logits": (12, 3),
        "odin": (12, 3),
    }
    assert all(rows.dtype == np.float32 for rows in found.values())
    assert same(weights_of(fitted["features"]), weights_of(fitted["odin"]))
    adapter = fitted["features"]
    expected = found["features"] @ adapter.coef_.T + adapter.intercept_
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["features"], adapter.extractor_.transform(others))
    names = adapter.get_feature_names_out()
    assert len(names) == 32
    assert names.tolist() == adapter.extractor_.get_feature_names_out().tolist()
    for name in ("logits", "odin"):
        assert fitted[name].get_feature_names_out().tolist() == ["logit_0", "logit_1", "logit_2"]
    table = fitted["odin"].set_output(transform="pandas").transform(others)
    assert table.columns.tolist() == ["logit_0", "logit_1", "logit_2"]


@pytest.mark.parametrize("output", ["features", "logits", "odin"])
def test_flat_rows_are_images_too(output, images, others):
    rows = [(16 * given).reshape(len(given), -1) for given in (images, others)]
    found = pseudo(output=output).fit(rows[0])
    assert found.n_features_in_ == 64
    expected = pseudo(output=output).fit(images)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert found.transform(rows[1]).shape == expected.transform(others).shape


# ODIN


def slow_odin(adapter, images):
    """One image at a time."""
    extractor = adapter.extractor_
    network = copy.deepcopy(extractor.network_).cpu()
    weight, bias = torch.from_numpy(adapter.coef_), torch.from_numpy(adapter.intercept_)
    std, rows = torch.tensor(extractor.preprocessing_.std), []

    def logits_of(image):
        return (network(image.clone()) @ weight.T + bias)[0] / adapter.temperature

    for image in prepared(extractor, images):
        image = image[None].clone().requires_grad_(True)
        logits = logits_of(image)
        loss = -logits.log_softmax(0)[logits.argmax()]
        (gradient,) = torch.autograd.grad(loss, image)
        with torch.no_grad():
            moved = image.clone()
            for channel in range(moved.shape[1]):
                signs = torch.where(gradient[0, channel] >= 0, 1.0, -1.0)
                moved[0, channel] -= adapter.perturbation / std[channel] * signs
            rows.append(logits_of(moved))
    return torch.stack(rows).numpy()


@pytest.fixture(scope="module")
def odin(colored):
    made = extractor(mean=(0.4, 0.5, 0.6), std=(0.1, 0.3, 0.6))
    labels = np.arange(len(colored)) % 3
    adapter = pseudo(extractor=made, output="odin", learning_rate=3e-2, n_epochs=5)
    return adapter.fit(colored, class_labels=labels)


def with_parameters(adapter, **parameters):
    """The same network, as if it had been fitted with other parameters of `transform`."""
    adapter = copy.deepcopy(adapter).set_params(**parameters)
    adapter._output = adapter.output
    adapter._odin = {name: getattr(adapter, name) for name in ("perturbation", "temperature")}
    return adapter


@pytest.mark.parametrize(
    ("perturbation", "temperature"), [(0.0014, 1000.0), (0.05, 1.0), (0.02, 10), (0, 1000)]
)
def test_odin_is_that_of_one_image_at_a_time(perturbation, temperature, odin, colored):
    adapter = with_parameters(odin, perturbation=perturbation, temperature=temperature)
    found = adapter.transform(colored) * temperature
    np.testing.assert_allclose(
        found, slow_odin(adapter, colored) * temperature, rtol=1e-4, atol=1e-4
    )
    plain = with_parameters(odin, output="logits").transform(colored)
    moved = np.abs(found - plain).max()
    assert moved < 1e-5 if perturbation == 0 else moved > perturbation / 10


def test_without_moving_or_temperature_odin_is_the_plain_baseline(odin, colored):
    still = with_parameters(odin, perturbation=0, temperature=1.0)
    logits = with_parameters(odin, output="logits").transform(colored)
    np.testing.assert_allclose(still.transform(colored), logits, rtol=1e-5, atol=1e-5)
    scores = [
        ConfidenceScorer().fit(r).score_samples(r) for r in (still.transform(colored), logits)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(expit(scores[0]), shares.max(1), rtol=1e-4)


def test_odin_steps_in_pixels(odin, colored, monkeypatch):
    """By the standard deviation of each channel."""
    seen = []

    class Stop(Exception):
        pass

    def spy(logits_of, images, step, temperature):
        seen.append((images.cpu(), step.cpu(), temperature))
        raise Stop

    monkeypatch.setattr(_pseudo_labels, "odin_logits", spy)
    with pytest.raises(Stop):
        with_parameters(odin, perturbation=0.06, temperature=7.0).transform(colored)
    images, step, temperature = seen[0]
    torch.testing.assert_close(images, prepared(odin.extractor_, colored))
    assert step.shape == (3, 1, 1)
    np.testing.assert_allclose(step.flatten(), [0.6, 0.2, 0.1], rtol=1e-6)
    assert temperature == 7


@pytest.mark.parametrize("perturbation", [1e-3, 1e-2])
def test_moved_images_are_no_less_sure(perturbation, odin, colored):
    def confidence(epsilon):
        adapter = with_parameters(odin, perturbation=epsilon, temperature=1.0)
        return ConfidenceScorer().fit(rows := adapter.transform(colored)).score_samples(rows)

    gain = confidence(perturbation) - confidence(0)
    assert gain.mean() > 0
    assert (gain > -1e-4).mean() > 0.8


def test_a_gradient_of_zero_moves_as_a_positive_one():
    """As in the official code."""
    images = torch.zeros(2, 1, 2, 2)
    step = torch.full((1, 1, 1), 0.25)
    seen = []

    def logits_of(batch):
        seen.append(batch.detach().clone())
        first = batch[:, 0, 0]  # the other row has no gradient
        return torch.stack([first.sum(1) + 1, -first.sum(1)], dim=1)

    found = odin_logits(logits_of, images, step, 2.0)
    assert torch.equal(seen[1][0, 0], torch.tensor([[0.25, 0.25], [-0.25, -0.25]]))
    assert torch.equal(found, torch.tensor([[1.5, -0.5]] * 2) / 2)
    assert not found.requires_grad
    assert not images.requires_grad
    assert torch.equal(images, torch.zeros(2, 1, 2, 2))


@pytest.mark.parametrize("kind", ["eval", "train"])
def test_odin_leaves_the_network_alone(kind, images, others):
    adapter = pseudo(output="odin", batch_norm=kind, perturbation=0.1).fit(images)
    before = copies(adapter.network_.state_dict())
    first = adapter.transform(others)
    assert same(copies(adapter.network_.state_dict()), before)
    assert not adapter.network_.training
    for value in adapter.network_.parameters():
        assert value.grad is None
        assert not value.requires_grad
    np.testing.assert_array_equal(adapter.transform(others), first)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_odin_is_the_same_in_every_mode_of_torch(context, odin, colored):
    expected = odin.transform(colored)
    with context():
        found = odin.transform(colored)
    np.testing.assert_array_equal(found, expected)


def test_odin_does_not_depend_on_the_batch(odin, colored):
    adapter = with_parameters(odin, perturbation=0.02, temperature=1.0)
    whole = adapter.transform(colored)
    alone = np.concatenate([adapter.transform(colored[i : i + 1]) for i in range(len(colored))])
    np.testing.assert_allclose(alone, whole, rtol=1e-4, atol=1e-4)
    for size in (1, 4, 13):
        adapter.extractor_.batch_size = size
        np.testing.assert_allclose(adapter.transform(colored), whole, rtol=1e-4, atol=1e-4)


def test_at_a_high_temperature_odin_ranks_by_the_margin_to_the_mean(odin, colored):
    adapter = with_parameters(odin, temperature=1000.0, perturbation=0.01)
    rows = adapter.transform(colored)
    scores = ConfidenceScorer().fit(rows).score_samples(rows)
    moved = rows.astype(np.float64) * 1000  # the logits of the moved images
    margin = moved.max(1) - moved.mean(1)
    assert spearmanr(scores, margin).statistic > 0.999
    assert np.ptp(margin) > 0.1


# Seeds and copies


@pytest.mark.bits
@every
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_state(kind, images, others):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = KINDS[kind]().fit(images)
    found = first.transform(others)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    torch.rand(3)
    again = clone(first).fit(images)
    np.testing.assert_array_equal(again.transform(others), found)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert same(weights_of(again), weights_of(first))
    other = KINDS[kind](random_state=1).fit(images)
    assert not np.allclose(other.coef_, first.coef_, rtol=1e-3)


@every
def test_a_pickled_adapter_is_the_same(kind, images, others):
    adapter = KINDS[kind]().fit(images)
    other = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(other.transform(others), adapter.transform(others))
    np.testing.assert_array_equal(other.labels_, adapter.labels_)
    np.testing.assert_array_equal(other.get_feature_names_out(), adapter.get_feature_names_out())


def test_images_that_are_not_kept_make_no_difference(images):
    whole = weights_of(pseudo().fit(images))
    for memory_limit in (0, 0.01):
        other = weights_of(pseudo(memory_limit=memory_limit).fit(images))
        assert_close(other, whole, rtol=1e-3, atol=2e-4)


# Broken-off fits


@pytest.mark.bits
@every
def test_a_broken_fit_goes_on_to_the_same_bits(
    kind, images, others, watched, monkeypatch, tmp_path
):
    monkeypatch.setattr(_run, "FEWEST_STEPS", 2)
    coder, clusters = watched(AutoencoderAdapter), watched(DEC)
    ends = []

    def keep(run, step):
        if step == 9:
            ends.append(copies(run.task.state()))

    watched(PseudoLabelAdapter, then=keep)
    whole = KINDS[kind]().fit(images)
    steps = watched(PseudoLabelAdapter, break_at=7)
    adapter = KINDS[kind](checkpoint=tmp_path)
    if kind == "dec":
        names = ("clusterer__checkpoint", "clusterer__extractor__checkpoint")
        adapter.set_params(**dict.fromkeys(names, tmp_path))
    unfitted = set(vars(adapter))
    with pytest.raises(KeyboardInterrupt) as caught:
        adapter.fit(images)
    assert set(vars(adapter)) == unfitted
    assert "fit again with the same parameters" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == (3 if kind == "dec" else 1)
    for seen in (coder, clusters, steps):
        seen.clear()
    adapter.fit(images)
    assert steps == [7, 8, 9], "from the last look on"
    assert not coder
    assert not clusters
    assert not list(tmp_path.iterdir())
    assert same(*ends), "of the averages too"
    assert same(weights_of(adapter), weights_of(whole))
    np.testing.assert_array_equal(adapter.transform(others), whole.transform(others))
    np.testing.assert_array_equal(adapter.labels_, whole.labels_)
    for name, values in whole.training_curve_.items():
        np.testing.assert_array_equal(adapter.training_curve_[name], values)


@pytest.mark.bits
def test_a_break_among_the_clusters_goes_on(images, watched, tmp_path):
    whole = pseudo(dec()).fit(images)
    clusterer = dec(checkpoint=tmp_path).set_params(extractor__checkpoint=tmp_path)
    adapter = pseudo(clusterer, checkpoint=tmp_path)
    coder, clusters = watched(AutoencoderAdapter), watched(DEC, break_at=3)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(images)
    assert (coder, clusters) == ([1, 2, 3], [1, 2, 3])
    coder.clear()
    clusters.clear()
    adapter.fit(images)
    assert (coder, clusters) == ([], [3, 4])
    assert not list(tmp_path.iterdir())
    assert same(weights_of(adapter), weights_of(whole))


def test_other_labels_do_not_go_on(images, classes, watched, tmp_path):
    steps = watched(PseudoLabelAdapter, break_at=5)
    adapter = pseudo(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(images, class_labels=classes)
    steps.clear()
    adapter.fit(images, class_labels=np.roll(classes, 1))
    assert steps == list(range(1, 10))
    steps.clear()
    adapter.fit(images, class_labels=classes)
    assert steps == [5, 6, 7, 8, 9]


# Errors


@pytest.mark.parametrize("epochs", [[0], [4], [], [1, 5], [-1]])
def test_epochs_to_average_must_be_there(epochs, images, watched):
    steps = watched(PseudoLabelAdapter)
    with pytest.raises(ValueError, match="averaged_epochs must be 'all', 'last' or numbers from 1"):
        pseudo(averaged_epochs=epochs).fit(images)
    assert not steps


@pytest.mark.parametrize(
    "parameters",
    [
        *({"perturbation": -0.1}, {"output": "scores"}, {"temperature": 0}),
        *({"averaged_epochs": "first"}, {"batch_norm": "learn"}, {"augmentation": "strong"}),
        *({"n_epochs": 0}, {"final_learning_rate": -1e-6}, {"clusterer": 3}),
    ],
)
def test_parameters_are_checked(parameters, images):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        pseudo(**parameters).fit(images) if name != "clusterer" else pseudo(3).fit(images)


def test_too_few_images_for_the_clusters_are_told(images, watched):
    steps = watched(PseudoLabelAdapter)
    with pytest.raises(ValueError, match="n_samples=7 should be >= n_clusters=8"):
        pseudo(kmeans(8)).fit(images[:7])
    with pytest.raises(ValueError, match="DEC: n_clusters=3, but there are only 2 images"):
        pseudo(dec()).fit(images[:2])
    assert not steps


# Deep clustering


def deep(**parameters):
    defaults = {"clusterer": kmeans(), "weights": None, "augmentation": None, "n_epochs": 2}
    defaults |= {"batch_size": 10, "learning_rate": 1e-2, "collapse_limit": 0.0}
    return DeepClustering(NET, **defaults | parameters)


SCORERS = {
    "knn": KNNScorer(1, metric="cosine"),
    "mahalanobis": GaussianScorer(),
    "confidence": ConfidenceScorer(),
}


@pytest.mark.bits
@pytest.mark.parametrize("clusterer", ["rows", "images"])
@pytest.mark.parametrize("scorer", SCORERS)
def test_deep_clustering_is_its_parts(scorer, clusterer, images, others):
    given = kmeans() if clusterer == "rows" else make_pipeline(extractor(CODER), kmeans())
    detector = deep(scorer=scorer, clusterer=given, contamination=0.2).fit(images)
    output = "logits" if scorer == "confidence" else "features"
    adapter = pseudo(given, output=output, n_epochs=2, final_learning_rate=1e-6)
    last = clone(SCORERS[scorer]).set_params(contamination=0.2)
    adapter.fit(images)
    told = {"class_labels": adapter.labels_} if scorer == "mahalanobis" else {}
    last.fit(adapter.transform(images), **told)
    parts = Pipeline([("adapter", adapter), ("scorer", last)])
    np.testing.assert_array_equal(detector.score_samples(others), parts.score_samples(others))
    np.testing.assert_array_equal(detector.labels_, adapter.labels_)
    assert detector.offset_ == last.offset_
    assert detector.stopped_at_ == adapter.stopped_at_ == 6
    curve = adapter.training_curve_
    np.testing.assert_array_equal(detector.training_curve_["loss"], curve["loss"])
    if scorer != "mahalanobis":
        whole = Pipeline([("adapter", clone(adapter)), ("scorer", clone(last))]).fit(images)
        np.testing.assert_array_equal(detector.score_samples(others), whole.score_samples(others))


def test_noise_is_no_class_for_the_mahalanobis_distance(images, classes, others):
    labels = classes.copy()
    labels[:5] = -1
    detector = deep(scorer="mahalanobis", clusterer=Given(labels)).fit(images)
    assert detector.pipeline_["scorer"].classes_.tolist() == [0, 1, 2]
    features = detector.pipeline_["adapter"].transform(images)
    expected = GaussianScorer().fit(features[5:], class_labels=labels[5:])
    np.testing.assert_allclose(
        detector.score_samples(others),
        expected.score_samples(detector.pipeline_["adapter"].transform(others)),
        rtol=1e-6,
    )


def test_the_default_clusterer_is_scan(images):
    detector = deep(clusterer=None, random_state=3)
    clusterer = detector._make_steps()[0][1].clusterer
    assert isinstance(clusterer, SCAN)
    assert clusterer.random_state == 3
    assert clusterer.extractor is None


@pytest.mark.bits
def test_deep_clustering_keeps_its_contracts(images, others, watched, tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    detector = deep(checkpoint=tmp_path).fit(images)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert not list(tmp_path.iterdir())
    found = detector.score_samples(others)
    for other in (pickle.loads(pickle.dumps(detector)), clone(detector).fit(images)):
        np.testing.assert_array_equal(other.score_samples(others), found)
    other = deep(random_state=1).fit(images)
    assert not np.allclose(other.score_samples(others), found, rtol=1e-3)
    steps = watched(PseudoLabelAdapter, break_at=4)
    broken = clone(detector)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(images)
    assert not hasattr(broken, "pipeline_")
    steps.clear()
    broken.fit(images)
    assert steps == [4, 5, 6]
    np.testing.assert_array_equal(broken.score_samples(others), found)
    assert not list(tmp_path.iterdir())


def test_a_search_over_scorers_and_clusters_runs(images, others):
    rows, y = np.concatenate([images, others]), np.r_[np.ones(30), -np.ones(12)].astype(int)
    search = GridSearchCV(
        deep(n_epochs=1),
        {"scorer": list(SCORERS), "clusterer__n_clusters": [2, 3]},
        scoring=auroc_scorer,
        cv=OneClassKFold(2),
    )
    search.fit(rows, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert len(best.labels_) == 30
    assert len(set(best.labels_)) == search.best_params_["clusterer__n_clusters"]


def test_classes_come_by_metadata_routing(images, classes, others):
    words = np.array(["a", "b", "c"])[classes]
    expected = deep(scorer="mahalanobis").fit(images, class_labels=words)
    assert expected.pipeline_["adapter"].clusterer_ is None
    assert expected.pipeline_["adapter"].classes_.tolist() == ["a", "b", "c"]
    with config_context(enable_metadata_routing=True):
        detector = deep(scorer="mahalanobis").set_fit_request(class_labels=True)
        piped = Pipeline([("detector", detector)]).fit(images, class_labels=words)
        np.testing.assert_array_equal(piped.score_samples(others), expected.score_samples(others))
        adapter = pseudo(output="logits").set_fit_request(class_labels=True)
        scored = Pipeline([("adapter", adapter), ("scorer", ConfidenceScorer())])
        scored.fit(images, class_labels=words)
        assert scored["adapter"].classes_.tolist() == ["a", "b", "c"]
        rows, y = np.concatenate([images, others]), np.r_[np.ones(30), -np.ones(12)].astype(int)
        search = GridSearchCV(
            deep(n_epochs=1).set_fit_request(class_labels=True),
            {"scorer": ["knn", "confidence"]},
            scoring=auroc_scorer,
            cv=OneClassKFold(2),
        )
        search.fit(rows, y, class_labels=np.r_[words, ["odd"] * 12])
    best = search.best_estimator_
    assert best.pipeline_["adapter"].classes_.tolist() == ["a", "b", "c"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("parameters", [{"scorer": "odin"}, {"averaged_epochs": "first"}])
def test_parameters_of_deep_clustering_are_checked(parameters, images):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        deep(**parameters).fit(images)


# CLAD


def clad(**parameters):
    defaults = {"n_clusters": 3, "n_autoencoder_epochs": 2, "n_clustering_epochs": 2}
    defaults |= {"n_epochs": 2, "batch_size": 10, "learning_rate": 1e-2}
    return CLAD(NET, CODER, **defaults | parameters)


def parts_of_clad(**parameters):
    coder = AutoencoderAdapter(
        extractor(CODER, batch_size=10),
        n_epochs=2,
        batch_size=512,
        learning_rate=1e-3,
        decay_at=1.0,
        weight_decay=0.0,
    )
    adapter = PseudoLabelAdapter(
        extractor(batch_size=10),
        DEC(coder, n_clusters=3, n_epochs=2),
        output="odin",
        batch_norm="train",
        averaged_epochs="last",
        augmentation=None,
        n_epochs=2,
        batch_size=10,
        learning_rate=1e-2,
        final_learning_rate=1e-2,
        collapse_limit=0.0,
    )
    adapter.set_params(**parameters)
    return Pipeline([("adapter", adapter), ("scorer", ConfidenceScorer())])


@pytest.mark.bits
@pytest.mark.parametrize("parameters", [{}, {"temperature": 10.0, "perturbation": 0.0}])
def test_clad_is_its_parts(parameters, images, others):
    detector, parts = clad(**parameters).fit(images), parts_of_clad(**parameters).fit(images)
    np.testing.assert_array_equal(detector.score_samples(others), parts.score_samples(others))
    np.testing.assert_array_equal(detector.labels_, parts["adapter"].labels_)
    assert detector.offset_ == parts["scorer"].offset_
    assert detector.stopped_at_ == parts["adapter"].stopped_at_ == 6
    assert detector.collapsed_at_ is None
    rows = detector.pipeline_["adapter"].transform(others).astype(np.float64)
    top = np.sort(rows, axis=1)
    odds = top[:, -1] - np.log(np.exp(top[:, :-1]).sum(1))
    np.testing.assert_allclose(detector.score_samples(others), odds, rtol=1e-6)


@pytest.mark.bits
@pytest.mark.parametrize("kind", [AutoencoderAdapter, DEC, PseudoLabelAdapter])
def test_a_broken_clad_goes_on_to_the_same_bits(kind, images, others, watched, tmp_path):
    expected = clad().fit(images).score_samples(others)
    kinds = (AutoencoderAdapter, DEC, PseudoLabelAdapter)
    seen = {k: watched(k, break_at=2 if k is kind else None) for k in kinds}
    detector = clad(checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(images)
    assert not hasattr(detector, "pipeline_")
    for steps in seen.values():
        steps.clear()
    detector.fit(images)
    index = kinds.index(kind)
    assert not any(seen[k] for k in kinds[:index]), "what was finished is not done again"
    assert seen[kind][:1] in ([2], [])
    assert all(seen[k][0] == 1 for k in kinds[index + 1 :])
    np.testing.assert_array_equal(detector.score_samples(others), expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.bits
def test_clad_keeps_its_contracts(images, others):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    detector = clad().fit(images)
    found = detector.score_samples(others)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    for other in (pickle.loads(pickle.dumps(detector)), clone(detector).fit(images)):
        np.testing.assert_array_equal(other.score_samples(others), found)
    other = clad(random_state=1).fit(images)
    assert not np.allclose(other.score_samples(others), found, rtol=1e-5)


def test_a_search_over_clusters_of_clad_runs(images, others):
    rows, y = np.concatenate([images, others]), np.r_[np.ones(30), -np.ones(12)].astype(int)
    search = GridSearchCV(
        clad(n_autoencoder_epochs=1, n_clustering_epochs=1, n_epochs=1),
        {"n_clusters": [2, 3]},
        scoring=auroc_scorer,
        cv=OneClassKFold(2),
    )
    search.fit(rows, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.labels_) == 30


def test_clad_of_the_papers_small_encoder(images):
    detector = CLAD(NET, ENCODER, n_clusters=2, n_epochs=1)
    detector.set_params(n_autoencoder_epochs=1, n_clustering_epochs=1).fit(images)
    assert detector.score_samples(images[:2]).shape == (2,)
    with pytest.raises(ValueError, match="DEC: n_clusters=2, but there are only 1 images|2 normal"):
        detector.fit(images[:1])
    with pytest.raises(ValueError, match="'n_clusters' parameter"):
        clad(n_clusters=1).fit(images)
