"""A digest of all that decides the scores of a fitted estimator, the same in every process."""

import hashlib
from dataclasses import is_dataclass
from types import SimpleNamespace

import numpy as np

# What decides no score, or has decided what is learned already.
_UNDECISIVE = {
    *("n_jobs", "verbose", "device", "memory", "memory_limit", "on_error", "batch_size"),
    *("checkpoint", "monitor", "random_state", "training_curve_", "owner_"),
}


def digest_of(estimator):
    """A digest of a fitted estimator.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    digest : str
        Of what it learned, and of its parameters at the time.
    """
    digest = hashlib.blake2b(digest_size=16)
    for piece in _pieces(estimator):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value):
    """Bytes that stand for a value, one after another."""
    yield f"<{type(value).__name__}".encode()
    if isinstance(value, np.ndarray):
        yield from _of_array(value)
    elif hasattr(value, "fingerprint"):  # of a network
        yield value.fingerprint.encode()
    elif hasattr(value, "detach"):
        yield from _of_array(value.detach().float().cpu().numpy())
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _pieces(one)
    elif isinstance(value, dict):
        yield from _of_names(value)
    elif isinstance(value, SimpleNamespace) or is_dataclass(value):
        yield from _of_names(vars(value))
    elif hasattr(value, "get_params"):
        yield from _of_names(learned(value))
    elif value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        yield repr(value).encode()
    yield b">"


def learned(estimator):
    """What an estimator has learned, and by which parameters."""
    known = {"_fitted", "_reading", "steps", "estimator"}  # of skad, a Pipeline, FrozenEstimator
    state = vars(estimator).items()
    return {name: one for name, one in state if name in known or name.endswith("_")}


def _of_names(values):
    for name in sorted(values, key=str):
        if name not in _UNDECISIVE:
            yield str(name).encode()
            yield from _pieces(values[name])


def _of_array(value):
    yield f"{value.dtype} {value.shape}".encode()
    if value.dtype == object:
        yield from _pieces(value.ravel().tolist())
    else:
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8)
