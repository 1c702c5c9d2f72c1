"""An image alone takes the same arithmetic as an image among others."""

from contextlib import contextmanager, nullcontext

from ._device import full_float32

# Above this many values torch gives a single image to oneDNN anyway
# (aten/src/ATen/native/Convolution.cpp, use_mkldnn).
_SMALL = 20480


@contextmanager
def same_arithmetic(images):
    """Context in which an image's features do not depend on its batch, but for rounding.

    float32 is computed in full, see :func:`skad.networks._device.full_float32`. And on the CPU,
    torch hands small convolutions of a batch of one to a routine of its own, which adds in another
    order than oneDNN's, used for every larger batch. The features then differ in their last bits,
    so that a score depends on the company an image is in. Here they go to oneDNN too.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        What the network is about to see.
    """
    with full_float32(images.device.type), _convolutions_of_batches(images):
        yield


def _convolutions_of_batches(images):
    """Context in which one image goes through the same convolutions as a batch that holds it."""
    import torch

    alone = len(images) == 1 and images.device.type == "cpu" and images.dtype == torch.float32
    if not alone or not torch.backends.mkldnn.is_available():
        return nullcontext()

    class OneDNNConvolutions(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.conv2d and not kwargs and len(args) == 7:
                image, weight, bias, stride, padding, dilation, groups = args
                dense = groups == 1 and weight.shape[-1] > 1 and image.numel() <= _SMALL
                if dense and not isinstance(padding, str):
                    return torch.ops.aten.mkldnn_convolution(
                        image, weight, bias, padding, stride, dilation, groups
                    )
            return function(*args, **(kwargs or {}))

    return OneDNNConvolutions()
