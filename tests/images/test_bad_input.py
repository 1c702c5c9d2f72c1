"""Bad input: one clear error that says what, whose, what is allowed, and what came."""

import io
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from skad import (
    DN2,
    CentroidScorer,
    ConfidenceScorer,
    EnsembleScorer,
    FeatureExtractor,
    GaussianScorer,
    KDEScorer,
    KNNScorer,
    SklearnScorer,
    Whitening,
)


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


IMAGES = noise(6, 16, 16, 3)
NAN = np.full((6, 16, 16, 3), 0.5)
NAN[4, 0, 0, 0] = np.nan
INFINITE = np.where(np.isnan(NAN), np.inf, NAN)

BAD = {
    "empty list": ([], ValueError, "DN2: X holds 0 images"),
    "empty array": (IMAGES[:0], ValueError, "DN2: X of shape .* holds 0 images"),
    "no pixels": (IMAGES[:, :0], ValueError, "DN2: .* without pixels"),
    "one image": (IMAGES[:1], ValueError, "n_neighbors=2 needs at least 3 training rows.* = 1"),
    "NaN": (NAN, ValueError, "DN2: image 4 contains NaN or infinity"),
    "infinity": (INFINITE, ValueError, "DN2: image 4 contains NaN or infinity"),
    "NaN in rows": (NAN.reshape(6, -1), ValueError, "X contains NaN"),
    "float 0..255": (IMAGES * 1.0, ValueError, r"floats of images must lie in \[0, 1\]; image 0"),
    "float around 0": (IMAGES / 127.5 - 1, ValueError, r"spans \[-"),
    "int64": (IMAGES.astype(int), TypeError, "DN2: an array has dtype int64.*astype"),
    "five channels": (
        noise(6, 16, 16, 5),
        ValueError,
        r"must have axes .* got shape \(6, 16, 16, 5",
    ),
    "two channels": (noise(6, 2, 16, 16), ValueError, "must have axes"),
    "five axes": (noise(2, 6, 16, 16, 3), ValueError, "must have axes"),
    "channels-last tensor": (torch.rand(6, 16, 16, 3), ValueError, "must have axes"),
    "one bare image": (IMAGES[0], ValueError, r"looks like one image.*X\[None\]"),
    "one bare tensor": (torch.rand(3, 16, 16), ValueError, "looks like one image"),
    "one PIL image": (Image.fromarray(IMAGES[0]), TypeError, r"X is one image.*\[image\]"),
    "int tensor in a list": (
        [torch.ones(9, 9, dtype=int)] * 3,
        TypeError,
        "image 0 has dtype int64",
    ),
    "ragged rows": ([[0.1, 0.2], [0.1], [0.5, 0.1]], ValueError, "rows of differing lengths"),
    "missing file": (
        ["/no/such/file.png"] * 4,
        FileNotFoundError,
        "image 0 .*file.png.* not exist",
    ),
    "one path": ("/no/such/folder", TypeError, "X is one path.*image_folder"),
    "directory": (["/"], IsADirectoryError, "image 0 .* is a directory.*image_folder"),
    "mixed list": ([IMAGES[0], 3.5], TypeError, "image 1 is a float"),
    "channels in a list": ([IMAGES[0], noise(9, 9, 2)], ValueError, "image 1 has shape"),
    "int in a list": ([IMAGES[0], IMAGES[1].astype(int)], TypeError, "image 1 has dtype int64"),
    "float in a list": ([IMAGES[0] / 255, IMAGES[1] * 1.0], ValueError, "image 1 spans"),
    "four axes in a list": ([IMAGES, IMAGES], ValueError, "image 0 has 4 axes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_name_what_is_wrong(case):
    images, error, message = BAD[case]
    detector = DN2()
    with pytest.raises(error, match=message):
        detector.fit(images)
    assert vars(detector) == vars(clone(detector)), "nothing may be half-fitted"
    with pytest.raises(NotFittedError):
        detector.predict(IMAGES)


@pytest.mark.parametrize("damage", ["truncated", "no image", "empty"])
def test_broken_files_are_named(damage, tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for path, image in zip(paths, IMAGES):
        Image.fromarray(image).save(path)
    whole = paths[3].read_bytes()
    damaged = {"truncated": whole[:-20], "no image": b"x", "empty": b""}
    paths[3].write_bytes(damaged[damage])
    for images in (paths, np.array([str(path) for path in paths])):
        with pytest.raises(ValueError, match=r"image 3 \(.*3.jpg\) could not be read"):
            DN2().fit(images)
    if damage == "truncated":
        with pytest.raises(ValueError, match=r"image 1.* could not be read"):
            DN2().fit([IMAGES[0], Image.open(io.BytesIO(paths[3].read_bytes()))])


def test_the_place_in_the_whole_is_named_whatever_the_batch():
    images = np.full((30, 8, 8), 0.5)
    images[23, 2, 2] = 7.0
    with pytest.raises(ValueError, match=r"image 23 spans \[0.5, 7\]"):
        DN2(batch_size=4).fit(images)
    y = np.where(np.arange(30) < 5, -1, 1)
    with pytest.raises(ValueError, match="image 23 spans"):
        DN2(batch_size=4).fit(images, y)


def test_float_rows_must_keep_to_uint8_training_rows():
    detector = DN2().fit(IMAGES.reshape(6, -1))
    with pytest.raises(ValueError, match=r"floats of images must lie in \[0, 1\]"):
        detector.predict(IMAGES.reshape(6, -1) * 1.0)


def test_rows_of_another_length():
    detector = DN2().fit(IMAGES.reshape(6, -1))
    with pytest.raises(ValueError, match="X has 767 features, but DN2 is expecting 768"):
        detector.predict(IMAGES.reshape(6, -1)[:, 1:])


@pytest.mark.parametrize("image_shape", [(15, 16, 3), (768,), (8, 8, 12), (2, 2, 2, 96)])
def test_image_shape_that_does_not_fit(image_shape):
    with pytest.raises(ValueError, match="DN2: image_shape=.* the rows of X have 768"):
        DN2(image_shape=image_shape).fit(IMAGES.reshape(6, -1))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["good", "bad", "good", "good", "bad", "good"], "Unknown label type.*bad, good"),
        ([1, -1, 0, 1, 1, 1], "Unknown label type.*-1, 0, 1"),
        ([1, 1, 1], "X has 6 samples, but y has 3 labels"),
        ([-1] * 6, "all 6 samples are labelled anomalies"),
        ([True] * 6, "all 6 samples are labelled anomalies"),
    ],
)
@pytest.mark.parametrize("estimator", [DN2(), KNNScorer()])
def test_labels_that_do_not_fit(estimator, y, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(IMAGES.reshape(6, -1), y)


def test_numbers_that_are_no_labels_are_ignored_with_a_warning():
    with pytest.warns(UserWarning, match=r"DN2: .*got 0, 1 .*y is ignored"):
        DN2().fit(IMAGES, [0, 0, 0, 0, 1, 1])


def test_more_neighbors_than_training_images():
    with pytest.raises(ValueError, match="n_neighbors=6 needs at least 7 training rows"):
        DN2(n_neighbors=6).fit(IMAGES)
    DN2(n_neighbors=5).fit(IMAGES)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_neighbors": 0},
        {"metric": "manhattan"},
        {"contamination": 0.7},
        {"precision": "float16"},
        {"batch_size": 0},
        {"resize": "stretch"},
        {"image_size": 0},
        {"backbone": 3},
    ],
)
def test_parameters_outside_their_limits(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"The '{name}' parameter of DN2 must be"):
        DN2(**parameters).fit(IMAGES)


def test_unknown_backbone_gives_near_names():
    with pytest.raises(ValueError, match="'resnt18' is unknown.*'resnet18'"):
        FeatureExtractor("resnt18").fit(IMAGES)
    with pytest.raises(ValueError, match="'torchvision/tiny' is unknown"):
        FeatureExtractor("torchvision/tiny").fit(IMAGES)


def test_a_network_is_no_recipe():
    with pytest.raises(TypeError, match="backbone is a network.*functools.partial"):
        FeatureExtractor(torch.nn.Conv2d(3, 4, 3)).fit(IMAGES)


def test_a_factory_must_be_picklable_and_give_a_network():
    with pytest.raises(TypeError, match="can't be pickled"):
        FeatureExtractor(lambda: torch.nn.Conv2d(3, 4, 3)).fit(IMAGES)
    with pytest.raises(TypeError, match=r"must return a torch.nn.Module, got dict"):
        FeatureExtractor(dict).fit(IMAGES)


def test_weights_that_do_not_fit_name_the_keys(tmp_path):
    state = partial(torch.nn.Linear, 4, 5)().state_dict()
    torch.save({**state, "more": torch.ones(2)}, tmp_path / "weights.pth")
    message = "does not fit Linear: 1 not in the network .more.; 1 of another shape .weight .5, 4."
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(partial(torch.nn.Linear, 3, 5), weights=tmp_path / "weights.pth").fit(
            IMAGES
        )
    with pytest.raises(ValueError, match=r"missing .conv1\.0\.weight"):
        FeatureExtractor(weights=tmp_path / "weights.pth").fit(IMAGES)


def test_weights_files_that_can_not_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        FeatureExtractor(weights=tmp_path / "nothing.safetensors").fit(IMAGES)
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        FeatureExtractor(weights=tmp_path / "tensor.pth").fit(IMAGES)
    for name in ("broken.safetensors", "broken.pth"):
        (tmp_path / name).write_bytes(b"broken")
        with pytest.raises(ValueError, match=f"{name}.* could not be read"):
            FeatureExtractor(weights=tmp_path / name).fit(IMAGES)


def test_weights_files_run_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="could not be read"):
        FeatureExtractor(weights=tmp_path / "evil.pth").fit(IMAGES)
    assert not (tmp_path / "ran").exists()


def test_a_data_set_that_fails_names_the_image():
    class Disk(torch.utils.data.Dataset):
        def __len__(self):
            return 9

        def __getitem__(self, i):
            if i == 7:
                raise OSError("disk gone")
            return IMAGES[0], 1

    with pytest.raises(ValueError, match="DN2: image 7 could not be had: .*disk gone"):
        DN2().fit(Disk())


def test_no_threads_and_no_layers():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        DN2(n_jobs=0).fit(IMAGES)
    with pytest.raises(ValueError, match="layers is empty"):
        DN2(layers=[]).fit(IMAGES)
    DN2(n_jobs=-1, mean=np.float32(0.5)).fit(list(IMAGES))


def test_unknown_layers_give_near_names():
    with pytest.raises(ValueError, match="has no layer 'layer5'; there are 'layer4'"):
        FeatureExtractor(layers=["layer5"]).fit(IMAGES)


def test_devices():
    with pytest.raises(ValueError, match="device 'gpu' is unknown"):
        FeatureExtractor(device="gpu").fit(IMAGES)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds no CUDA device"):
            FeatureExtractor(device="cuda").fit(IMAGES)


def test_normalisation_of_the_wrong_length():
    with pytest.raises(ValueError, match="mean has 2 values; the network takes 3 channels"):
        FeatureExtractor(mean=(0.5, 0.5)).fit(IMAGES)
    with pytest.raises(ValueError, match="std must be positive"):
        FeatureExtractor(std=0.0).fit(IMAGES)


def test_colour_images_for_a_grey_network():
    network = partial(torch.nn.Conv2d, 1, 4, 3)
    FeatureExtractor(network, image_size=16).fit_transform(IMAGES[..., 0])
    with pytest.raises(ValueError, match="takes 1 channel.*images have 3"):
        FeatureExtractor(network, image_size=16).fit_transform(IMAGES)


@pytest.mark.parametrize("method", ["predict", "score_samples", "decision_function"])
@pytest.mark.parametrize("estimator", [DN2(), KNNScorer()])
def test_before_fitting(estimator, method):
    with pytest.raises(NotFittedError, match=re.escape(type(estimator).__name__)):
        getattr(estimator, method)(IMAGES.reshape(6, -1))
    with pytest.raises(NotFittedError):
        FeatureExtractor().feature_maps(IMAGES)


ROWS = np.random.RandomState(0).normal(size=(30, 6))
EQUAL = np.ones((30, 6))

BAD_FOR_SCORERS = {
    "singular": (
        GaussianScorer(shrinkage=0.0),
        ROWS[:5],
        "GaussianScorer: the covariance of 5 rows is singular, of rank 4 in 6 dim.*n_components",
    ),
    "no covariance for neighbours": (
        KNNScorer(metric="mahalanobis"),
        EQUAL,
        "KNNScorer: no two training rows",
    ),
    "directions that can't be compared": (
        GaussianScorer(2, covariance_type="full", n_components=0.9),
        np.vstack([ROWS[:15], ROWS[15:] * [5, 0.1, 0.1, 0.1, 0.1, 0.1] + 50]),
        "GaussianScorer: n_components=0.9 keeps 1 to [2-6] directions of the groups",
    ),
    "a dead tap": (
        EnsembleScorer(tap_widths=[4, 2]),
        np.hstack([ROWS[:, :4], np.zeros((30, 2))]),
        "EnsembleScorer: tap 1, columns 4 to 5: CentroidScorer: the centre is the zero vector",
    ),
    "centred features": (CentroidScorer(), ROWS - ROWS.mean(axis=0), "but for rounding.*centred"),
    "a center of words": (CentroidScorer("euclidean", center=["a"] * 6), ROWS, "6 finite numbers"),
    "classes of two types": (
        partial(GaussianScorer().fit, class_labels=np.array([1, "a"] * 15, dtype=object)),
        ROWS,
        "GaussianScorer: class_labels must be all numbers or all strings",
    ),
    "singular by a constant column": (
        Whitening(shrinkage=0.0),
        np.hstack([ROWS, EQUAL]),
        "Whitening: the covariance of 30 rows is singular, of rank 6 in 12 dimensions",
    ),
    "no covariance": (CentroidScorer("mahalanobis_cosine"), EQUAL, "no two training rows"),
    "no covariance of a cluster": (
        GaussianScorer(30, covariance_type="full"),
        ROWS,
        r"no two training rows of a group differ \(n_samples = 1, n_features = 6\)",
    ),
    "fewer rows than clusters": (
        GaussianScorer(31),
        ROWS,
        "GaussianScorer: 31 clusters need at least as many training rows; got n_samples = 30",
    ),
    "fewer rows than centroids": (KNNScorer(n_centroids=31), ROWS, "KNNScorer: 31 clusters need"),
    "no direction": (
        CentroidScorer(),
        np.concatenate([EQUAL, -EQUAL]),
        "CentroidScorer: the centre is the zero vector",
    ),
    "origin has no direction": (CentroidScorer(center="origin"), ROWS, "centre is the zero vector"),
    "center of another width": (
        CentroidScorer("euclidean", center=[1.0, 2.0]),
        ROWS,
        r"center must hold 6 finite numbers, one a feature; got shape \(2,\)",
    ),
    "center with NaN": (CentroidScorer("euclidean", center=[np.nan] * 6), ROWS, "6 finite"),
    "a tap of width zero": (
        EnsembleScorer(tap_widths=[3, 0, 3]),
        ROWS,
        r"EnsembleScorer: tap_widths must be whole numbers from 1 up; got \[3, 0, 3\]",
    ),
    "taps of another sum": (
        EnsembleScorer(tap_widths=[3, 4]),
        ROWS,
        r"tap_widths \[3, 4\] add up to 7, but X has 6 features",
    ),
    "a map that is no tap": (
        EnsembleScorer(tap_widths=[3, 3], map_taps=[2]),
        ROWS,
        r"map_taps must be indices in tap_widths, 0\.\.1; got \[2\]",
    ),
    "no scorers": (EnsembleScorer([]), ROWS, "list of one scorer of skad or more; got an empty"),
    "a stranger among scorers": (
        EnsembleScorer([OneClassSVM()]),
        ROWS,
        r"got \[OneClassSVM\(\)\]. Put other estimators into skad.SklearnScorer",
    ),
    "no novelty": (SklearnScorer(LocalOutlierFactor()), ROWS, "'fit' and 'score_samples'"),
    "one row alone": (KDEScorer(), ROWS[:1], "KDEScorer: needs at least 2 training rows"),
    "one class": (ConfidenceScorer(), ROWS[:, :1], "logits of at least 2 classes; got n_features"),
    "too large": (
        GaussianScorer(),
        ROWS * 1e80,
        r"GaussianScorer: values of X must lie within \+-1e\+75.*Scale",
    ),
    "zero width": (KDEScorer(gamma=0.0), ROWS, "'gamma' parameter of KDEScorer"),
    "negative shrinkage": (Whitening(shrinkage=-0.1), ROWS, "'shrinkage' parameter of Whitening"),
    "class labels and clusters": (
        partial(GaussianScorer(2).fit, class_labels=np.zeros(30)),
        ROWS,
        "class_labels needs n_clusters=1; got n_clusters=2",
    ),
    "class labels of another number": (
        partial(GaussianScorer().fit, class_labels=np.zeros(29)),
        ROWS,
        r"inconsistent numbers of samples: \[30, 29\]",
    ),
}


@pytest.mark.parametrize("case", BAD_FOR_SCORERS)
def test_what_a_scorer_can_not_do_is_one_clear_error(case):
    scorer, rows, message = BAD_FOR_SCORERS[case]
    fit = getattr(scorer, "fit", scorer)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit(rows)
    if hasattr(scorer, "score_samples"):
        with pytest.raises(NotFittedError):
            scorer.score_samples(rows)


@pytest.mark.parametrize(
    "scorer", [KNNScorer(), GaussianScorer(), EnsembleScorer(), Whitening()], ids=str
)
def test_sparse_rows_and_mixed_types(scorer):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        scorer.fit(csr_array(ROWS))
    with pytest.raises(ValueError, match="could not convert string to float"):
        scorer.fit(np.array([[1.0, "one"], [2.0, "two"], [3.0, "three"]], dtype=object))
    with pytest.raises(ValueError, match="X contains NaN"):
        scorer.fit(np.where(np.eye(30, 6), np.nan, ROWS))
    mixed = pd.DataFrame(ROWS).astype({0: np.float32, 1: np.float16}).astype({2: object})
    mixed.columns = mixed.columns.map(str)
    apply = "transform" if isinstance(scorer, Whitening) else "score_samples"
    found = getattr(clone(scorer).fit(mixed), apply)(mixed)
    plain = mixed.to_numpy(dtype=np.float64)
    np.testing.assert_array_equal(found, getattr(clone(scorer).fit(plain), apply)(plain))


@pytest.mark.parametrize("scorer", [KNNScorer(), GaussianScorer()], ids=str)
def test_a_failed_partial_fit_leaves_the_scorer_as_it_was(scorer):
    scorer = clone(scorer).fit(ROWS)
    before, offset = scorer.score_samples(ROWS), scorer.offset_
    with pytest.raises(ValueError, match="X contains NaN"):
        scorer.partial_fit(np.full((3, 6), np.nan))
    with pytest.raises(ValueError, match="X has 5 features"):
        scorer.partial_fit(ROWS[:, :5])
    np.testing.assert_array_equal(scorer.score_samples(ROWS), before)
    assert scorer.offset_ == offset
