"""SCAN's clustering step: an image and its neighbours belong together, and clusters are even."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..adapters._heads import LinearHead, random_head
from ..adapters._scratch import ScratchAdapter
from ..augment import StrongAugmentation
from ..losses import scan_loss
from ..losses._rows import unit

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


class NeighborClustering(ClusteringAdapter):
    """Train a network and a head by SCAN's loss; parameters are those of :class:`~skad.SCAN`."""

    _selected_by = "selection"

    _parameter_constraints = {}  # noqa: RUF012 - SCAN has checked them

    def __init__(
        self,
        extractor=None,
        *,
        n_clusters=10,
        n_neighbors=20,
        entropy_weight=5.0,
        trainable="all",
        augmentation="strong",
        n_epochs=50,
        batch_size=128,
        learning_rate=1e-4,
        weight_decay=1e-4,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.entropy_weight = entropy_weight
        self.trainable = trainable
        self.augmentation = augmentation
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    n_steps = None

    def _prepare(self, run):
        # More than a cluster of even size holds cannot all be in it.
        n_others = max(1, len(run.images) // self.n_clusters - 1)
        run.neighbors = mine_neighbors(run, min(self.n_neighbors, n_others))
        run.head = random_head(run, self.n_clusters)
        run.augmentation = self._make_augmentation(run)
        run.partners = lambda step, places: draw_neighbors(run.neighbors, places, run.seed, step)
        run.selecting = np.random.RandomState(run.seed).permutation(len(run.images))[:N_SELECTING]

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
    random = np.random.RandomState(np.random.SeedSequence([seed, 2, step]).generate_state(4))
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
