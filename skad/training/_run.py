"""One training of one adapter: from a fitted extractor to the features that it ends with."""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from tqdm import tqdm

from .._random import local_seed, numpy_stream, torch_seed
from ..networks._cache import network_fingerprint
from ..networks._cut import HEAD, CutNetwork, FrozenNetwork
from ._checkpoint import Checkpoint, recipe_of
from ._images import TrainingImages
from ._loop import TrainingError, train
from ._watch import FEWEST_STEPS, N_LOOKS, N_WATCHED, CollapseWatch


def fitted_copy(estimator, X):
    """A clone, fitted; of a frozen estimator, which is fitted, a copy to go on from."""
    if isinstance(estimator, FrozenEstimator):
        return copy.deepcopy(estimator.estimator)
    return clone(estimator).fit(X)


class Run:
    """What an adapter's hooks see of a training.

    Attributes
    ----------
    inner : FeatureExtractor or adapter
        What the training begins with, fitted.
    extractor : FeatureExtractor
        With the network in training.
    images : TrainingImages
    first_features : tensor of shape (n_images, n_features)
        Those before training.
    parameters : dict of str to torch.nn.Parameter
        All that is trained; hooks may add some of their own.
    buffers : dict of str to tensor
        What changes along with them without being trained: statistics of BatchNorm, averages.
    modules : list of torch.nn.Module
        Those that are in training mode for a step, if the adapter trains from scratch.
    seed : int
    device : torch.device
    decisive : list
        What hooks found that decides the training, beside parameters, weights and images.
    """

    def __init__(self, adapter, source, journal):
        self.journal = journal
        self.adapter, self.owner = adapter, type(adapter).__name__
        self.opened, self.decisive = [], []
        self._reader = ThreadPoolExecutor(1)
        self.seed = int(check_random_state(adapter.random_state).randint(2**31))
        self.inner = fitted_copy(adapter._inner(), source)
        self.extractor = getattr(self.inner, "extractor_", self.inner)
        self.device = self.extractor._device
        alone = adapter._may_train_head_alone and isinstance(adapter.trainable, str)
        if alone and adapter.trainable == HEAD:
            self.cut = FrozenNetwork(self.extractor)
        else:
            self.cut = CutNetwork(self.extractor, adapter.trainable, self.owner)
        self.parameters, self.buffers, self.modules = self.cut.parameters, {}, []
        if adapter._from_scratch:
            self.modules.append(self.extractor.network_)
            self.buffers |= dict(self.extractor.network_.named_buffers())
        self.first_weights = network_fingerprint(self.extractor.network_, None)
        self.images = self.read(source, adapter._images_in_step, self.seed)
        self.first_features = self.images.first_features(keep=not adapter._augments)

    def read(self, source, batch_size, seed):
        """Images to train with; what is kept for all of them shares the memory limit."""
        left = self.adapter.memory_limit - sum(images.kept_memory for images in self.opened)
        images = TrainingImages(
            self.cut,
            source,
            batch_size=batch_size,
            seed=seed,
            memory_limit=max(left, 0),
            reader=self._reader,
            fewest=self.adapter._fewest,
        )
        self.opened.append(images)
        return images

    def auxiliary(self, source, batch_size):
        """More images to train with, in batches of their own."""
        images = self.read(source, batch_size, torch_seed(self.seed, "auxiliary"))
        return images, images.first_features()

    def features(self, images):
        """Features (n, n_features) of images ready for the network, with gradients."""
        return self.cut.trained_part(self.cut.frozen_part(images))

    def in_full_precision(self):
        """Context without mixed precision, for what is no network: views, products of a loss."""
        import torch

        return torch.autocast(self.device.type, enabled=False)

    def add(self, name, module, *, trained=True):
        """Take a module into the training, beside the network; `trained` by the optimiser or not.

        It is in training mode whenever the network is.
        """
        import torch

        module = module.to(self.device, memory_format=torch.channels_last)
        self.modules.append(module)
        # The colon keeps them apart from modules of the network's own.
        own = {f"skad:{name}.{key}": value for key, value in module.named_parameters()}
        self.buffers |= {f"skad:{name}.{key}": value for key, value in module.named_buffers()}
        if trained:
            self.parameters |= own
        else:
            module.requires_grad_(False)
            self.buffers |= own
        return module

    def close(self):
        """End what reads ahead, and let nothing be trained by accident."""
        self._reader.shutdown(cancel_futures=True)
        for module in (self.extractor.network_, *self.modules):
            module.eval()
            module.zero_grad(set_to_none=True)
            module.requires_grad_(False)
        self.extractor._fingerprint = None

    def train(self, loss_of, n_steps):
        """Train; set `watch`, `stopped_at` and `snapshots`."""
        adapter, self.n_steps = self.adapter, n_steps
        parameters = list(self.parameters.values())
        self.optimizer = adapter._make_optimizer(parameters)
        self.watch = self._make_watch()
        self._wanted = adapter._snapshot_steps(n_steps)
        self.snapshots, self._good, self._best, self.stopped_at = {}, None, None, None
        folder = adapter.checkpoint
        self.checkpoint = Checkpoint(folder, recipe_of(self, n_steps)) if folder else None
        first = self._resume()
        if self.checkpoint is not None:
            self.journal.append(self.checkpoint)
        if self.stopped_at is not None:  # what was broken off came after this training
            self._warn()
            return
        self._progress = tqdm(
            total=n_steps, initial=first, desc=self.owner, unit="step", disable=not adapter.verbose
        )
        try:
            with self._progress:
                done = train(
                    partial(self._loss_in_training, loss_of),
                    parameters,
                    optimizer=self.optimizer,
                    n_steps=n_steps,
                    first_step=first,
                    clip_norm=adapter.clip_norm,
                    after_step=self._after_step,
                    owner=self.owner,
                )
            self._finish(done)
        except TrainingError:
            if self.checkpoint is not None:  # going on would end in the same way
                self.checkpoint.remove()
                self.journal.remove(self.checkpoint)
            raise

    def _make_watch(self):
        return CollapseWatch(
            self._watched_features(),
            self.first_features.mean(0).cpu().double().numpy(),
            spread_limit=self.adapter.collapse_limit,
            from_widest=self.adapter._from_scratch,
            every=max(FEWEST_STEPS, self.n_steps // N_LOOKS),
            monitor=partial(self.adapter._measure, self),
            owner=self.owner,
        )

    def _loss_in_training(self, loss_of, step):
        """Loss of a step, in the mode and at the rate that belong to it."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.adapter._rate(step, self.n_steps)
        if not self.adapter._from_scratch:
            return loss_of(step)
        for module in self.modules:
            module.train()
        seed = torch_seed(self.seed, "network", step)
        half = self.extractor.precision == "bfloat16"
        kind = self.device.type
        # What a network draws, in dropout say, follows from the step as all else does.
        with local_seed(seed, self.device), torch.autocast(kind, torch.bfloat16, enabled=half):
            return loss_of(step)

    def _watched_features(self):
        """Features of the images that are watched, as the network stands."""
        import torch

        places = numpy_stream(self.seed, "watched").permutation(len(self.images))[:N_WATCHED]
        hidden = self.images.hidden(np.sort(places))

        def features_of():
            self.extractor.network_.eval()
            with torch.no_grad():
                size = self.extractor.batch_size
                # Copies, as the first layer of the trained part may work in place.
                parts = [self.cut.trained_part(part.clone()) for part in hidden.split(size)]
            return torch.cat(parts).cpu().numpy()

        return features_of

    def _after_step(self, step, loss):
        """Watch, take snapshots, keep the state; True to stop."""
        self._progress.update()
        ends = self.adapter._after_step(self, step)
        if step in self._wanted:
            self.snapshots[step] = self._copy()
        if loss is not None:
            self.watch.losses.append(loss)
        if step % self.watch.every:
            return bool(ends)
        self.watch.look(step)
        self._keep_best(step)
        if self.watch.collapsed_at is not None and self.adapter.stop_at_collapse:
            return True
        if self.adapter.stop_at_collapse:
            self._good = (step, self._copy())
        if self.checkpoint is not None and not ends:
            self.checkpoint.save(self._state(step))
        return bool(ends)

    def _keep_best(self, step):
        """Keep the network of the last look if none was better."""
        name = self.adapter._selected_by
        if name is None:
            return
        values = [record[name] for record in self.watch.curve if record["step"]]
        if values and values.index(min(values)) == len(values) - 1:
            self._best = (step, self._copy())

    def _copy(self):
        """The trained parameters, and what changes along with them, as they are."""
        both = self.parameters | self.buffers
        return {name: tensor.detach().clone() for name, tensor in both.items()}

    def load(self, values):
        """Give them other values."""
        import torch

        with torch.no_grad():
            for name, tensor in (self.parameters | self.buffers).items():
                tensor.copy_(values[name])

    def _state(self, step):
        return {
            "step": step,
            "parameters": self._copy(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.watch.curve,
            "collapsed_at": self.watch.collapsed_at,
            "snapshots": self.snapshots,
            "good": self._good,
            "best": self._best,
        }

    def _resume(self):
        """Take the state of a run that was broken off; give the number of its steps."""
        state = None if self.checkpoint is None else self.checkpoint.load("cpu")
        if state is None:
            self.watch.look(0)
            self._good = (0, self._copy())
            if 0 in self._wanted:
                self.snapshots[0] = self._copy()
            return 0
        self.load(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.watch.curve, self.watch.collapsed_at = state["curve"], state["collapsed_at"]
        self.snapshots, self._good = state["snapshots"], state["good"]
        self._best = state["best"]
        self.stopped_at = state.get("stopped_at")
        return state["step"]

    def _finish(self, done):
        """Take the last look, and go back before a collapse where that was asked for."""
        if self.watch.curve[-1]["step"] != done:
            self.watch.look(done)
            self._keep_best(done)
        self.stopped_at = done
        if self._best is not None:
            self.stopped_at, values = self._best
            self.load(values)
        if self.watch.collapsed_at is not None and self.adapter.stop_at_collapse:
            self.stopped_at, values = self._good
            self.load(values)
        self._warn()
        for step in self._wanted:
            if step not in self.snapshots or step > self.stopped_at:
                self.snapshots[step] = self._copy()
        if self.checkpoint is not None:
            self.checkpoint.save(self._state(done) | {"stopped_at": self.stopped_at})

    def _warn(self):
        """Tell of a collapse that the network went into."""
        adapter = self.adapter
        told = adapter._warns_of_collapse and not adapter.stop_at_collapse
        if told and self.watch.collapsed_at is not None:
            self.watch.warn()
