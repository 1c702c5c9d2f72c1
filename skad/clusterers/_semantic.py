"""SCAN's clustering step: an image and its neighbours belong together, and clusters are even."""

from numbers import Integral

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .._compat import Interval, StrOptions
from .._parameters import (
    AT_LEAST_TWO,
    NOT_NEGATIVE,
    SHARE_BELOW_ONE,
    ParameterGroup,
    changed,
    parameter,
)
from .._random import numpy_stream
from ..adapters._heads import LinearHead, random_head
from ..adapters._scratch import ScratchAdapter
from ..augment import StrongAugmentation
from ..losses import scan_loss
from ..losses._rows import unit
from ..networks._parameters import RandomParameters
from ..scorers._parameters import CountParameters
from ..training._parameters import (
    AugmentationParameters,
    DecayParameters,
    EpochParameters,
    MemoryLimitParameters,
    StageParameters,
    TrainingParameters,
)
from ._base import ClusterCountParameters

# Images, and neighbours of each, that tell which network is best.
N_SELECTING, N_SELECTING_NEIGHBORS = 512, 5


class ClusteringAdapter(LinearHead, ScratchAdapter):
    """What SCAN's two trainings share: a network, a linear head on it, and augmentation."""

    _may_train_head_alone = True
    _warns_of_collapse = False
    collapse_limit, stop_at_collapse = 0.0, False

    @property
    def _from_scratch(self):
        # BatchNorm of a network that is trained in part stays as it was pretrained.
        return isinstance(self.trainable, str) and self.trainable == "all"

    @property
    def _augments(self):
        return self.augmentation is not None

    def _make_augmentation(self, run):
        if self.augmentation != "strong":
            return self.augmentation
        made = run.extractor.preprocessing_
        fill = tuple(made.mean) if made.contrast_range is None else 0.5
        return StrongAugmentation(made.image_size, fill=fill)

    def _learned(self, run):
        self._keep_head(run.head)


class SemanticParameters(
    DecayParameters,
    TrainingParameters,
    EpochParameters,
    AugmentationParameters,
    CountParameters,
    ClusterCountParameters,
):
    """An image and its neighbours in one cluster."""

    n_clusters: int = changed(
        default=10, note="K. (The deep clustering paper has 10 for all image sets.)"
    )
    n_neighbors: int = changed(
        default=20,
        note="One of those of an image, or itself, is to share its cluster (code). They are near "
        "by the cosine of the output of SimCLR's projector, or of the features if there is "
        "none. There are no more of them than other images in a cluster of even size.",
    )
    entropy_weight: float = parameter(
        default=5.0,
        limits=[NOT_NEGATIVE],
        text=r":math:`\lambda`, what the evenness of clusters counts (code).",
    )
    augmentation: object = changed(
        default="strong",
        limits=[StrOptions({"strong"}), callable],
        note='Of neighbours and self-labelled images; "strong" is '
        ":class:`~skad.augment.StrongAugmentation` (code).",
    )
    n_epochs: int = changed(default=50, note="With SCAN's loss (code).")
    batch_size: int = changed(
        default=128, note="Pairs, with SCAN's loss (code).", limits=[AT_LEAST_TWO]
    )
    learning_rate: float = changed(default=1e-4, note="Adam (code).")
    weight_decay: float = changed(default=1e-4, note="In all trainings (code).")


class SelfLabellingParameters(ParameterGroup):
    """Sure images as labelled ones."""

    threshold: float = parameter(
        default=0.99,
        limits=[SHARE_BELOW_ONE],
        text="Probability from which an image is labelled by its likeliest cluster (code).",
    )
    n_self_labelling_epochs: int = parameter(
        default=200,
        limits=[Interval(Integral, 0, None, closed="left")],
        text="Passes over the images (code); 0 leaves self-labelling out.",
    )
    self_labelling_batch_size: int = parameter(
        default=1000,
        limits=[AT_LEAST_TWO],
        text="Images in a step of it (code). Steps without a sure image are left out.",
    )


class TrainedHeadParameters(MemoryLimitParameters, AugmentationParameters, StageParameters):
    """A network, or its head alone."""

    trainable: object = changed(
        default="all",
        note='"all" trains BatchNorm as well (code, for small images); "head" nothing but the '
        "head (code, for ImageNet; for pretrained networks).",
    )
    augmentation: object = changed(
        default="strong",
        limits=[StrOptions({"strong"}), callable, None],
        note='Of neighbours and self-labelled images; "strong" is '
        ":class:`~skad.augment.StrongAugmentation` (code); with None images are as they are, "
        'and with ``trainable="head"`` that takes seconds.',
    )


class NeighborClustering(
    RandomParameters, TrainedHeadParameters, SemanticParameters, ClusteringAdapter
):
    """Train a network and a head by SCAN's loss; parameters are those of :class:`~skad.SCAN`."""

    _selected_by = "selection"

    n_steps = None

    def _prepare(self, run):
        # More than a cluster of even size holds cannot all be in it.
        n_others = max(1, len(run.images) // self.n_clusters - 1)
        run.neighbors = mine_neighbors(run, min(self.n_neighbors, n_others))
        run.head = random_head(run, self.n_clusters)
        run.augmentation = self._make_augmentation(run)
        run.partners = lambda step, places: draw_neighbors(run.neighbors, places, run.seed, step)
        order = numpy_stream(run.seed, "selected").permutation(len(run.images))
        run.selecting = order[:N_SELECTING]

    def _loss(self, run, step):
        if run.augmentation is None:
            both = run.cut.trained_part(run.images.paired_hidden(step, run.partners)).chunk(2)
        else:
            with run.in_full_precision():
                views = run.images.paired_views(step, run.augmentation, run.partners)
            # One after the other, as BatchNorm sees them in the official code.
            both = [run.features(view) for view in views.chunk(2)]
        with run.in_full_precision():
            logits = [run.head(features.float()) for features in both]
            return scan_loss(*logits, self.entropy_weight)

    def _measure(self, run):
        """SCAN's loss of images as they are, which says what network to end with."""
        import torch

        near = run.neighbors[run.selecting][:, 1 : 1 + N_SELECTING_NEIGHBORS]
        places, inverse = np.unique(np.column_stack([run.selecting, near]), return_inverse=True)
        inverse = inverse.reshape(len(near), -1)
        logits = eval_logits(run, places)[torch.from_numpy(inverse).to(run.device)]
        first = logits[:, :1].expand_as(logits[:, 1:]).flatten(0, 1)
        consistency = float(scan_loss(first, logits[:, 1:].flatten(0, 1), 0.0))
        shares = logits[:, 0].softmax(1).mean(0).clamp(min=1e-8)
        entropy = float(-(shares * shares.log()).sum())
        # The entropy counts once here, as in the official code's selection.
        selection = consistency - entropy
        return {"consistency": consistency, "entropy": entropy, "selection": selection}


def mine_neighbors(run, n_neighbors):
    """Places of the nearest images of each, the image itself first, ndarray (n, 1 + n_neighbors).

    They are near by the cosine of what the projector gives that the network was trained with, if
    there is one, else of the features (official code).
    """
    import torch

    rows, projector = run.first_features, getattr(run.inner, "projector_", None)
    with torch.no_grad():
        if projector is not None and next(projector.parameters()).shape[1] == rows.shape[1]:
            rows = projector((unit(rows) if run.inner.normalize else rows).cpu())
        rows = unit(rows).cpu().numpy()
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(rows)
    near = search.kneighbors(return_distance=False)
    return np.column_stack([np.arange(len(rows)), near])


def draw_neighbors(neighbors, places, seed, step):
    """One of the neighbours of each image, or itself, at random."""
    random = numpy_stream(seed, "neighbors", step)
    return neighbors[places, random.randint(neighbors.shape[1], size=len(places))]


def eval_logits(run, places):
    """Logits of the images at these places, as they are, by the network in evaluation mode."""
    import torch

    run.extractor.network_.eval()
    chunks = np.array_split(places, -(-len(places) // run.extractor.batch_size))
    with torch.no_grad():
        # Copies, as the first layer of the trained part may work in place.
        parts = [run.cut.trained_part(run.images.hidden(chunk).clone()) for chunk in chunks]
        return run.head(torch.cat(parts))
