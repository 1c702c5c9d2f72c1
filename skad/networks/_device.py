"""Where networks compute: what a device's name means, and what becomes of one that is missing."""

import threading
from collections import Counter
from contextlib import contextmanager

from .._warnings import warn

# What "auto" takes: the first of these that torch finds.
AUTO = ["cuda", "cpu"]


class DeviceWarning(UserWarning):
    """Warning: a fitted estimator computes on another device than it was made for."""


def resolve_device(device):
    """The device that a name means; "auto" is a CUDA device where there is one."""
    import torch

    if device == "auto":
        device = next(name for name in AUTO if _is_there(torch.device(name)))
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is unknown; try 'auto', 'cpu', 'cuda'.") from error
    if not _is_there(device):
        number = f" number {device.index}" if device.index else ""
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch finds no {device.type.upper()} "
            f"device{number}."
        )
    return device


def name_of_devices(device):
    """One name for what the user gave: a device, or several, divided by commas."""
    if not isinstance(device, (list, tuple)):
        return str(device)
    if not device:
        raise ValueError("device is empty; name at least one, such as 'cuda:0', or give 'auto'.")
    return ",".join(map(str, device))


def resolve_devices(name):
    """The devices that a name means, of `name_of_devices`; "auto" is every CUDA device.

    Parameters
    ----------
    name : str

    Returns
    -------
    devices : list of torch.device
    """
    import torch

    if name != "auto":
        return [resolve_device(one.strip()) for one in name.split(",")]
    first = resolve_device("auto")
    count = torch.cuda.device_count() if first.type == "cuda" else 1
    return [first] if count < 2 else [torch.device("cuda", index) for index in range(count)]


def _is_there(device):
    import torch

    try:
        module = torch.get_device_module(device)
    except RuntimeError:  # a kind of device without a module, which says what it lacks itself
        return True
    return module.is_available() and (device.index or 0) < module.device_count()


def computes_bfloat16(device):
    """Whether a device has convolutions of bfloat16; on CPUs without AVX-512 they take minutes."""
    import torch

    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def multiplies_bfloat16(device):
    """Whether a device multiplies bfloat16 faster than float32; of CPUs those with AMX do."""
    import torch

    return device.type != "cpu" or bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def move_loaded(network, device, owner):
    """Move a network out of a pickle to its device, or leave it on the CPU with a warning.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU.
    device : str
        As it was given, by `name_of_devices`.
    owner : str
        Named in the warning.

    Returns
    -------
    devices : list of torch.device
        Where the network is now, and the others that it is for.
    """
    import torch

    try:
        found = resolve_devices(device)
        network.to(found[0])
    except torch.OutOfMemoryError:  # the device is there
        raise
    except (ValueError, RuntimeError) as error:
        warn(
            f"{owner}: it was fitted with device={str(device)!r}, which is missing here ({error}), "
            "so it computes on the CPU now. Set device='auto' before it is fitted again.",
            DeviceWarning,
        )
        found = [torch.device("cpu")]
    return found


_REDUCED = ("tf32", "bf16")
_lock, _users, _reduced = threading.Lock(), Counter(), {}


@contextmanager
def full_float32(kind):
    """Context in which products and convolutions of float32 are computed in float32.

    By default torch lets CUDA round the inputs of convolutions to ten bits (TF32), by which the
    features of an image differ from batch to batch by far more than the rounding of float32.

    Parameters
    ----------
    kind : str
        Type of the device. The settings are the process's: threads that are in the context at once
        share it, and the last one gives back what the first one found.
    """
    with _lock:
        if not _users[kind]:
            found = [(setting, setting.fp32_precision) for setting in _float32_settings(kind)]
            _reduced[kind] = [(s, precision) for s, precision in found if precision in _REDUCED]
            for setting, _ in _reduced[kind]:
                setting.fp32_precision = "ieee"
        _users[kind] += 1
    try:
        yield
    finally:
        with _lock:
            _users[kind] -= 1
            if not _users[kind]:
                for setting, precision in _reduced.pop(kind):
                    setting.fp32_precision = precision


def _float32_settings(kind):
    from torch.backends import cuda, cudnn, mkldnn

    kinds = {
        "cuda": [cudnn.conv, cudnn.rnn, cuda.matmul],
        "cpu": [mkldnn.conv, mkldnn.rnn, mkldnn.matmul],
    }
    return kinds.get(kind, [])
