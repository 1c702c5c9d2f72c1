"""An image alone takes the same arithmetic as an image among others."""

import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import partial
from weakref import WeakKeyDictionary

from ._device import computes_bfloat16, full_float32

# Above this many values torch gives a single image to oneDNN anyway
# (aten/src/ATen/native/Convolution.cpp, use_mkldnn).
_SMALL = 20480

# Convolutions of each network that are concerned, None where they can't be told one by one.
_known = WeakKeyDictionary()
_lock, _users = threading.Lock(), Counter()


@contextmanager
def same_arithmetic(images, network=None):
    """Context in which an image's features do not depend on its batch, but for rounding.

    float32 is computed in full, see :func:`skad.networks._device.full_float32`. And on the CPU,
    torch hands small convolutions of a batch of one to a routine of its own, which adds in another
    order than oneDNN's, used for every larger batch. The features then differ in their last bits,
    so that a score depends on the company an image is in. Here they go to oneDNN too.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        What the network is about to see.
    network : torch.nn.Module, optional
        That network: of plain convolutions, which cost nothing to find, no others need be looked
        for at each operation.
    """
    with full_float32(images.device.type), _convolutions_of_batches(images, network):
        yield


def _convolutions_of_batches(images, network):
    """Context in which one image goes through the same convolutions as a batch that holds it."""
    import torch

    alone = len(images) == 1 and images.device.type == "cpu" and images.dtype == torch.float32
    if not alone or not torch.backends.mkldnn.is_available():
        return nullcontext()
    concerned = None if network is None else _concerned(network)
    return _every_convolution() if concerned is None else _replaced(network, concerned)


def _concerned(network):
    """Dense convolutions of a network; None if it has weights of others than plain ones."""
    import torch

    if network not in _known:
        found = []
        for module in network.modules():
            own = module._parameters.values()
            if not any(value is not None and value.ndim == 4 for value in own):
                continue
            kind = torch.nn.Conv2d
            plain = isinstance(module, kind) and type(module).forward is kind.forward
            if not plain or type(module)._conv_forward is not kind._conv_forward:
                found = None
                break
            if module.groups == 1 and module.kernel_size[-1] > 1:
                found.append(module)
        _known[network] = found
    return _known[network]


@contextmanager
def _replaced(network, convolutions):
    """Context in which these take one image as others take many; threads may share it."""
    with _lock:
        _users[network] += 1
        if _users[network] == 1:
            for one in convolutions:
                vars(one)["_conv_forward"] = partial(_convolve, one)
    try:
        yield
    finally:
        with _lock:
            _users[network] -= 1
            if not _users[network]:
                del _users[network]
                for one in convolutions:
                    del vars(one)["_conv_forward"]


def _convolve(module, images, weight, bias):
    import torch

    if len(images) > 1 or isinstance(module.padding, str) or torch.is_grad_enabled():
        return type(module)._conv_forward(module, images, weight, bias)
    padding = module.padding
    if module.padding_mode != "zeros":
        around = module._reversed_padding_repeated_twice
        images = torch.nn.functional.pad(images, around, mode=module.padding_mode)
        padding = (0, 0)
    if images.numel() > _SMALL or not _takes(weight):
        return torch.conv2d(
            images, weight, bias, module.stride, padding, module.dilation, module.groups
        )
    return torch.ops.aten.mkldnn_convolution(
        images, weight, bias, padding, module.stride, module.dilation, module.groups
    )


def _takes(weight):
    """Whether oneDNN has products of this kind of numbers on this CPU; not all have bfloat16's."""
    import torch

    half = weight.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    return not half or computes_bfloat16(weight.device)


def _every_convolution():
    """The same for whatever calls torch's convolution, at a cost for each operation."""
    import torch

    class OneDNNConvolutions(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.conv2d and not kwargs and len(args) == 7:
                image, weight, bias, stride, padding, dilation, groups = args
                dense = groups == 1 and weight.shape[-1] > 1 and image.numel() <= _SMALL
                if dense and not isinstance(padding, str) and _takes(weight):
                    return torch.ops.aten.mkldnn_convolution(
                        image, weight, bias, padding, stride, dilation, groups
                    )
            return function(*args, **(kwargs or {}))

    return OneDNNConvolutions()
