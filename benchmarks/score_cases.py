"""Estimators whose scores ``benchmarks/scores.py`` keeps, each with what it is fitted to.

Every estimator of ``tests/instances.py``, and those settings of them that take other paths. Images
are scikit-learn's: handwritten digits, and its two photographs cut into tiles.
"""

from collections import namedtuple
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits, load_sample_images
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skad import (
    CLAD,
    DEC,
    DN2,
    MSC,
    NSA,
    PANDA,
    PANDAOE,
    SCAN,
    SPADE,
    AutoencoderAdapter,
    CentroidScorer,
    CompactnessAdapter,
    ConfidenceScorer,
    ConformalDetector,
    DeepClustering,
    DeepSVDD,
    DeepSVDDAdapter,
    FeatureExtractor,
    JointOptimization,
    JointOptimizationAdapter,
    KNNScorer,
    MeanShiftedContrastive,
    OutlierExposureAdapter,
    PseudoLabelAdapter,
    RotationAdapter,
    RotationPrediction,
    SCANFeatures,
    SelfSupervisedAdapter,
    VICRegAdapter,
)
from tests.instances import CODER, CODER_WITH_POOLS, HEADS, INSTANCES, SMALL, SMALLEST, TWO

Images = namedtuple("Images", ["train", "new", "others"])


class Case:
    """An estimator, what it is fitted to, and what it is asked about.

    Parameters
    ----------
    images : {"digits", "tiles"}
    estimator : estimator
    remark : str
        What its parameters do not say.
    **auxiliary : images and labels
        Keywords of `fit`.
    """

    def __init__(self, images, estimator, remark="", **auxiliary):
        self.images, self.estimator, self.remark = images, estimator, remark
        self.train, self.new, _ = IMAGES[images]()
        self.auxiliary = auxiliary

    def fit(self):
        """The estimator, fitted."""
        return clone(self.estimator).fit(self.train, **self.auxiliary)


class BrokenOff(Case):
    """A training that is interrupted at a look along it, and goes on from its checkpoint."""

    def fit(self):
        """The estimator, fitted in two goes."""
        with TemporaryDirectory() as folder:
            estimator = clone(self.estimator).set_params(checkpoint=folder)
            try:
                clone(estimator).set_params(monitor=Interruption(3)).fit(self.train)
            except KeyboardInterrupt:
                return estimator.fit(self.train)
        raise RuntimeError("the training was not interrupted")


class Interruption:
    """A monitor that breaks a training off at one of its looks."""

    def __init__(self, at):
        self.at, self.looks = at, 0

    def __call__(self, extractor):
        self.looks += 1
        if self.looks == self.at:
            raise KeyboardInterrupt
        return {}


def digits():
    """Rows of zeros; zeros and others; ones."""
    rows, labels = load_digits(return_X_y=True)
    zeros = rows[labels == 0]
    new = np.concatenate([zeros[60:70], rows[labels > 1][:10]])
    return Images(zeros[:60], new, rows[labels == 1][:30])


def tiles(n_each=24, side=48):
    """Tiles of a temple; tiles of both photographs; tiles of a flower."""
    found = []
    for photo in load_sample_images().images:
        rows, columns = photo.shape[0] // side, photo.shape[1] // side
        grid = photo[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
        grid = grid.swapaxes(1, 2).reshape(-1, side, side, 3)
        found.append(grid[np.linspace(0, len(grid) - 1, n_each).astype(int)])
    temple, flower = found
    return Images(temple[::2], np.concatenate([temple[1::2], flower[::2]]), flower[1::2])


IMAGES = {"digits": digits, "tiles": tiles}


def frozen():
    """Networks that are not trained, and score maps."""
    yield DN2()
    yield DN2(layers=["layer2", "layer3"], resize="crop", metric="mahalanobis", batch_size=5)
    yield DN2(precision="bfloat16", n_neighbors=1, aggregation="mean", n_centroids=3)
    yield DN2(**SMALLEST, metric="angle", aggregation="kth")
    yield FeatureExtractor(**SMALL, layers=["layer2"], flattened_layers=["layer4"])
    yield FeatureExtractor(**CODER, contrast_normalization=True)
    yield FeatureExtractor(mean=0.5, std=0.2, image_size=40)
    yield ConformalDetector(DN2(image_size=32), false_alarm_rate=0.3, method="cross", n_folds=3)
    few = {"n_neighbors": 4, "n_threshold_images": 4}
    yield SPADE(**few)
    yield SPADE(**few, fusion="per_layer", n_neighbor_pixels=3, resize="crop")
    yield SPADE(**few, image_size=32, image_score="map", mask_false_alarm_rate=0.3)
    yield SPADE(**few, image_size=32, n_centroids=5, image_score="map", smoothing=0)
    yield SPADE(**few, image_size=32, n_centroids=5, centroids_of="each", metric="cosine")
    yield SPADE(**few, image_size=32, memory_limit=0)
    yield SPADE(**few, image_size=32, adapter=MeanShiftedContrastive(n_steps=2))


def adapted():
    """Pretrained networks that are trained further."""
    for stopping in ("early", "sample_wise", "elastic", "l2_sp"):
        for loss in ("squared", "angular"):
            settings = {"stopping": stopping, "loss": loss, "n_steps": 4, "batch_size": 5}
            yield CompactnessAdapter(FeatureExtractor(**SMALL), **settings)
            yield PANDA(image_size=32, **settings)
    yield PANDA(**SMALL, n_steps=6, memory_limit=0, trainable="all", clip_norm=None)
    yield PANDA(**SMALL, n_steps=6, learning_rate=10.0, collapse_limit=0.99, stop_at_collapse=True)
    for weight in (0.0, 1.0):
        for code_compatible in (False, True):
            how = {"angular_weight": weight, "code_compatible": code_compatible, "n_steps": 3}
            yield MeanShiftedContrastive(FeatureExtractor(**SMALL), **how, learning_rate=0.1)
    yield MeanShiftedContrastive(FeatureExtractor(**SMALL), mean_shift=False, n_steps=3)
    yield VICRegAdapter(FeatureExtractor(**SMALL), n_steps=3)
    yield MSC(image_size=32, n_epochs=2, batch_size=8, learning_rate=1e-3, trainable="last")
    yield MSC(image_size=32, n_steps=2, precision="bfloat16", n_centroids=2, metric="euclidean")


def clustered():
    """Clusters, and networks that are trained to tell them."""
    common = {"n_epochs": 3, "batch_size": 5, "learning_rate": 1e-3}
    for averaged_epochs in ("all", "last", [2, 3]):
        for first_head in ("random", "discriminant"):
            how = {"averaged_epochs": averaged_epochs, "first_head": first_head, **common}
            yield PseudoLabelAdapter(FeatureExtractor(**SMALL), TWO, **how)
    for output in ("logits", "odin"):
        yield PseudoLabelAdapter(FeatureExtractor(**SMALL), TWO, output=output, **common)
    for trainable in ("head", "last"):
        how = {"trainable": trainable, "augmentation": None, **common}
        yield PseudoLabelAdapter(FeatureExtractor(**SMALL), TWO, **how)
    features = make_pipeline(FeatureExtractor(**SMALL), Normalizer(), clone(TWO))
    for scorer in ("knn", "mahalanobis", "confidence"):
        yield DeepClustering(**SMALL, clusterer=features, scorer=scorer, **common)
    coder = AutoencoderAdapter(FeatureExtractor(CODER_WITH_POOLS, weights=None), n_steps=4)
    yield DEC(coder, n_clusters=2, n_steps=8, update_interval=3, batch_size=7)
    scan = {"n_clusters": 2, "n_neighbors": 3, "n_epochs": 3, "learning_rate": 1e-2}
    for n_epochs in (0, 2):
        labels = {"n_self_labelling_epochs": n_epochs, "threshold": 0.3}
        yield SCAN(FeatureExtractor(**SMALL), **scan, **labels)
    contrasted = SelfSupervisedAdapter(
        FeatureExtractor(**SMALLEST), objective="simclr", n_steps=2, **HEADS
    )
    yield SCAN(contrasted, **scan, n_self_labelling_epochs=1, threshold=0.3, trainable="last")
    yield SCANFeatures(
        **SMALLEST,
        **scan,
        n_representation_epochs=2,
        n_self_labelling_epochs=1,
        threshold=0.3,
        projector_widths=[8, 8],
    )
    epochs = {"n_autoencoder_epochs": 2, "n_clustering_epochs": 2, "n_epochs": 2}
    yield CLAD(SMALLEST["backbone"], CODER_WITH_POOLS, n_clusters=2, batch_size=9, **epochs)


def from_scratch():
    """Networks that are trained from random weights."""
    short = {"n_steps": 4, "batch_size": 12, "learning_rate": 1e-2}
    for objective in ("simsiam", "simclr", "byol"):
        for normalize in (True, False):
            how = {"objective": objective, "normalize": normalize, **short, **HEADS}
            yield SelfSupervisedAdapter(FeatureExtractor(**SMALLEST), **how)
    turned = {"objective": "simclr", "negatives": "rotation", **short, **HEADS}
    yield SelfSupervisedAdapter(FeatureExtractor(**SMALLEST), **turned)
    for scorer in ("k_cos", "k_cos_mah", "c_cos", "c_cos_mah", "gde", "ensemble", "sum"):
        yield NSA(**SMALLEST, **short, **HEADS, scorer=scorer)
    yield NSA(**SMALLEST, **short, **HEADS, precision="bfloat16")
    coder = AutoencoderAdapter(FeatureExtractor(**CODER), **short)
    for objective in ("one_class", "soft_boundary"):
        how = {"objective": objective, "n_epochs": 4, "warm_up_epochs": 1, "batch_size": 10}
        yield DeepSVDDAdapter(coder, **how)
        yield DeepSVDD(**CODER, **how, n_pretraining_epochs=2)
        yield DeepSVDD(**CODER, **how, n_pretraining_epochs=0, contrast_normalization=False)
    yield CompactnessAdapter(DeepSVDDAdapter(coder, n_epochs=2), n_steps=3, trainable="all")
    for output in ("score", "features"):
        yield RotationAdapter(FeatureExtractor(**SMALLEST), output=output, **short)
    yield RotationPrediction(**SMALLEST, **short)


def with_others():
    """Estimators that see further images, by the keywords of `fit`."""
    for images in IMAGES:
        train, _, others = IMAGES[images]()
        outliers = {"X_outliers": others}
        yield Case(images, PANDAOE(image_size=32, n_steps=4, batch_size=5), **outliers)
        for output in ("logit", "features"):
            adapter = OutlierExposureAdapter(FeatureExtractor(**SMALL), output=output, n_steps=4)
            yield Case(images, adapter, **outliers)
        source = {"X_source": others, "y_source": np.arange(len(others)) % 3}
        short = {"n_steps": 4, "batch_size": 5}
        for head in ("pretrained", "new"):
            how = {"source_head": head, **short}
            yield Case(images, JointOptimization(**SMALL, **how), **source)
            yield Case(images, PANDA(**SMALL, stopping="elastic", **how), ", source", **source)
        adapter = JointOptimizationAdapter(FeatureExtractor(**SMALL), source_head="new", **short)
        yield Case(images, adapter, **source)
        classes = {"class_labels": np.arange(len(train)) % 2}
        adapter = PseudoLabelAdapter(FeatureExtractor(**SMALL), n_epochs=2)
        yield Case(images, adapter, ", class_labels", **classes)
        labels = {"y": np.where(np.arange(len(train)) % 5, 1, -1)}
        yield Case(images, MSC(**SMALL, n_steps=2), ", y", **labels)


def broken_off():
    """Trainings that go on from a checkpoint."""
    short = {"n_steps": 24, "batch_size": 12, **HEADS}
    for images in IMAGES:
        yield BrokenOff(images, NSA(**SMALLEST, **short), ", broken off")
        adapter = SelfSupervisedAdapter(FeatureExtractor(**SMALLEST), objective="byol", **short)
        yield BrokenOff(images, adapter, ", broken off")


def composed():
    """Compositions by hand."""
    yield make_pipeline(
        CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=3), KNNScorer(metric="euclidean")
    )
    contrast = MeanShiftedContrastive(FeatureExtractor(**SMALL), n_steps=2)
    yield make_pipeline(CompactnessAdapter(contrast, n_steps=2), CentroidScorer())
    told = PseudoLabelAdapter(FeatureExtractor(**SMALL), TWO, n_epochs=1, output="logits")
    yield make_pipeline(told, ConfidenceScorer())


def cases():
    """All cases, one after another."""
    for estimator in INSTANCES:
        yield Case("digits", estimator)
    for make in (frozen, adapted, clustered, from_scratch, composed):
        for estimator in make():
            for images in IMAGES:
                yield Case(images, estimator)
    yield from with_others()
    yield from broken_off()
