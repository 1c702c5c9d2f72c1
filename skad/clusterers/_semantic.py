"""SCAN's clustering step: an image and its neighbours belong together, and clusters are even."""

from numbers import Integral

import numpy as np
import torch
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
from ..adapters._plans import from_scratch, steps_of_epochs
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
from ..training._task import Task
from ._base import ClusterCountParameters

# Images, and neighbours of each, that tell which network is best.
N_SELECTING, N_SELECTING_NEIGHBORS = 512, 5


class ClusteringAdapter(LinearHead, ScratchAdapter):
    """What SCAN's two trainings share: a network, a linear head on it, and augmentation."""

    def _plan_of(self, n_epochs, n_images, batch_size, **others):
        # BatchNorm of a network that is trained in part stays as it was pretrained.
        whole = isinstance(self.trainable, str) and self.trainable == "all"
        return from_scratch(
            self,
            steps_of_epochs(n_epochs, n_images, batch_size, 2 if whole else 1),
            batch_size=batch_size,
            from_scratch=whole,
            augments=self.augmentation is not None,
            warns_of_collapse=False,
            **others,
        )

    def _make_augmentation(self, start):
        if self.augmentation != "strong":
            return self.augmentation
        preprocessing = start.fitted.preprocessing
        fill = tuple(preprocessing.mean) if preprocessing.contrast_range is None else 0.5
        return StrongAugmentation(preprocessing.image_size, fill=fill)

    def _learn(self, task, outcome):
        self._keep_head(task.head)


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
        default=10, note="The K above. (The deep clustering paper has 10 for all image sets.)"
    )
    n_neighbors: int = changed(
        default=20,
        note="In each step an image shares its cluster with one of them, or itself (code). They "
        "are nearest by the cosine of the output of SimCLR's projector, or of the features if "
        "there is none. Their number is at most that of other images in a cluster of even "
        "size.",
    )
    entropy_weight: float = parameter(
        default=5.0,
        limits=[NOT_NEGATIVE],
        text="Weight :math:`\\lambda` of clusters of even size (code).",
    )
    augmentation: object = changed(
        default="strong",
        limits=[StrOptions({"strong"}), callable],
        note='Here of neighbours and self-labelled images. "strong" is '
        ":class:`~skad.augment.StrongAugmentation` (code).",
    )
    n_epochs: int = changed(default=50, note="Here those with SCAN's loss (code).")
    batch_size: int = changed(
        default=128, note="Here pairs, with SCAN's loss (code).", limits=[AT_LEAST_TWO]
    )
    learning_rate: float = changed(default=1e-4, note="Here for Adam (code).")
    weight_decay: float = changed(default=1e-4, note="The same in all trainings (code).")


class SelfLabellingParameters(ParameterGroup):
    """Sure images as labelled ones."""

    threshold: float = parameter(
        default=0.99,
        limits=[SHARE_BELOW_ONE],
        text="Probability above which an image is labelled by its most probable cluster (code).",
    )
    n_self_labelling_epochs: int = parameter(
        default=200,
        limits=[Interval(Integral, 0, None, closed="left")],
        text="Passes over the images in self-labelling (code); 0 skips it.",
    )
    self_labelling_batch_size: int = parameter(
        default=1000,
        limits=[AT_LEAST_TWO],
        text="Images of one step of self-labelling (code). Steps without a sure image are skipped.",
    )


class TrainedHeadParameters(MemoryLimitParameters, AugmentationParameters, StageParameters):
    """A network, or its head alone."""

    trainable: object = changed(
        default="all",
        note='"all" also trains BatchNorm (code, for small images). "head" trains nothing but the '
        "head (code for ImageNet; for pretrained networks).",
    )
    augmentation: object = changed(
        default="strong",
        limits=[StrOptions({"strong"}), callable, None],
        note='Here of neighbours and self-labelled images. "strong" is '
        ":class:`~skad.augment.StrongAugmentation` (code). None leaves images as they are; "
        'with ``trainable="head"`` training then takes seconds.',
    )


class NeighborClustering(
    RandomParameters, TrainedHeadParameters, SemanticParameters, ClusteringAdapter
):
    """Train a network and a head by SCAN's loss; parameters are those of :class:`~skad.SCAN`."""

    def _plan(self, n_images, network):
        return self._plan_of(self.n_epochs, n_images, self.batch_size, selected_by="selection")

    def _task(self, start):
        return NeighborTask(start, self, self._make_augmentation(start))


class NeighborTask(Task):
    """An image and a neighbour in one cluster, clusters of even size.

    Parameters
    ----------
    start : Start
    settings : NeighborClustering
        Its parameters.
    augmentation : callable or None
    """

    def __init__(self, start, settings, augmentation):
        super().__init__(start)
        self.settings, self.augmentation = settings, augmentation
        # More than a cluster of even size holds cannot all be in it.
        n_others = max(1, len(start.images) // settings.n_clusters - 1)
        self.neighbors = mine_neighbors(start, min(settings.n_neighbors, n_others))
        self.head = random_head(start, settings.n_clusters)
        order = numpy_stream(start.seed, "selected").permutation(len(start.images))
        self.selecting = order[:N_SELECTING]

    def _partners(self, step, indices):
        return draw_neighbors(self.neighbors, indices, self.start.seed, step)

    def loss(self, step):
        """SCAN's loss of images and one of their neighbours each."""
        if self.augmentation is None:
            hidden = self.images.paired_hidden(step, self._partners)
            both = self.cut.trained_part(hidden).chunk(2)
        else:
            with self.full_precision():
                views = self.images.paired_views(step, self.augmentation, self._partners)
            # One after the other, as BatchNorm sees them in the official code.
            both = [self.features(view) for view in views.chunk(2)]
        with self.full_precision():
            logits = [self.head(features.float()) for features in both]
            return scan_loss(*logits, self.settings.entropy_weight)

    def measures(self):
        """SCAN's loss of images as they are, which says what network to end with."""
        near = self.neighbors[self.selecting][:, 1 : 1 + N_SELECTING_NEIGHBORS]
        indices, inverse = np.unique(np.column_stack([self.selecting, near]), return_inverse=True)
        inverse = torch.from_numpy(inverse.reshape(len(near), -1)).to(self.start.device)
        logits = self._eval_logits(indices)[inverse]
        first = logits[:, :1].expand_as(logits[:, 1:]).flatten(0, 1)
        consistency = float(scan_loss(first, logits[:, 1:].flatten(0, 1), 0.0))
        shares = logits[:, 0].softmax(1).mean(0).clamp(min=1e-8)
        entropy = float(-(shares * shares.log()).sum())
        # The entropy counts once here, as in the official code's selection.
        selection = consistency - entropy
        return {"consistency": consistency, "entropy": entropy, "selection": selection}

    def _eval_logits(self, indices):
        """Logits of the images at these indices, as they are, by the network in evaluation mode."""
        self.network.eval()
        chunks = np.array_split(indices, -(-len(indices) // self.start.extractor.batch_size))
        with torch.no_grad():
            # Copies, as the first layer of the trained part may work in place.
            hidden = (self.images.hidden(chunk).clone() for chunk in chunks)
            return self.head(torch.cat([self.cut.trained_part(one) for one in hidden]))


def mine_neighbors(start, n_neighbors):
    """Places of the nearest images of each, the image itself first, ndarray (n, 1 + n_neighbors).

    They are near by the cosine of what the projector gives that the network was trained with, if
    there is one, else of the features (official code).
    """
    rows, projector = start.features, getattr(start.inner, "projector_", None)
    with torch.no_grad():
        if projector is not None and next(projector.parameters()).shape[1] == rows.shape[1]:
            rows = projector((unit(rows) if start.inner._normalize else rows).cpu())
        rows = unit(rows).cpu().numpy()
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(rows)
    near = search.kneighbors(return_distance=False)
    return np.column_stack([np.arange(len(rows)), near])


def draw_neighbors(neighbors, indices, seed, step):
    """One of the neighbours of each image, or itself, at random."""
    random = numpy_stream(seed, "neighbors", step)
    return neighbors[indices, random.randint(neighbors.shape[1], size=len(indices))]
