"""Extractors and adapters as operations of a graph: prepared images to rows of features."""

import copy

import torch
from torch import nn

from ..adapters import (
    CompactnessAdapter,
    DeepSVDDAdapter,
    OutlierExposureAdapter,
    PseudoLabelAdapter,
)
from ..adapters._base import BaseAdapter
from ..features import FeatureExtractor
from ._parts import ExportError, constant, unit


def features_graph(first, owner):
    """The first step of a detector as a module.

    Parameters
    ----------
    first : estimator
        A fitted FeatureExtractor or adapter.
    owner : str
        Named in errors.

    Returns
    -------
    module : torch.nn.Module
        Maps images (n, channels, image_size, image_size) to features (n, n_features).

    Raises
    ------
    ExportError
        If what it computes is more than a network and a linear layer.
    """
    name = type(first).__name__
    if isinstance(first, FeatureExtractor):
        return Features(fitted_on_cpu(first, owner))
    if not isinstance(first, BaseAdapter):
        raise ExportError(
            f"{owner}: the first step, {name}, has no graph; a FeatureExtractor or an adapter has."
        )
    fitted = fitted_on_cpu(first.extractor_, owner)
    if isinstance(first, CompactnessAdapter) and hasattr(first, "_snapshots"):
        return Checkpoints(fitted, first._snapshots, first._unit_length)
    if isinstance(first, DeepSVDDAdapter):
        return Linear(fitted, shift=-first.center_)
    output = getattr(first, "_output", "features")
    if isinstance(first, OutlierExposureAdapter) and output == "logit":
        return Linear(fitted, first.coef_[None], first.intercept_)
    if isinstance(first, PseudoLabelAdapter) and output == "logits":
        return Linear(fitted, first.coef_, first.intercept_)
    if type(first).compute is not BaseAdapter.compute and output != "features":
        raise ExportError(
            f"{owner}: {name} with output={output!r} computes more than one pass through its "
            'network, and has no graph. Fit it with output="features" and a scorer of features.'
        )
    return Features(fitted)


def fitted_on_cpu(extractor, owner):
    """A copy of an extractor's FittedNetwork whose network is on the CPU.

    Raises
    ------
    ExportError
        If it does not compute in float32.
    """
    fitted = copy.copy(extractor.fitted_network_)
    if fitted.precision != "float32":
        raise ExportError(
            f"{owner}: the network computes in {fitted.precision}, which no graph repeats to four "
            'digits. Fit with precision="float32".'
        )
    fitted.network = copy.deepcopy(fitted.network).cpu().requires_grad_(False).eval()
    fitted.device, fitted.device_name = torch.device("cpu"), "cpu"
    fitted.to_the_end = True
    return fitted


class Features(nn.Module):
    """Features of a network, see :class:`skad.FeatureExtractor`."""

    def __init__(self, fitted):
        super().__init__()
        self.fitted, self.network = fitted, fitted.network

    def forward(self, images):
        return self.fitted.outputs(images)


class Linear(Features):
    """Features less a centre, or logits of them."""

    def __init__(self, fitted, coef=None, intercept=None, shift=None):
        super().__init__(fitted)
        self.has_logits = coef is not None
        if self.has_logits:
            self.register_buffer("coef", constant(coef, torch.float32))
        shift = intercept if self.has_logits else shift
        self.register_buffer("shift", constant(shift, torch.float32))

    def forward(self, images):
        features = super().forward(images)
        return (features @ self.coef.T if self.has_logits else features) + self.shift


class Checkpoints(nn.Module):
    """Features of a network at several steps of its training, side by side."""

    def __init__(self, fitted, snapshots, unit_length):
        super().__init__()
        self.unit_length, parts = unit_length, []
        for values in snapshots:
            part = fitted.copy()
            parameters = dict(part.network.named_parameters())
            for name, value in values.items():
                parameters[name].data.copy_(value)
            parts.append(Features(part))
        self.parts = nn.ModuleList(parts)

    def forward(self, images):
        features = [part(images) for part in self.parts]
        if self.unit_length:
            features = [unit(rows.double()).float() for rows in features]
        return torch.cat(features, 1)
