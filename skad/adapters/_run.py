"""One training of one adapter: from a fitted extractor to the features that it ends with."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from tqdm import tqdm

from .._cache import network_fingerprint
from .._stages import CutNetwork
from .._training import TrainingError, train
from ..features import FeatureExtractor
from ._checkpoint import Checkpoint
from ._training_images import TrainingImages
from ._watch import FEWEST_STEPS, N_LOOKS, N_WATCHED, CollapseWatch

# Parameters that do not decide what a training ends with, or that the digests stand for.
_UNDECISIVE = {
    *("checkpoint", "verbose", "device", "n_jobs", "memory", "memory_limit", "random_state"),
    *("extractor", "backbone", "weights", "fisher"),
}


class Run:
    """What an adapter's hooks see of a training.

    Attributes
    ----------
    extractor : FeatureExtractor
        With the network in training.
    images : TrainingImages
    first_features : tensor of shape (n_images, n_features)
        Those before training.
    parameters : dict of str to torch.nn.Parameter
        All that is trained; hooks may add some of their own.
    seed : int
    device : torch.device
    decisive : list
        What hooks found that decides the training, beside parameters, weights and images.
    """

    def __init__(self, adapter, source):
        self.adapter, self.owner = adapter, type(adapter).__name__
        self._opened, self.decisive = [], []
        self._reader = ThreadPoolExecutor(1)
        self.seed = int(check_random_state(adapter.random_state).randint(2**31))
        given = FeatureExtractor() if adapter.extractor is None else adapter.extractor
        if not isinstance(given, FeatureExtractor) and not hasattr(given, "_adapt"):
            raise TypeError(
                f"{self.owner}: extractor must be a FeatureExtractor or an adapter; got a "
                f"{type(given).__name__}."
            )
        fitted = clone(given).fit(source)
        self.extractor = getattr(fitted, "extractor_", fitted)
        self.device = self.extractor._device
        self.cut = CutNetwork(self.extractor, adapter.trainable, self.owner)
        self.parameters = self.cut.parameters
        self._weights = network_fingerprint(self.extractor.network_, None)
        self.images = self.read(source, adapter.batch_size, self.seed)
        self.first_features = self.images.first_features(keep=not adapter._augments)

    def read(self, source, batch_size, seed):
        """Images to train with; what is kept for all of them shares the memory limit."""
        left = self.adapter.memory_limit - sum(images.kept_memory for images in self._opened)
        images = TrainingImages(
            self.cut,
            source,
            batch_size=batch_size,
            seed=seed,
            memory_limit=max(left, 0),
            reader=self._reader,
        )
        self._opened.append(images)
        return images

    def auxiliary(self, source, batch_size):
        """More images to train with, in batches of their own."""
        images = self.read(source, batch_size, self.seed + 1)
        return images, images.first_features()

    def close(self):
        """End what reads ahead, and let nothing be trained by accident."""
        self._reader.shutdown(cancel_futures=True)
        self.extractor.network_.zero_grad(set_to_none=True)
        self.extractor.network_.requires_grad_(False)
        self.extractor._fingerprint = None

    def train(self, loss_of, n_steps):
        """Train; set `watch`, `stopped_at` and `snapshots`."""
        adapter = self.adapter
        parameters = list(self.parameters.values())
        self.optimizer = adapter._make_optimizer(parameters)
        self.watch = CollapseWatch(
            self._watched_features(),
            self.first_features.mean(0).double().cpu().numpy(),
            spread_limit=adapter.collapse_limit,
            every=max(FEWEST_STEPS, n_steps // N_LOOKS),
            owner=self.owner,
        )
        self._wanted = adapter._snapshot_steps(n_steps)
        self.snapshots, self._good = {}, None
        folder = adapter.checkpoint
        self.checkpoint = Checkpoint(folder, self._recipe(n_steps)) if folder else None
        first = self._resume()
        self._progress = tqdm(
            total=n_steps, initial=first, desc=self.owner, unit="step", disable=not adapter.verbose
        )
        try:
            with self._progress:
                done = train(
                    loss_of,
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
            if self.checkpoint is not None:
                self.checkpoint.remove()  # going on would end in the same way
            raise
        except BaseException as error:
            if self.checkpoint is not None:
                self.checkpoint.note(error)
            raise

    def _watched_features(self):
        """Features of the images that are watched, as the network stands."""
        import torch

        places = np.random.RandomState(self.seed).permutation(len(self.images))[:N_WATCHED]
        hidden = self.images.hidden(np.sort(places))

        def features_of():
            with torch.no_grad():
                size = self.extractor.batch_size
                # Copies, as the first layer of the trained part may work in place.
                parts = [self.cut.trained_part(part.clone()) for part in hidden.split(size)]
            return torch.cat(parts).cpu().numpy()

        return features_of

    def _after_step(self, step, loss):
        """Watch, take snapshots, keep the state; True to stop."""
        self._progress.update()
        if step in self._wanted:
            self.snapshots[step] = self._copy()
        self.watch.losses.append(loss)
        if step % self.watch.every:
            return False
        self.watch.look(step)
        if self.watch.collapsed_at is not None and self.adapter.stop_at_collapse:
            return True
        if self.adapter.stop_at_collapse:
            self._good = (step, self._copy())
        if self.checkpoint is not None:
            self.checkpoint.save(self._state(step))
        return False

    def _copy(self):
        """The trained parameters as they are."""
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    def load(self, values):
        """Give the trained parameters other values."""
        import torch

        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(values[name])

    def _state(self, step):
        return {
            "step": step,
            "parameters": self._copy(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.watch.curve,
            "collapsed_at": self.watch.collapsed_at,
            "snapshots": self.snapshots,
            "good": self._good,
        }

    def _resume(self):
        """Take the state of a run that was broken off; give the number of its steps."""
        state = None if self.checkpoint is None else self.checkpoint.load(self.device)
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
        return state["step"]

    def _recipe(self, n_steps):
        """All that decides what the training ends with."""
        decisive = {
            name: value
            for name, value in self.adapter.get_params().items()
            if name.rpartition("__")[2] not in _UNDECISIVE
        }
        recipe = [self.owner, sorted(decisive.items()), self.seed, n_steps, self._weights]
        return repr([*recipe, self.decisive, *(images.keys for images in self._opened)]).encode()

    def _finish(self, done):
        """Take the last look, and go back before a collapse where that was asked for."""
        if self.watch.curve[-1]["step"] != done:
            self.watch.look(done)
        self.stopped_at = done
        if self.watch.collapsed_at is not None:
            if self.adapter.stop_at_collapse:
                self.stopped_at, values = self._good
                self.load(values)
            elif self.adapter._warns_of_collapse:
                self.watch.warn()
        for step in self._wanted:
            if step not in self.snapshots or step > self.stopped_at:
                self.snapshots[step] = self._copy()
        if self.checkpoint is not None:
            self.checkpoint.remove()
