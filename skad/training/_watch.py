"""The collapse watch: label-free measures of the training images' features along training."""

import numpy as np
import torch

from .._rows import unit_rows
from .._warnings import warn
from ..diagnostics import effective_rank, mean_pairwise_cosine, uniformity_mmd, vmf_concentration
from ._loop import TrainingError

# Images that are watched; the measures settle with a few hundred.
N_WATCHED = 256

# Looks at them: about so many in a training, but none sooner than so many steps after the last, as
# a look costs as much as a few steps.
N_LOOKS, FEWEST_STEPS = 20, 10


class CollapseWarning(UserWarning):
    """Warning: training draws all features together, those of anomalies as well."""


class CollapseWatch:
    """Measure features along training, and tell when they collapse.

    Collapse is the angular spread of the features of training images, 1 minus their mean pairwise
    cosine, falling below a share of what it was before training.

    Parameters
    ----------
    features_of : callable
        Gives the features of the watched images, ndarray of shape (n_images, n_features).
    center : ndarray of shape (n_features,)
        Mean of the features before training.
    spread_limit : float
        The share.
    from_widest : bool
        The share is of the widest spread since training began, not of that before.
    every : int
        Steps between two looks.
    monitor : callable
        Gives further measures, a dict of str to float.
    owner : str
        Named in errors.
    """

    def __init__(self, features_of, center, *, spread_limit, from_widest, every, monitor, owner):
        self.owner, self.from_widest = owner, from_widest
        self.features_of, self.center, self.monitor = features_of, center, monitor
        self.spread_limit, self.every = spread_limit, every
        self.curve, self.losses = [], []
        self.collapsed_at = None

    def look(self, step):
        """Take the measures."""
        record = {"step": step, "loss": self._mean_loss()}
        features = self.features_of()
        if not np.isfinite(features).all():
            raise TrainingError(
                f"{self.owner}: the features are not finite at step {step}; nothing was "
                "fitted. Try a smaller learning_rate."
            )
        record |= measures(features, self.center)
        further = self.monitor()
        if taken := sorted(further.keys() & record.keys()):
            raise ValueError(
                f"{self.owner}: monitor gives measures under names that the curve has itself, "
                f"{', '.join(map(repr, taken))}; choose others."
            )
        self.curve.append(record | further)
        if self.collapsed_at is None and self._share_left < self.spread_limit:
            self.collapsed_at = step

    def _mean_loss(self):
        """Mean loss since the last look, all losses brought from their device together."""
        losses, self.losses = self.losses, []
        return float(np.mean(torch.stack(losses).tolist())) if losses else np.nan

    @property
    def _share_left(self):
        """Share of its spread that the last look found."""
        spreads = [record["spread"] for record in self.curve]
        full = spreads[0]
        if self.from_widest:
            # The first look is at random weights where training begins with those: it says little,
            # but what ends far below even that has collapsed before the second look.
            full = max(spreads[0] / 10, *spreads[1:]) if len(spreads) > 1 else 0
        return spreads[-1] / full if full > 0 else 1.0

    @property
    def as_arrays(self):
        """The curve as one array for each measure."""
        # A run that was broken off may go on with another monitor.
        names = dict.fromkeys(name for record in self.curve for name in record)
        return {n: np.array([record.get(n, np.nan) for record in self.curve]) for n in names}

    def warn(self):
        """Say that training went on into collapse, and what to change."""
        advice = (
            "a smaller learning_rate, or a larger batch_size"
            if self.from_widest
            else "a smaller learning_rate, fewer stages (trainable='last'), or a penalty, as "
            "PANDA's stopping='elastic'"
        )
        warn(
            f"{self.owner}: the features of normal images collapsed: at step {self.collapsed_at} "
            f"their angular spread fell below {self.spread_limit:.0%} of what it was, at the end "
            f"it is {self._share_left:.0%}. Anomalies may have collapsed with them. Set "
            f"stop_at_collapse=True, or take fewer steps (n_steps), {advice}.",
            CollapseWarning,
        )


def measures(features, center):
    """Label-free measures of features, see `BaseAdapter.training_curve_`."""
    features = features.astype(np.float64)
    distances = ((features - center) ** 2).sum(axis=1)
    # Features of length zero have no direction: they are in collapse themselves.
    rows = features[features.any(axis=1)]
    found = {"center_distance": float(np.sqrt(distances).mean())}
    if len(rows) < 2 or rows.shape[1] < 2:
        nothing = {"spread": 0.0, "concentration": np.inf, "effective_rank": 1.0, "mmd": np.nan}
        return found | nothing
    units = unit_rows(rows)
    return found | {
        "spread": 1 - mean_pairwise_cosine(units),
        "concentration": vmf_concentration(units),
        "effective_rank": effective_rank(units),
        "mmd": uniformity_mmd(units),
    }
