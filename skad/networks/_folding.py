"""Convolutions that take in the BatchNorm behind them while a network is trained with it fixed."""

from contextlib import contextmanager
from functools import partial

# Weights of a convolution, at the most, to a value of the map of an image: weights are scaled
# at each step, which must cost less than what is saved (measured for batches of 32).
_PAYS = 8

# The network must give what it gave before, but for rounding.
_SAME = 1e-4


@contextmanager
def folded(network, images, features_of):
    r"""Context in which fixed BatchNorms are computed as parts of the convolutions before them.

    In evaluation mode, with mean :math:`\mu`, variance :math:`\sigma^2`, scale :math:`\gamma` and
    shift :math:`\beta`,

    .. math:: \gamma \frac{w * x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
        = (s w) * x + (\beta - s \mu), \qquad s = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}},

    so that a pass over the maps is saved, forwards and backwards; gradients reach :math:`w`,
    :math:`\gamma` and :math:`\beta` as before. On the CPU, that is: a GPU would spend more time on
    launching the products of small tensors.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; all its parameters, their names and gradients stay.
    images : tensor
        Tried on the network.
    features_of : callable
        Gives the features of `images`; where those change, nothing is folded.

    Yields
    ------
    n_folded : int
        Number of BatchNorms that were folded.
    """
    import torch

    pairs = []
    if images.device.type == "cpu":
        with torch.no_grad():
            pairs, before = _pairs(network, images, features_of)
            _fold(pairs)
            error = (features_of(images) - before).norm()
            if error > _SAME * before.norm():
                _unfold(pairs)
                pairs = []
    try:
        yield len(pairs)
    finally:
        _unfold(pairs)


def _pairs(network, images, features_of):
    """Convolutions and the BatchNorms that take their outputs alone; and features of images."""
    import torch

    made, pairs, n_calls, handles = {}, [], {}, []

    def after(module, _, output):
        n_calls[module] = n_calls.get(module, 0) + 1
        if isinstance(module, torch.nn.Conv2d):
            made[id(output)] = module, output, output._version
        return output

    def before(module, inputs):
        convolution, output, version = made.get(id(inputs[0]), (None, None, None))
        if output is not inputs[0] or output._version != version:
            return
        pays = convolution.weight.numel() <= _PAYS * output[0].numel()
        if pays and _fit(convolution, module):
            pairs.append((convolution, module))

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            handles.append(module.register_forward_hook(after))
        elif isinstance(module, torch.nn.BatchNorm2d):
            handles.append(module.register_forward_hook(after))
            handles.append(module.register_forward_pre_hook(before))
    try:
        features = features_of(images)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(n_calls[module] == 1 for module in pair)], features


def _fit(convolution, norm):
    """Whether both are plain, in float32, and either trained or fixed together."""
    import torch

    plain = type(convolution).forward is torch.nn.Conv2d.forward
    own = {"forward"} & (vars(convolution).keys() | vars(norm).keys())
    if not plain or own or norm.training or norm.running_mean is None:
        return False
    parameters = [value for part in (convolution, norm) for value in part.parameters()]
    kinds = {(value.dtype, value.requires_grad) for value in parameters}
    return len(kinds) == 1 and parameters[0].dtype == torch.float32


def _fold(pairs):
    for convolution, norm in pairs:
        convolution.forward = partial(_convolve, convolution, norm)
        norm.forward = partial(_go_on, norm)


def _unfold(pairs):
    for pair in pairs:
        for module in pair:
            vars(module).pop("forward", None)


def _convolve(convolution, norm, images):
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias
    return convolution._conv_forward(images, convolution.weight * scale[:, None, None, None], shift)


def _go_on(norm, maps):
    """What BatchNorms of timm do besides."""
    for name in ("drop", "act"):
        if name in norm._modules:
            maps = norm._modules[name](maps)
    return maps
