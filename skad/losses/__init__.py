"""Losses of training on normal pictures: functions of tensors that keep no state."""

from .._lazy import lazy_names

_HOMES = {
    "angular_center_loss": "_compactness",
    "byol_loss": "_siamese",
    "compactness_loss": "_compactness",
    "dec_loss": "_clustering",
    "elastic_penalty": "_compactness",
    "mean_shifted_contrastive_loss": "_contrastive",
    "negative_cosine_loss": "_siamese",
    "nt_xent_loss": "_contrastive",
    "outlier_exposure_loss": "_outlier_exposure",
    "reconstruction_loss": "_reconstruction",
    "scan_loss": "_clustering",
    "self_labelling_loss": "_clustering",
    "sharpened_targets": "_clustering",
    "simsiam_loss": "_siamese",
    "soft_assignments": "_clustering",
    "soft_boundary_loss": "_compactness",
    "soft_boundary_radius": "_compactness",
    "vicreg_loss": "_variance",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
