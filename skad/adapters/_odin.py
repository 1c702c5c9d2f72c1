"""ODIN: logits of images moved a little to where the network is surer."""

from .._parameters import NOT_NEGATIVE, changed, parameter
from ..training._parameters import TemperatureParameters


class OdinParameters(TemperatureParameters):
    """ODIN."""

    temperature: float = changed(
        default=1000.0, note="This is T of ODIN (its paper; CLAD's code chose T by test images)."
    )
    perturbation: float = parameter(
        default=0.0014,
        limits=[NOT_NEGATIVE],
        text="Step :math:`\\epsilon` of ODIN, for pixels in [0, 1] (its paper); 0 for none.",
    )


def odin_logits(logits_of, images, step, temperature):
    r"""Logits, over the temperature, of images that are moved towards greater confidence.

    .. math:: \tilde x = x - \epsilon \operatorname{sign} \nabla_x
        \mathrm{CE}\bigl(f(x) / T, \arg\max f(x)\bigr), \qquad f(\tilde x) / T

    Parameters
    ----------
    logits_of : callable
        f: maps images (n, channels, height, width) to logits (n, n_classes), each image by itself.
    images : tensor of float32, shape (n, channels, height, width)
        x, ready for the network.
    step : tensor of shape (channels, 1, 1)
        :math:`\epsilon` in the units of `images`.
    temperature : float
        T.

    Returns
    -------
    logits : tensor of float32, shape (n, n_classes)
    """
    import torch

    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = logits_of(images) / temperature
        # The sum, so that no image's gradient depends on how many there are.
        loss = torch.nn.functional.cross_entropy(logits, logits.detach().argmax(1), reduction="sum")
        gradient = torch.autograd.grad(loss, images)[0]
    with torch.no_grad():
        # The official code takes the sign of zero for 1.
        signs = torch.where(gradient >= 0, 1.0, -1.0)
        return logits_of(images.detach() - step * signs) / temperature
