"""Start: what a training begins with."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import torch

from .._random import numpy_stream, torch_seed
from ..networks._compiled import compiled
from ..networks._cut import HEAD, CutNetwork, FrozenNetwork
from ._images import TrainingImages


class Start:
    """What a training begins with: a fitted network, cut before what is trained, and images.

    A context; when it is left, nothing is read ahead any more and nothing needs a gradient.

    Parameters
    ----------
    owner : str
        Named in errors.
    inner : FeatureExtractor or adapter
        Fitted; its network is trained.
    source : ImageSource
        Images, already validated.
    plan : Plan
    seed : int
    n_held_out : int
        Images that are not trained with.

    Attributes
    ----------
    held_out : ndarray of int
        Their places, drawn at random.
    extractor : FeatureExtractor
        With the network in training.
    fitted : FittedNetwork
        Its.
    cut : CutNetwork or FrozenNetwork
    images : TrainingImages
    features : tensor of shape (n_images, n_features)
        Those before training.
    device : torch.device
    """

    def __init__(self, owner, inner, source, plan, seed, n_held_out=0):
        self.owner, self.inner, self.source, self.plan, self.seed = owner, inner, source, plan, seed
        order = numpy_stream(seed, "held out").permutation(len(source))
        self.held_out = np.sort(order[:n_held_out])
        self.extractor = getattr(inner, "extractor_", inner)
        self.fitted = self.extractor.fitted_network_
        views = self.fitted.views
        if views.n_tiles > 1:
            raise ValueError(
                f"{owner}: a network is trained on whole pictures, not on tiles={views.tiles}. "
                "Train it with tiles=None at the size of a tile, and give it to a detector with "
                "tiles as weights, or leave the adapter out."
            )
        self.device, self.opened = self.fitted.device, []
        self._reader, self._made_faster = ThreadPoolExecutor(1), ExitStack()

    def __enter__(self):
        self.fitted.in_training = True
        if isinstance(self.plan.trainable, str) and self.plan.trainable == HEAD:
            self.cut = FrozenNetwork(self.fitted)
        else:
            self.cut = CutNetwork(self.fitted, self.plan.trainable, self.owner)
            if not self.plan.from_scratch:  # BatchNorm stays as it is
                self._made_faster.enter_context(self.cut.folded())
            modules = self.cut.trained_modules()
            self._made_faster.enter_context(compiled(modules, self.plan.compile))
        self.images = self._open(self.source, self.plan.batch_size, self.seed, self.held_out)
        self.features = self.images.first_features(keep=not self.plan.augments)
        return self

    def __exit__(self, *_):
        self._reader.shutdown(cancel_futures=True)
        self._made_faster.close()
        network = self.fitted.network.eval().requires_grad_(False)
        network.zero_grad(set_to_none=True)
        self.fitted.in_training, self.fitted._replicas = False, None

    def more_images(self, source, batch_size):
        """Further images to train with, in batches of their own, and their features."""
        images = self._open(source, batch_size, torch_seed(self.seed, "auxiliary"))
        return images, images.first_features()

    def features_of(self, images, indices):
        """A function that gives the features of some images as the network stands.

        Parameters
        ----------
        images : TrainingImages
        indices : ndarray of int

        Returns
        -------
        features_of : callable
            Gives an ndarray of shape (n_images, n_features).
        """
        hidden, size = images.hidden(indices), self.extractor.batch_size

        def features():
            self.cut.network.eval()
            with torch.no_grad():
                # Copies, as the first layer of the trained part may work in place.
                parts = [self.cut.trained_part(part.clone()) for part in hidden.split(size)]
            return torch.cat(parts).cpu().numpy()

        return features

    def _open(self, source, batch_size, seed, held_out=()):
        """Images to train with; what is kept for all of them shares the memory limit."""
        left = self.plan.memory_limit - sum(images.kept_memory for images in self.opened)
        images = TrainingImages(
            self.cut,
            source,
            batch_size=batch_size,
            n_steps=self.plan.n_steps,
            seed=seed,
            held_out=held_out,
            memory_limit=max(left, 0),
            reader=self._reader,
            fewest=self.plan.fewest,
            together=self.extractor.batch_size,
            digests=self.plan.checkpoint is not None,
            n_jobs=self.extractor.n_jobs,
        )
        self.opened.append(images)
        return images
