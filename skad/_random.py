"""Random numbers: torch seeded under a lock."""

import threading
from contextlib import contextmanager

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
