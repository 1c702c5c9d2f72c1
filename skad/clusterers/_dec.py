"""DEC: codes of an autoencoder, drawn towards the centres of their clusters."""

from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans

from .._parameters import ABOVE_ZERO, AT_LEAST_TWO, POSITIVE, SHARE_BELOW_ONE, changed, parameter
from ..adapters import AutoencoderAdapter
from ..adapters._plans import from_scratch
from ..adapters._scratch import ScratchAdapter
from ..backbones import clad_large
from ..features import FeatureExtractor
from ..losses import dec_loss, sharpened_targets, soft_assignments
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    EpochParameters,
    MemoryLimitParameters,
    MomentumParameters,
    StepParameters,
    TrainingParameters,
)
from ..training._task import Task
from ._base import ClusterCountParameters, ImageClusterMixin

# How CLAD trains its autoencoder (code), but for the epochs.
AUTOENCODER = {"batch_size": 512, "learning_rate": 1e-3, "decay_at": 1.0, "weight_decay": 0.0}

# Starts of k-means (code).
N_STARTS = 20

# Rows whose distances to all centres are in memory together.
N_ROWS = 4096


class DEC(
    RandomParameters,
    MemoryLimitParameters,
    MomentumParameters,
    TrainingParameters,
    StepParameters,
    EpochParameters,
    ClusterCountParameters,
    ImageClusterMixin,
    ScratchAdapter,
):
    r"""Deep embedded clustering: train a network and centres on their own surest assignments.

    .. math::
        q_{ij} &\propto \bigl(1 + \lVert z_i - \mu_j \rVert^2 / \alpha\bigr)^{-(\alpha + 1) / 2},
        \qquad p_{ij} \propto q_{ij}^2 / \textstyle\sum_i q_{ij} \\
        L &= \frac1B \sum_i \sum_j p_{ij} \log \frac{p_{ij}}{q_{ij}}

    The codes z come from an autoencoder, and the centres :math:`\mu` from k-means; both are
    trained. The targets p are computed on all images, and updated from time to time. `transform`
    returns the codes.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image.
    cluster_centers_ : ndarray of float32, shape (n_clusters, n_features)
        The centres :math:`\mu`.

    See Also
    --------
    skad.CLAD : A detector with these clusters as classes.
    skad.SCAN : Clusters by neighbours, without an autoencoder.
    skad.metrics.clustering_accuracy : Compares clusters with known classes.

    References
    ----------
    Xie, Girshick, Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016. Park,
    Moon, Ahn, Sohn, "What Is Wrong with One-Class Anomaly Detection?", 2021 (CLAD).

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import DEC, AutoencoderAdapter, FeatureExtractor
    >>> from skad.backbones import clad_small
    >>> digits = load_digits().data[:100]
    >>> encoder = FeatureExtractor(partial(clad_small, image_size=8, code_dim=5), weights=None)
    >>> clusterer = DEC(AutoencoderAdapter(encoder, n_epochs=3), n_clusters=3, n_epochs=2)
    >>> clusterer.fit(digits).predict_proba(digits[:5]).shape
    (5, 3)
    """

    _warns_of_collapse = False

    n_clusters: int = changed(default=10, note="(CLAD.)")
    alpha: float = parameter(
        default=1.0, limits=[ABOVE_ZERO], text="Degrees of freedom :math:`\\alpha` (paper)."
    )
    update_interval: int = parameter(
        default=140,
        limits=[POSITIVE],
        text="Number of steps after which the targets are updated (DEC's code; CLAD's computes "
        "them for each batch by itself).",
    )
    tolerance: float = parameter(
        default=0.001,
        limits=[SHARE_BELOW_ONE],
        text="Training ends when at most this share of the images has changed cluster since the "
        "last update of the targets (paper).",
    )
    n_epochs: int = changed(default=100, note="Here the largest number of them (CLAD).")
    batch_size: int = changed(default=256, note="(Paper.)", limits=[AT_LEAST_TWO])
    learning_rate: float = changed(default=0.01, note="(Paper.)")
    momentum: float = changed(default=0.9, note="(Code.)")

    def _default_extractor(self):
        return AutoencoderAdapter(
            FeatureExtractor(clad_large, weights=None), n_epochs=100, **AUTOENCODER
        )

    def _plan(self, n_images, network):
        momentum = {"lr": self.learning_rate, "momentum": self.momentum}
        optimizer = partial(torch.optim.SGD, **momentum)
        return from_scratch(self, self._n_steps(n_images), make_optimizer=optimizer)

    def _task(self, start):
        return DECTask(start, self)

    _if_collapsed = "Train the autoencoder for longer, or lower learning_rate."

    def _learn(self, task, outcome):
        self.cluster_centers_ = task.clusters["centers"].detach().cpu().numpy().copy()
        self._alpha = self.alpha
        self._label(task.start)

    def _probabilities(self, features):
        centers = torch.from_numpy(self.cluster_centers_).double()
        parts = torch.from_numpy(features).double().split(N_ROWS)
        return torch.cat([soft_assignments(p, centers, self._alpha) for p in parts]).numpy()


class DECTask(Task):
    """Codes and centres, trained towards their sharpened assignments."""

    def __init__(self, start, settings):
        super().__init__(start)
        self.settings, codes = settings, start.features
        found = KMeans(settings.n_clusters, n_init=N_STARTS, random_state=start.seed)
        found.fit(codes.cpu().double().numpy())
        centers = torch.from_numpy(found.cluster_centers_).float().to(start.device)
        self.clusters = torch.nn.ParameterDict({"centers": centers})
        parts = codes.split(N_ROWS)
        assigned = [soft_assignments(p, centers, settings.alpha) for p in parts]
        assignments = torch.cat(assigned)
        self.register_buffer("targets", sharpened_targets(assignments))
        self.register_buffer("assigned", assignments.argmax(1))
        self.register_buffer("changed", centers.new_ones(()))

    def loss(self, step):
        """How far the assignments of a batch are from the targets."""
        indices = self.images.order(step)
        return dec_loss(self._assign(self.images.batch(step)), self.targets[indices])

    def _assign(self, codes):
        return soft_assignments(codes, self.clusters["centers"], self.settings.alpha)

    def after_step(self, step):
        """New targets from time to time; True when hardly an image changes its cluster."""
        if step % self.settings.update_interval:
            return False
        assignments = self._assign_all()
        assigned = assignments.argmax(1)
        self.changed.copy_((assigned != self.assigned).float().mean())
        self.assigned.copy_(assigned)
        self.targets.copy_(sharpened_targets(assignments))
        return float(self.changed) <= self.settings.tolerance

    def _assign_all(self):
        """Soft assignments of all images by the network as it stands."""
        self.network.eval()
        size = self.start.extractor.batch_size
        chunks = np.array_split(np.arange(len(self.images)), -(-len(self.images) // size))
        with torch.no_grad():
            # Copies, as the first layer of the trained part may work in place.
            hidden = (self.images.hidden(chunk).clone() for chunk in chunks)
            return torch.cat([self._assign(self.cut.trained_part(one)) for one in hidden])

    def measures(self):
        """The share of images that changed their cluster."""
        return {"changed": float(self.changed)}
