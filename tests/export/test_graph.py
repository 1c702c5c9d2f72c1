"""A graph computes what its detector computes: modules against estimators, on real pictures."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from skad import (
    CLAD,
    DN2,
    MSC,
    NSA,
    PANDA,
    PANDAOE,
    SPADE,
    AutoDetector,
    CentroidScorer,
    ConformalDetector,
    ConformalMapDetector,
    DeepClustering,
    DeepSVDD,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    ImageDetector,
    KDEScorer,
    KNNScorer,
    MapDetector,
    PaDiM,
    PatchCore,
    RotationPrediction,
    SklearnScorer,
    Whitening,
)
from skad.backbones import clad_small, small_cnn, svdd_mnist
from skad.export import ExportError
from skad.export._gate import check_same, gate_pictures
from skad.export._graph import DetectorGraph
from skad.export._pixels import Pixels
from skad.images._batches import iterate_batches
from skad.images._door import check_images
from skad.maps import CentroidPixels
from skad.model_selection import SyntheticAnomalies
from skad.networks._preprocessing import Preprocessing, preprocess
from tests.processors import needs_bfloat16

SMALL = {"image_size": 32}
CNN = {"backbone": partial(small_cnn, width=8, image_size=16), "weights": None}


def with_scorer(scorer, **others):
    return ImageDetector(FeatureExtractor(**SMALL, **others), scorer=scorer)


FEW = SyntheticAnomalies(["stain"], per_image=1)
DETECTORS = {
    "DN2": DN2(**SMALL),
    "DN2 whole": DN2(resize="whole", **SMALL),
    "DN2 layers": DN2(layers=["layer1", "layer3"], **SMALL),
    "DN2 ViT": DN2(backbone="vit_tiny_patch16_224", weights=None, image_size=32),
    "DN2 torchvision": DN2(backbone="torchvision/mobilenet_v2", weights=None, image_size=32),
    **{
        f"KNN {metric}": with_scorer(KNNScorer(metric=metric, aggregation=aggregation))
        for metric, aggregation in (
            ("euclidean", "mean"),
            ("angle", "kth"),
            ("mahalanobis", "sum_of_squares"),
            ("mahalanobis_cosine", "mean"),
        )
    },
    "KNN shrunken to nothing": with_scorer(KNNScorer(metric="mahalanobis", n_components=5)),
    "KNN centroids": with_scorer(KNNScorer(n_centroids=5)),
    "KNN without anomalies": with_scorer(KNNScorer(pollution=0.2)),
    "KNN in relation": with_scorer(KNNScorer(local_scaling=0.5, pollution=0.2)),
    "KNN whitened, in relation": with_scorer(
        KNNScorer(13, metric="mahalanobis_cosine", aggregation="kth", local_scaling=1)
    ),
    **{
        f"centroid {metric}": with_scorer(CentroidScorer(metric))
        for metric in ("cosine", "mahalanobis_cosine", "euclidean", "squared_euclidean")
    },
    "Gaussian": with_scorer(GaussianScorer()),
    "Gaussian density": with_scorer(GaussianScorer(normalize=True, log_likelihood=True)),
    "Gaussian clusters": with_scorer(GaussianScorer(3, covariance_type="full", normalize=True)),
    "KDE": with_scorer(KDEScorer()),
    "contrast": with_scorer(KNNScorer(), contrast_normalization=True),
    "MSC": MSC(n_epochs=1, **SMALL),
    "PANDA": PANDA(n_steps=4, **SMALL),
    "PANDA, many networks": PANDA(stopping="sample_wise", n_steps=6, n_checkpoints=2, **SMALL),
    "NSA": NSA(n_steps=3, **CNN),
    "NSA ensemble": NSA(n_steps=3, scorer="ensemble", **CNN),
    "NSA sum": NSA(n_steps=3, scorer="sum", **CNN),
    "DeepSVDD": DeepSVDD(
        backbone=partial(svdd_mnist, n_channels=3, image_size=16),
        image_size=16,
        n_epochs=1,
        n_pretraining_epochs=0,
    ),
    "DeepClustering, confidence": DeepClustering(
        clusterer=KMeans(2, n_init=1, random_state=0), n_epochs=1, scorer="confidence", **SMALL
    ),
    "SPADE": SPADE(n_neighbors=3, n_centroids=10, **SMALL),
    "SPADE maps": SPADE(n_neighbors=3, n_centroids=10, image_score="map", resize="crop", **SMALL),
    "maps": MapDetector(
        FeatureExtractor(**SMALL),
        scorer=GaussianScorer(),
        gallery=CentroidPixels(n_centroids=9, fusion="per_layer", n_neighbor_pixels=2),
        smoothing=0.0,
    ),
    "PatchCore": PatchCore(**SMALL),
    "PatchCore per layer": PatchCore(**SMALL, fusion="per_layer", patch_size=5, resize="crop"),
    "PatchCore in tiles": PatchCore(
        **SMALL | {"image_size": 64}, tiles=(32, 16), pixel_metric="cosine", image_score="top"
    ),
    "PaDiM": PaDiM(**SMALL, n_dimensions=30),
    "Pipeline": make_pipeline(FeatureExtractor(**SMALL), Whitening(), KNNScorer(1, metric="angle")),
    "conformal": ConformalDetector(DN2(**SMALL), false_alarm_rate=0.2),
    "the best": AutoDetector([DN2(**SMALL)], n_splits=2, synthetic=FEW),
    "the best, mapped and calibrated": ConformalDetector(
        AutoDetector([PatchCore(**SMALL)], n_splits=2, synthetic=FEW), false_alarm_rate=0.2
    ),
    "calibrated pixels": ConformalMapDetector(
        PatchCore(**SMALL), false_alarm_rate=0.3, calibration_share=0.5
    ),
    "conformal maps": ConformalDetector(
        SPADE(n_neighbors=3, n_centroids=9, **SMALL), false_alarm_rate=0.2
    ),
}


def fitted(detector, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few images
        return detector.fit(images)


def runner(graph):
    def run(pixels):
        with torch.inference_mode():
            found = graph(torch.from_numpy(np.array(pixels)))
        return {name: one.numpy() for name, one in zip(graph.outputs, found)}

    return run


@pytest.mark.parametrize("name", DETECTORS)
def test_graphs_are_their_detectors(name, tiles):
    detector = fitted(DETECTORS[name], tiles)
    graph = DetectorGraph(detector).eval()
    # Behind a Whitening step a scorer sees what rounding has become: to the graph, a training
    # picture is then not the same row.
    own = [] if name == "Pipeline" else [*tiles[:4], *tiles[-4:]]
    pictures = [*own, *gate_pictures(3)[:16]]
    assert check_same(runner(graph), detector, graph, pictures, "the module") < 5e-5


def test_training_pictures_leave_themselves_out(tiles):
    detector = DN2(**SMALL).fit(tiles)
    run = runner(DetectorGraph(detector).eval())
    found = np.concatenate([run(one[None])["score"] for one in tiles])
    np.testing.assert_allclose(found, detector.decision_function(tiles), rtol=1e-4, atol=1e-6)
    assert (found + detector.offset_).max() < -1e-3, "not at distance 0 from themselves"


def test_several_pictures_at_once(tiles):
    detector = SPADE(n_neighbors=3, n_centroids=10, **SMALL).fit(tiles)
    run = runner(DetectorGraph(detector).eval())
    together = run(tiles[:5])
    assert together["map"].shape == (5, 48, 48)
    for index, one in enumerate(tiles[:5]):
        for name, values in run(one[None]).items():
            np.testing.assert_allclose(values[0], together[name][index], rtol=1e-4, atol=1e-5)


def test_outlier_exposure_has_its_logit(tiles):
    detector = PANDAOE(n_epochs=1, **SMALL)
    detector.fit(tiles[24:], X_outliers=tiles[:24])
    graph = DetectorGraph(detector).eval()
    check_same(runner(graph), detector, graph, gate_pictures(3), "the module")


def test_networks_of_one_channel(tiles):
    network = partial(svdd_mnist, n_channels=1, image_size=16)
    gray = np.ascontiguousarray(tiles[..., 0])
    detector = DN2(backbone=network, weights=None, image_size=16).fit(gray)
    graph = DetectorGraph(detector).eval()
    check_same(runner(graph), detector, graph, gate_pictures(1), "the module")


SIZES = [(427, 640), (33, 50), (1, 1), (7, 3), (1000, 1300), (2000, 31), (40, 900), (1801, 1201)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("image_size", "resize"), [(64, "whole"), (32, "crop"), (60, "crop")])
def test_pixels_are_prepared_as_for_the_network(size, image_size, resize):
    rng = np.random.RandomState(0)
    slope = np.linspace(0, 127, size[1], dtype=np.uint8)[:, None]
    pixels = rng.randint(128, size=(*size, 3), dtype=np.uint8) + slope
    given = Preprocessing(image_size, resize, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 3)
    source = check_images(BaseEstimator(), pixels[None])
    ((_, batch),) = iterate_batches(source, 1, 1, given.detail)
    expected = preprocess(batch, given, torch.device("cpu"))
    found = Pixels(given)(torch.from_numpy(pixels)[None])
    # torch works out places in float32: some millionths of a step from black to white.
    assert (found - expected).abs().max() < 1e-5 / 0.2


REFUSED = {
    "galleries of whole maps": (
        SPADE(n_neighbors=3, **SMALL),
        "RetrievedPixels, holds the maps of each",
    ),
    "coresets of each image": (
        SPADE(n_neighbors=3, coreset_share=0.1, **SMALL),
        "RetrievedCoreset, holds the maps of each",
    ),
    "several scales": (
        PatchCore(scales=(1.0, 0.5), **SMALL),
        r"several scales, \(1.0, 0.5\), have no",
    ),
    "a background": (
        PatchCore(foreground="component", **SMALL),
        "leaves out pixels, which no graph",
    ),
    "scorers of scikit-learn": (with_scorer(SklearnScorer(OneClassSVM())), "SklearnScorer, has no"),
    "members that have none": (
        with_scorer(EnsembleScorer([SklearnScorer(OneClassSVM())])),
        "EnsembleScorer: the scorer, SklearnScorer, has no graph",
    ),
    "many views": (RotationPrediction(n_epochs=1, **CNN), "more than one pass"),
    "gradients": (
        CLAD(
            backbone=partial(small_cnn, width=4, image_size=16),
            encoder=partial(clad_small, n_channels=3, image_size=16, code_dim=2),
            n_clusters=2,
            n_autoencoder_epochs=1,
            n_clustering_epochs=1,
            n_epochs=1,
        ),
        'with output="features"',
    ),
    "few bits": (DN2(precision="bfloat16", **SMALL), "computes in bfloat16"),
    "cross": (
        ConformalDetector(DN2(**SMALL), method="cross", n_folds=2, false_alarm_rate=0.2),
        "holds 2 detectors",
    ),
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, marks=needs_bfloat16) if one == "few bits" else one for one in REFUSED],
)
def test_what_has_no_graph_says_which_part(case, tiles):
    detector, message = REFUSED[case]
    with pytest.raises(ExportError, match=message):
        DetectorGraph(fitted(detector, tiles))


def test_several_of_an_auto_detector_are_several_networks(tiles):
    detector = AutoDetector([DN2(**SMALL)], n_splits=2, synthetic=FEW).fit(tiles)
    detector.detectors_ = detector.detectors_ * 2
    with pytest.raises(ExportError, match=r"combines 2 detectors.*n_best=1"):
        DetectorGraph(detector)


def test_flat_rows_and_features_are_no_pixels(tiles):
    rows = tiles[..., 0].reshape(len(tiles), -1) / 255.0
    with pytest.raises(ExportError, match="was fitted to flat rows of values"):
        DetectorGraph(DN2(**SMALL).fit(rows))
    with pytest.raises(ExportError, match="KNNScorer: takes no images"):
        DetectorGraph(KNNScorer().fit(rows))


def test_calibrated_around_a_fitted_detector(tiles):
    frozen = FrozenEstimator(DN2(**SMALL).fit(tiles[:24]))
    detector = ConformalDetector(frozen, false_alarm_rate=0.2, calibration_share=1.0)
    detector.fit(tiles[24:])
    graph = DetectorGraph(detector).eval()
    assert graph.outputs == ["score", "anomaly", "p_value"]
    check_same(runner(graph), detector, graph, [*tiles], "the module")


def test_the_gate_finds_what_differs(tiles):
    detector = DN2(**SMALL).fit(tiles)
    graph = DetectorGraph(detector).eval()
    right = runner(graph)
    for name, change, message in (
        ("score", lambda v: v * 1.001 - 1e-3, "other scores than the detector for"),
        ("anomaly", np.logical_not, "other decisions than the detector for 48 of 48 pictures"),
    ):

        def wrong(pixels, name=name, change=change):
            found = right(pixels)
            return found | {name: change(found[name])}

        with pytest.raises(ExportError, match=message):
            check_same(wrong, detector, graph, [*tiles], "the module")
