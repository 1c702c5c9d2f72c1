"""Random numbers: every stream by a name of its own, and torch seeded under a lock."""

import threading
import zlib
from contextlib import contextmanager

import numpy as np

# torch draws first weights, and dropout, from a generator that all threads of a process share.
_DRAWING = threading.RLock()


@contextmanager
def local_seed(seed, device=None):
    """Let torch draw from a seed of our own, and leave its global state as it was.

    Threads take turns.
    """
    import torch

    cuda = device is not None and device.type == "cuda"
    with _DRAWING, torch.random.fork_rng(devices=[device] if cuda else []):
        # torch.manual_seed would seed every GPU as well, whose state nobody gives back.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def stream_seed(seed, name, *numbers):
    """Seed of one stream of random numbers of a fit.

    Parameters
    ----------
    seed : int
        Of the fit.
    name : str
        What is drawn, such as "order" or "views"; streams of different names are independent.
    *numbers : int
        Of the step or epoch, where each has a stream of its own.

    Returns
    -------
    sequence : numpy.random.SeedSequence
    """
    # As a spawn key, numbers are told apart by their count as well: (1,) is not (1, 0).
    key = (zlib.crc32(name.encode()), *(int(number) for number in numbers))
    return np.random.SeedSequence(int(seed), spawn_key=key)


def numpy_stream(seed, name, *numbers):
    """The stream of `stream_seed` as a RandomState."""
    return np.random.RandomState(stream_seed(seed, name, *numbers).generate_state(4))


def torch_seed(seed, name, *numbers):
    """The seed of `stream_seed` as an integer, for torch."""
    return int(stream_seed(seed, name, *numbers).generate_state(1)[0])


def torch_stream(seed, name, *numbers):
    """The stream of `stream_seed` as a torch.Generator on the CPU."""
    import torch

    return torch.Generator().manual_seed(torch_seed(seed, name, *numbers))
