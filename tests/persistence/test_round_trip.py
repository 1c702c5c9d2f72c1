"""What a model file gives back: the same scores, in a process that has nothing else."""

import pickle
import re
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import timm
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline

import skad
from skad import (
    DN2,
    SPADE,
    ConformalDetector,
    FeatureExtractor,
    ImageDetector,
    KNNScorer,
    MeanShiftedContrastive,
    SelfSupervisedAdapter,
    SklearnScorer,
)
from skad.backbones import small_cnn
from tests.instances import INSTANCES

X, _ = load_digits(return_X_y=True)
NEW = X[200:230]

LOF = SklearnScorer(LocalOutlierFactor(5, novelty=True))

# Those that scikit-learn's forests are in.
FORESTS = [one for one in INSTANCES if "IsolationForest" in repr(one)]


def fitted(instance):
    """Fitted, and of the class that users know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few images, and so small networks
        estimator = clone(instance).fit(X[:30])
    if type(estimator).__module__.startswith("tests."):
        estimator.__class__ = next(
            kind for kind in type(estimator).__mro__ if kind.__module__.startswith("skad.")
        )
    return estimator


def outputs(estimator, images=NEW):
    methods = ("score_samples", "decision_function", "predict", "transform", "score_maps")
    return [getattr(estimator, name)(images) for name in methods if hasattr(estimator, name)]


def round_trip(estimator, folder, **how):
    skad.save(estimator, folder / "model.skad", **how)
    return skad.load(folder / "model.skad")


@pytest.mark.bits
@pytest.mark.parametrize("instance", [one for one in INSTANCES if one not in FORESTS], ids=repr)
def test_every_estimator_comes_back(instance, tmp_path):
    estimator = fitted(instance)
    expected = outputs(estimator)
    loaded = round_trip(estimator, tmp_path)
    assert type(loaded) is type(estimator)
    for found, given in zip(outputs(loaded), expected, strict=True):
        np.testing.assert_array_equal(found, given)
    assert loaded.get_params(deep=False).keys() == estimator.get_params(deep=False).keys()
    again = round_trip(loaded, tmp_path)
    assert type(again) is type(estimator)


@pytest.mark.parametrize("instance", FORESTS, ids=repr)
def test_forests_are_refused_before_anything_is_written(instance, tmp_path):
    with pytest.raises(TypeError, match=r"IsolationForest, which holds sklearn.tree._tree.Tree"):
        skad.save(fitted(instance), tmp_path / "model.skad")
    assert list(tmp_path.iterdir()) == []


FRESH = """
import socket, sys
socket.getaddrinfo = socket.socket.connect = None  # a download would fail
import numpy as np, skad
loaded = skad.load(sys.argv[1])
assert "pickle" not in vars(skad)
np.save(sys.argv[2], loaded.score_samples(np.load(sys.argv[3])))
"""


@pytest.mark.bits
def test_a_fresh_process_without_network_gives_the_same_bits(tiles, tmp_path):
    detector = ConformalDetector(DN2(), false_alarm_rate=0.1, calibration_share=0.4).fit(tiles)
    skad.save(detector, tmp_path / "model.skad")
    np.save(tmp_path / "new.npy", tiles[::-1])
    torch.set_num_threads(1)
    names = (tmp_path / name for name in ("model.skad", "scores.npy", "new.npy"))
    done = subprocess.run(
        [sys.executable, "-c", "import torch; torch.set_num_threads(1)" + FRESH, *map(str, names)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "scores.npy")
    np.testing.assert_array_equal(found, detector.score_samples(tiles[::-1]))


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(FeatureExtractor(image_size=32), KNNScorer()),
        make_pipeline(MeanShiftedContrastive(n_epochs=1), LOF),
        DN2("test_vit", weights=None, image_size=64, layers=["blocks.1"]),
        DN2("torchvision/mobilenet_v3_small", weights=None, image_size=64),
        DN2("test_resnet", weights=None, precision="bfloat16"),
        DN2(value_range=(0, 255), orientation="ignore", on_error="skip"),
        DN2(partial(small_cnn, width=4, image_size=8), weights=None, mean=(0.5,), std=0.5),
        SPADE(n_neighbors=3, n_centroids=5, layers=["layer1", "layer2"], memory_limit=0.01),
        ImageDetector(FeatureExtractor(image_size=32, flattened_layers=["layer4"])),
    ],
    ids=[
        "pipeline",
        "adapter",
        "vit",
        "torchvision",
        "bfloat16",
        "reading",
        "factory",
        "maps",
        "layers",
    ],
)
def test_pipelines_and_networks_of_all_families(estimator, tiles, tmp_path):
    estimator = clone(estimator).fit(tiles[:24])
    loaded = round_trip(estimator, tmp_path)
    assert str(loaded) == str(estimator)
    for found, given in zip(outputs(loaded, tiles[20:30]), outputs(estimator, tiles[20:30])):
        np.testing.assert_array_equal(found, given)


def test_weights_of_a_file_need_it_no_more(tiles, tmp_path):
    network = timm.create_model("test_resnet", num_classes=7)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    detector = DN2("test_resnet", weights=tmp_path / "weights.pth", image_size=32).fit(tiles)
    expected = detector.score_samples(tiles)
    skad.save(detector, tmp_path / "model.skad")
    (tmp_path / "weights.pth").unlink()
    np.testing.assert_array_equal(skad.load(tmp_path / "model.skad").score_samples(tiles), expected)


def test_published_weights_may_be_named_instead(tiles, tmp_path):
    detector = DN2().fit(tiles)
    skad.save(detector, tmp_path / "stored.skad")
    skad.save(detector, tmp_path / "named.skad", weights="reference")
    sizes = [(tmp_path / f"{name}.skad").stat().st_size for name in ("stored", "named")]
    assert sizes[1] < 0.05 * sizes[0]
    np.testing.assert_array_equal(
        skad.load(tmp_path / "named.skad").score_samples(tiles), detector.score_samples(tiles)
    )
    trained = MeanShiftedContrastive(n_epochs=1).fit(tiles[:9])
    loaded = round_trip(trained, tmp_path, weights="reference")
    np.testing.assert_array_equal(loaded.transform(tiles), trained.transform(tiles))
    with pytest.raises(ValueError, match='"stored" or "reference"; got \'none\''):
        skad.save(detector, tmp_path / "x.skad", weights="none")


def test_other_weights_than_those_named_are_told(tiles, tmp_path, monkeypatch):
    skad.save(DN2().fit(tiles), tmp_path / "named.skad", weights="reference")
    monkeypatch.setattr("skad.persistence._networks.weights_digest", lambda _: "another")
    with pytest.raises(ValueError, match=r"names the published weights of 'tiny', but those here"):
        skad.load(tmp_path / "named.skad")


def test_it_is_smaller_than_pickle(tiles, tmp_path):
    detector = DN2().fit(tiles[:31])
    skad.save(detector, tmp_path / "model.skad")
    assert (tmp_path / "model.skad").stat().st_size < 0.6 * len(pickle.dumps(detector))


def test_the_same_model_gives_the_same_file(tiles, tmp_path):
    for name in ("a", "b"):
        skad.save(DN2().fit(tiles), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_networks_go_where_they_are_told(tiles, tmp_path):
    skad.save(DN2(device="cpu").fit(tiles), tmp_path / "model.skad")
    loaded = skad.load(tmp_path / "model.skad", device="auto")
    loaded = skad.load(tmp_path / "model.skad", device="cpu")
    assert loaded.pipeline_[0].fitted_network_.device.type == "cpu"
    with pytest.warns(skad.DeviceWarning, match="cuda:7"):
        skad.load(tmp_path / "model.skad", device="cuda:7")


def my_augmentation(batch, generator):
    return torch.zeros(len(batch), 3, 8, 8)


class MyNetwork(torch.nn.Conv2d):
    pass


def my_network():
    return MyNetwork(3, 4, 3)


REFUSED = {
    "not fitted": (DN2(), NotFittedError, "not fitted"),
    "a network of one's own": (
        DN2(my_network, weights=None, image_size=8),
        TypeError,
        r"save: DN2: DN2.*backbone is my_network, code of your own.*skad.backbones",
    ),
    "augmentation of one's own": (
        SelfSupervisedAdapter(
            FeatureExtractor(partial(small_cnn, width=4, image_size=8), weights=None),
            augmentation=my_augmentation,
            n_epochs=1,
        ),
        TypeError,
        "augmentation is my_augmentation, code of your own.*to None",
    ),
    "a generator": (
        DN2(n_centroids=3, random_state=np.random.RandomState(0)),
        TypeError,
        "random_state is a numpy.random.mtrand.RandomState, which model files do not hold",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_can_not_hold_is_told(case, tiles, tmp_path):
    estimator, error, message = REFUSED[case]
    if case != "not fitted":
        estimator = clone(estimator).fit(tiles[:9])
    with pytest.raises(error, match=f"(?s){message}"):
        skad.save(estimator, tmp_path / "model.skad")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_without_skops_the_extra_is_named(tiles, tmp_path, monkeypatch):
    detector = ImageDetector(scorer=LOF).fit(tiles)
    skad.save(detector, tmp_path / "model.skad")
    for name in ("skops", "skops.io"):
        monkeypatch.setitem(sys.modules, name, None)
    for act in (
        lambda: skad.save(detector, tmp_path / "b"),
        lambda: skad.load(tmp_path / "model.skad"),
    ):
        with pytest.raises(ImportError, match=r'pip install "skad\[files\]"'):
            act()


def test_a_file_tells_what_it_holds(tiles, tmp_path):
    skad.save(
        ConformalDetector(DN2(image_size=32), false_alarm_rate=0.2).fit(tiles), tmp_path / "m"
    )
    told = skad.describe(tmp_path / "m")
    assert told["class"] == "ConformalDetector"
    assert told["parameters"]["false_alarm_rate"] == 0.2
    assert told["skad"] == skad.__version__
    assert {"torch", "numpy", "scikit-learn"} < told["libraries"].keys()
    (network,) = told["networks"]
    assert (network["backbone"], network["weights"]) == ("tiny", "stored")
    assert re.fullmatch("[0-9a-f]{32}", network["digest"])
    assert network["licence"].startswith("trained on pictures given out for research")
    assert told["size"]["n0.safetensors"] > 7e6


def test_clusterers_of_scikit_learn_come_along(tiles, tmp_path):
    detector = skad.DeepClustering(
        clusterer=KMeans(2, n_init=1, random_state=0), image_size=32, n_epochs=1
    )
    detector.fit(tiles[:20])
    loaded = round_trip(detector, tmp_path)
    np.testing.assert_array_equal(loaded.labels_, detector.labels_)
    np.testing.assert_array_equal(*(outputs(one, tiles)[0] for one in (loaded, detector)))


def test_heads_stay(tiles, tmp_path):
    cnn = {"backbone": partial(small_cnn, width=4, image_size=8), "weights": None}
    detector = SelfSupervisedAdapter(
        FeatureExtractor(**cnn),
        n_epochs=1,
        projector_widths=[8, 8],
        predictor_widths=[4],
        layers=["projector.0", "layer2"],
        collapse_limit=0.0,
    )
    detector.fit(tiles[:12])
    loaded = round_trip(detector, tmp_path)
    np.testing.assert_array_equal(*(outputs(one, tiles)[0] for one in (loaded, detector)))
