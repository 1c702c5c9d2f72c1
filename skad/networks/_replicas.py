"""Batches dealt out to networks on several devices, each with a thread of its own."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

# Batches that wait for a device, or to be used, for each device.
_N_AHEAD = 2


def dealt_out(replicas, batches, function):
    """What a function gives for each batch, in order; replicas take turns.

    Parameters
    ----------
    replicas : list of FittedNetwork
    batches : iterable of (int, Batch)
    function : callable
        Maps a replica and a batch to what is wanted.

    Yields
    ------
    start : int
    batch : Batch
    result : object
    """
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in replicas]
        ahead = deque()
        for number, (start, batch) in enumerate(batches):
            turn = number % len(replicas)
            future = threads[turn].submit(function, replicas[turn], batch)
            ahead.append((start, batch, future))
            if len(ahead) >= _N_AHEAD * len(replicas):
                yield _finished(*ahead.popleft())
        while ahead:
            yield _finished(*ahead.popleft())


def _finished(start, batch, future):
    return start, batch, future.result()
