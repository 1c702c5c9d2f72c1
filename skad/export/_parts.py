"""What the parts of a graph have in common."""

import numpy as np
import torch


class ExportError(ValueError):
    """Error: a detector cannot be exported, or its graph does not agree with it."""

    __module__ = "skad.export"


def constant(values, dtype=torch.float64):
    """Numbers of a fitted estimator as a tensor of its own."""
    return torch.from_numpy(np.array(values)).to(dtype)


def unit(rows):
    """Rows of unit length; a zero row stays zero."""
    rows = rows / _nonzero(rows.abs().amax(1, keepdim=True))
    return rows / _nonzero(rows.square().sum(1, keepdim=True).sqrt())


def _nonzero(scale):
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def angle_of(chord):
    """Angle in radians between unit rows so far apart."""
    # ONNX Runtime knows the arcsine of float32 alone, which is as exact here.
    return 2.0 * torch.arcsin((chord / 2.0).clamp(max=1.0).float()).double()
