"""Losses of training on normal images; each takes tensors and keeps no state."""

from ._clustering import (
    dec_loss,
    scan_loss,
    self_labelling_loss,
    sharpened_targets,
    soft_assignments,
)
from ._compactness import (
    angular_center_loss,
    compactness_loss,
    elastic_penalty,
    soft_boundary_loss,
    soft_boundary_radius,
)
from ._contrastive import mean_shifted_contrastive_loss, nt_xent_loss
from ._outlier_exposure import outlier_exposure_loss
from ._reconstruction import reconstruction_loss
from ._siamese import byol_loss, negative_cosine_loss, simsiam_loss
from ._variance import vicreg_loss

__all__ = [
    "angular_center_loss",
    "byol_loss",
    "compactness_loss",
    "dec_loss",
    "elastic_penalty",
    "mean_shifted_contrastive_loss",
    "negative_cosine_loss",
    "nt_xent_loss",
    "outlier_exposure_loss",
    "reconstruction_loss",
    "scan_loss",
    "self_labelling_loss",
    "sharpened_targets",
    "simsiam_loss",
    "soft_assignments",
    "soft_boundary_loss",
    "soft_boundary_radius",
    "vicreg_loss",
]
