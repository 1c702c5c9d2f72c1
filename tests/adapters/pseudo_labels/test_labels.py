"""Labels that are learned: of clusterers, given, of noise."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skad import (
    SCAN,
    PseudoLabelAdapter,
)
from skad.training import _run as _run
from tests.adapters.pseudo_labels.common import (
    CODER,
    NET,
    SEED,
    Given,
    dec,
    extractor,
    kmeans,
    pseudo,
    same,
    weights_of,
)


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
