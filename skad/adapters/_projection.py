"""Heads on an encoder's features, and an encoder that keeps its head."""

from numbers import Integral

from torch import nn

from .._parameters import ParameterGroup, parameter
from ..losses._rows import unit
from ..networks._taps import pooled_output, to_vector, unknown_layer
from ..networks._tokens import split_name


class ProjectorParameters(ParameterGroup):
    """The head behind the features."""

    projector_widths: list | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="list of int",
        text="Widths of the layers of the head between features and loss. Each layer is linear, "
        "BatchNorm, ReLU; the last one is linear alone, or with BatchNorm.",
    )


def checked_widths(widths, owner, name):
    """Outputs of layers as a list, which may be empty."""
    widths = list(widths)
    if not all(isinstance(width, Integral) and width > 0 for width in widths):
        raise ValueError(f"{owner}: {name} must be a list of positive whole numbers; got {widths}.")
    return widths


def mlp(n_in, widths, *, affine_end):
    """Layers of an MLP, each a module of its own: linear, BatchNorm, and ReLU but for the last.

    Parameters
    ----------
    n_in : int
    widths : sequence of int
        Outputs of the layers.
    affine_end : {"plain", "batch_norm", "fixed_batch_norm"}
        What the last layer ends with: the linear map, BatchNorm, or BatchNorm without scale and
        shift.
    """
    layers = []
    for index, width in enumerate(widths):
        last = index == len(widths) - 1
        plain = last and affine_end == "plain"
        layer = [nn.Linear(n_in, width, bias=plain)]
        if not plain:
            affine = not (last and affine_end == "fixed_batch_norm")
            layer.append(nn.BatchNorm1d(width, affine=affine))
        if not last:
            layer.append(nn.ReLU(inplace=True))
        layers.append(nn.Sequential(*layer))
        n_in = width
    return nn.Sequential(*layers)


class ProjectedNetwork(nn.Module):
    """An encoder and the head behind it, so that layers of both have names.

    Parameters
    ----------
    encoder : torch.nn.Module
    projector : torch.nn.Module
    normalize : bool
        Features are of unit length before they enter the head.
    """

    def __init__(self, encoder, projector, normalize):
        super().__init__()
        self.encoder, self.projector, self.normalize = encoder, projector, normalize

    @property
    def taps_like(self):
        """The network whose outputs those of the layers look like."""
        return self.encoder

    def names_of(self, layers, owner):
        """Names here of layers of the encoder or of the head."""
        if layers is None:
            return None
        known = {f"projector.{i}": f"projector.{i}" for i in range(len(self.projector))}
        known |= {name: f"encoder.{name}" for name, _ in self.encoder.named_modules() if name}
        names = []
        for name in layers:
            module, part = split_name(name, known)
            if module not in known:
                raise unknown_layer(name, known, type(self.encoder).__name__, owner)
            names.append(known[module] if part is None else f"{known[module]}:{part}")
        return names

    def forward(self, images):
        features = to_vector(pooled_output(self.encoder, images), self.encoder)
        if self.normalize:
            features = unit(features)
        return self.projector(features)
