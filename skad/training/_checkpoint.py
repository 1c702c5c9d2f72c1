"""The state of a training, kept in a file so that a broken-off run can go on."""

import hashlib
import os
import pickle
import tempfile
from pathlib import Path

from ..networks._cache import network_fingerprint

# Parameters that do not decide what a training ends with, or that the digests stand for.
_UNDECISIVE = {
    *("checkpoint", "verbose", "monitor", "device", "n_jobs", "memory", "memory_limit"),
    *("random_state", "extractor", "backbone", "weights", "fisher"),
}


def stable(value):
    """What stands for a parameter in a recipe, in every process: callables may show an address."""
    if not callable(value):
        return value
    try:
        return hashlib.blake2b(pickle.dumps(value), digest_size=16).hexdigest()
    except Exception:  # what cannot be pickled has a name at best
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def recipe_of(task, plan, start, parameters):
    """All that decides what a training ends with."""
    telling = {
        name: stable(value)
        for name, value in parameters.items()
        if name.rpartition("__")[2] not in _UNDECISIVE and name.partition("__")[0] != "clusterer"
    }
    recipe = [start.owner, sorted(telling.items()), start.seed, plan.n_steps]
    # What a factory says of images shows in no parameter.
    recipe += [start.fitted.preprocessing, network_fingerprint(task, None), task.identity()]
    return repr([*recipe, *(images.keys for images in start.opened)]).encode()


def _save(state, file):
    """Write a state; what breaks it off comes out as it was, an interruption or a full disk."""
    import torch

    try:
        torch.save(state, file)
    except RuntimeError as error:  # of the end of the archive, which torch writes even then
        if isinstance(error.__context__, (KeyboardInterrupt, OSError)):
            raise error.__context__ from None
        raise


class Checkpoint:
    """A file in a folder, named by all that decides the training.

    So a fit goes on only from a state that it would have reached itself, and several fits may share
    the folder.

    Parameters
    ----------
    folder : path
    recipe : bytes
        All that decides the training.
    """

    def __init__(self, folder, recipe):
        self.path = Path(folder, f"{hashlib.blake2b(recipe, digest_size=10).hexdigest()}.pt")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def save(self, state):
        """Replace what the file holds, wholly or not at all."""
        handle, new = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                _save(state, file)
            os.replace(new, self.path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def load(self, device):
        """The state; None if there is none."""
        import torch

        try:
            return torch.load(self.path, map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise ValueError(
                f"checkpoint {str(self.path)!r} could not be read: {error} Remove it to train from "
                "the start."
            ) from error

    def remove(self):
        """Forget the state of a training that has ended."""
        self.path.unlink(missing_ok=True)

    def note(self, error):
        """Tell of the file, on the error that broke the training off."""
        if self.path.is_file():
            error.add_note(
                f"The state of the training is kept in {str(self.path)!r}; fit again with the same "
                "parameters and images to go on from there."
            )
        else:
            error.add_note(f"No state had been kept in {str(self.path.parent)!r} yet.")
