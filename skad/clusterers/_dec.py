"""DEC: codes of an autoencoder, drawn towards the centres of their clusters."""

import os
from numbers import Integral, Real

import numpy as np
from sklearn.cluster import KMeans

from .._compat import HasMethods, Interval
from ..adapters import AutoencoderAdapter
from ..adapters._base import NOT_NEGATIVE, BaseAdapter
from ..adapters._scratch import ScratchAdapter
from ..backbones import clad_large
from ..features import FeatureExtractor
from ..losses import dec_loss, sharpened_targets, soft_assignments
from ._base import ImageClusterMixin

# Starts of k-means (code).
N_STARTS = 20

# Rows whose distances to all centres are in memory together.
N_ROWS = 4096


class DEC(ImageClusterMixin, ScratchAdapter):
    r"""Deep embedded clustering: network and centres learn from their own surest assignments.

    .. math::
        q_{ij} &\propto \bigl(1 + \lVert z_i - \mu_j \rVert^2 / \alpha\bigr)^{-(\alpha + 1) / 2},
        \qquad p_{ij} \propto q_{ij}^2 / \textstyle\sum_i q_{ij} \\
        L &= \frac1B \sum_i \sum_j p_{ij} \log \frac{p_{ij}}{q_{ij}}

    Codes z of an autoencoder, centres :math:`\mu` from k-means; both are trained. The targets p are
    computed on all images, and anew from time to time. `transform` gives the codes.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the codes; a copy is fitted and trained whole. By default CLAD's autoencoder,
        ``AutoencoderAdapter(FeatureExtractor(skad.backbones.clad_large, weights=None),
        n_epochs=100, batch_size=512, learning_rate=1e-3, decay_at=1.0, weight_decay=0.0)``.
    n_clusters : int, default=10
        (CLAD.)
    alpha : float, default=1.0
        :math:`\alpha`, degrees of freedom (paper).
    update_interval : int, default=140
        Steps after which the targets are computed anew (DEC's code; CLAD's computes them for each
        batch by itself).
    tolerance : float in [0, 1), default=0.001
        Training ends when no more than this share of the images has changed its cluster since the
        targets were last computed (paper).
    n_epochs : int, default=100
        Most passes over the images (CLAD).
    n_steps : int, optional
        Most steps of the optimiser instead.
    batch_size : int, default=256
        Images in a step (paper).
    learning_rate : float, default=0.01
        Of stochastic gradient descent (paper).
    momentum : float in [0, 1), default=0.9
        (Code.)
    memory_limit : float, default=2048
        Most MiB for prepared images; those beyond are prepared anew in each epoch.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides where k-means starts and the order of the images.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_images,)
        Cluster of each training image.
    cluster_centers_ : ndarray of float32, shape (n_clusters, n_features)
        The centres :math:`\mu`.
    extractor_ : FeatureExtractor
        Fitted, with the trained network.
    network_ : torch.nn.Module
        The trained network, in evaluation mode.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training; see :class:`~skad.CompactnessAdapter`. "changed" is the
        share of images that changed its cluster when the targets were last computed.
    stopped_at_ : int
        Steps that the network was trained.
    collapsed_at_ : None
        Collapse of features is not looked for: they are to draw together.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.CLAD : Detector with these clusters as classes.
    skad.SCAN : Clusters of images that look alike to a network without an autoencoder.
    skad.metrics.clustering_accuracy : Where classes are known.

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

    _parameter_constraints = {  # noqa: RUF012
        "extractor": [HasMethods(["fit", "transform"]), None],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "update_interval": [Interval(Integral, 1, None, closed="left")],
        "tolerance": [Interval(Real, 0, 1, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "memory_limit": [NOT_NEGATIVE],
        "checkpoint": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    collapse_limit, stop_at_collapse, weight_decay = 0.0, False, 0.0

    def __init__(
        self,
        extractor=None,
        *,
        n_clusters=10,
        alpha=1.0,
        update_interval=140,
        tolerance=0.001,
        n_epochs=100,
        n_steps=None,
        batch_size=256,
        learning_rate=0.01,
        momentum=0.9,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.n_clusters = n_clusters
        self.alpha = alpha
        self.update_interval = update_interval
        self.tolerance = tolerance
        self.n_epochs = n_epochs
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def _default_extractor(self):
        return AutoencoderAdapter(
            FeatureExtractor(clad_large, weights=None),
            n_epochs=100,
            batch_size=512,
            learning_rate=1e-3,
            decay_at=1.0,
            weight_decay=0.0,
        )

    _make_optimizer = BaseAdapter._make_optimizer

    def _prepare(self, run):
        import torch

        codes = run.first_features
        found = KMeans(self.n_clusters, n_init=N_STARTS, random_state=run.seed)
        found.fit(codes.cpu().double().numpy())
        centers = torch.from_numpy(found.cluster_centers_).float().to(run.device)
        run.centers = run.parameters["skad_centers"] = torch.nn.Parameter(centers)
        parts = codes.split(N_ROWS)
        assignments = torch.cat([soft_assignments(p, centers, self.alpha) for p in parts])
        # What a run that was broken off goes on with.
        run.targets = run.buffers["skad_targets"] = sharpened_targets(assignments)
        run.assigned = run.buffers["skad_assigned"] = assignments.argmax(1)
        run.changed = run.buffers["skad_changed"] = centers.new_ones(())

    def _loss(self, run, step):
        places = run.images.order(step)
        assignments = soft_assignments(run.images.batch(step), run.centers, self.alpha)
        return dec_loss(assignments, run.targets[places])

    def _after_step(self, run, step):
        if step % self.update_interval:
            return False
        assignments = self._assign_all(run)
        assigned = assignments.argmax(1)
        run.changed.copy_((assigned != run.assigned).float().mean())
        run.assigned.copy_(assigned)
        run.targets.copy_(sharpened_targets(assignments))
        return float(run.changed) <= self.tolerance

    def _assign_all(self, run):
        """Soft assignments of all images by the network as it stands."""
        import torch

        run.extractor.network_.eval()
        size = run.extractor.batch_size
        chunks = np.array_split(np.arange(len(run.images)), -(-len(run.images) // size))
        with torch.no_grad():
            # Copies, as the first layer of the trained part may work in place.
            codes = (run.cut.trained_part(run.images.hidden(chunk).clone()) for chunk in chunks)
            return torch.cat([soft_assignments(c, run.centers, self.alpha) for c in codes])

    def _measure(self, run):
        return {"changed": float(run.changed)}

    _if_collapsed = "Train the autoencoder for longer, or lower learning_rate."

    def _learned(self, run):
        self.cluster_centers_ = run.centers.detach().cpu().numpy().copy()
        self._label(run)

    def _probabilities(self, features):
        import torch

        centers = torch.from_numpy(self.cluster_centers_).double()
        parts = torch.from_numpy(features).double().split(N_ROWS)
        return torch.cat([soft_assignments(p, centers, self.alpha) for p in parts]).numpy()
