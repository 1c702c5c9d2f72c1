"""Scorers as operations of a graph: rows of features to scores, in float64 as the scorers do."""

import math

import numpy as np
import torch
from torch import nn

from .. import scorers
from .._rows import same_within
from ..scorers._calibrated import quantiles_of
from ._parts import ExportError, angle_of, constant, unit

# Rows beyond the nearest that float32 proposes, which is enough for its rounding.
_SPARE = 3


def scorer_graph(scorer, owner):
    """A fitted scorer as a module.

    Parameters
    ----------
    scorer : estimator
    owner : str
        Named in errors.

    Returns
    -------
    module : torch.nn.Module
        Maps rows (n, n_features) of float32 to scores (n,) of float64.

    Raises
    ------
    ExportError
        If there is no graph of this kind of scorer.
    """
    kind = _KINDS.get(type(scorer))
    if kind is None:
        names = ", ".join(sorted(one.__name__ for one in _KINDS))
        raise ExportError(
            f"{owner}: the scorer, {type(scorer).__name__}, has no graph; those of {names} can be "
            "exported."
        )
    return kind(scorer)


class Whitened(nn.Module):
    """Coordinates in which a covariance is the identity, see ``Covariance.whiten``."""

    def __init__(self, covariance, center):
        super().__init__()
        self.register_buffer("center", constant(center))
        self.register_buffer("directions", constant(covariance.directions))
        self.register_buffer("scales", constant(1 / np.sqrt(covariance.variances)))
        has_rest = covariance.n_coordinates > len(covariance.variances)
        self.rest = math.sqrt(covariance.rest) if has_rest else None

    def forward(self, rows):
        rows = rows.double() - self.center
        coordinates = rows @ self.directions
        if self.rest is None:
            return coordinates * self.scales
        rest = rows - coordinates @ self.directions.T
        rest = rest.square().sum(1, keepdim=True).sqrt() / self.rest
        return torch.cat([coordinates * self.scales, rest], dim=1)


class Calibrated(nn.Module):
    """Scores as quantiles of the normal distribution, see ``scorers._calibrated.normal_scores``."""

    def __init__(self, calibration):
        super().__init__()
        known, z, self.below, self.above = quantiles_of(calibration)
        self.register_buffer("known", constant(known))
        self.register_buffer("z", constant(z))

    def forward(self, scores):
        known, z = self.known, self.z
        after = (known < scores[:, None]).sum(1).clamp(max=len(known) - 1)
        before = (after - 1).clamp(min=0)
        width = known[after] - known[before]
        share = torch.where(width > 0, (scores - known[before]) / width, 0.0)
        found = z[before] + share.clamp(0, 1) * (z[after] - z[before])
        found = torch.where(scores < known[0], z[0] - (known[0] - scores) / self.below, found)
        return torch.where(scores > known[-1], z[-1] + (scores - known[-1]) / self.above, found)


class Without(nn.Module):
    """Whitening by the covariance of all rows but one, see ``Covariance.without``."""

    def __init__(self, whitening, n_rows):
        super().__init__()
        self.register_buffer("center", constant(whitening._whiten(whitening.mean_[None])))
        self.register_buffer("share", constant(whitening.covariance_.share_of_one(n_rows)))
        self.scale = math.sqrt((n_rows - 1) / n_rows)

    def forward(self, whitened, rows):
        centered = rows - self.center
        squared = centered.square().sum(1)
        left = (1.0 - self.share * squared).clamp(min=torch.finfo(torch.float64).eps)
        stretch = (left.rsqrt() - 1.0) / torch.where(squared == 0, 1.0, squared)
        along = (whitened * centered[:, None]).sum(2) * stretch[:, None]
        return self.scale * (whitened + along[:, :, None] * centered[:, None])


class Nearest(nn.Module):
    """Distances to the nearest rows of a gallery, by what float32 proposes and float64 measures.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_coordinates)
        Between which distances are euclidean.
    n_neighbors : int
    """

    def __init__(self, rows, n_neighbors):
        super().__init__()
        center = rows.mean(axis=0, dtype=np.float64)
        self.register_buffer("center", constant(center))
        self.register_buffer("rows", constant(rows - center, torch.float32))
        self.n_neighbors = n_neighbors

    def forward(self, queries):
        """Squared distances, the nearest first, and indices, both of shape (n, n_neighbors)."""
        queries = queries.double() - self.center
        offsets = self.rows.square().sum(1)
        ranks = offsets - 2.0 * (queries.float() @ self.rows.T)
        count = min(self.n_neighbors + _SPARE, len(self.rows))
        proposed = ranks.topk(count, largest=False).indices
        apart = self.rows[proposed].double() - queries[:, None]
        squared, order = apart.square().sum(2).topk(self.n_neighbors, largest=False)
        return squared, proposed.gather(1, order)


class KNN(nn.Module):
    """See :class:`skad.KNNScorer`."""

    def __init__(self, scorer):
        super().__init__()
        given, self.prepared = scorer._fitted, nn.Identity()
        self.metric, self.aggregation = given.metric, given.aggregation
        self.is_unit = given.metric not in ("euclidean", "mahalanobis")
        rows, whitened = scorer._searched, given.metric.startswith("mahalanobis")
        if whitened:
            center = scorer.whitening_.mean_ if given.metric == "mahalanobis" else 0.0
            center = np.broadcast_to(center, scorer.whitening_.mean_.shape)
            self.prepared = Whitened(scorer.whitening_.covariance_, center)
        self.leaves_itself_out, self.without = given.n_centroids is None, None
        self.n_neighbors = scorer._n_neighbors
        if self.leaves_itself_out:
            rows = scorer._prepare(scorer._whitened(rows))
            self.tolerance = same_within(np.float32, scorer.gallery_.dtype)
            if whitened:  # which magnifies rounding, so that rows are compared as they came
                self.register_buffer("gallery", constant(scorer._searched, torch.float32))
                self.without = Without(scorer.whitening_, len(scorer._searched))
        self.local_scaling, self.n_found = scorer._local_scaling, self.n_neighbors
        if self.local_scaling:
            self.n_local, self.n_found = scorer._n_local, scorer._n_found
            self.register_buffer("scales", constant(scorer.local_scales_[scorer.inlier_mask_]))
        self.nearest = Nearest(rows, self.n_found + self.leaves_itself_out)

    def forward(self, rows):
        queries = self.prepared(rows.double())
        squared, indices = self.nearest(unit(queries) if self.is_unit else queries)
        if self.leaves_itself_out:
            itself = self._is_itself(rows.double(), squared, indices)
            last = torch.full_like(indices[:, 0], self.n_found)
            skipped = torch.where(itself.any(1), itself.to(torch.int64).argmax(1), last)
            kept = torch.arange(self.n_found)
            kept = kept + (kept >= skipped[:, None]).to(torch.int64)
            own = indices.gather(1, skipped[:, None])
            squared, indices = squared.gather(1, kept), indices.gather(1, kept)
            if self.without is not None:
                anew = self._without(own[:, 0], queries, indices)
                squared = torch.where(itself.any(1, keepdim=True), anew, squared)
                squared, order = squared.topk(self.n_found, largest=False)
                indices = indices.gather(1, order)
        distances = squared.sqrt()
        if self.metric in ("angle", "mahalanobis_cosine"):
            distances = angle_of(distances)
        scores = -self._aggregated(distances[:, : self.n_neighbors])
        if self.local_scaling:
            nearby = self.scales[indices[:, : self.n_local].flatten()]
            scores = scores / nearby.reshape(-1, self.n_local).mean(1).pow(self.local_scaling)
        return scores

    def _aggregated(self, distances):
        if self.aggregation == "sum_of_squares":
            return distances.square().sum(1)
        return distances.mean(1) if self.aggregation == "mean" else distances[:, -1]

    def _without(self, itself, queries, indices):
        """Squared distances, whitened without the row itself, see ``KNNScorer``."""
        rows = torch.cat([itself[:, None], indices], dim=1)
        whitened = self.prepared(self.gallery[rows.flatten()].double())
        whitened = whitened.reshape(rows.shape[0], rows.shape[1], queries.shape[1])
        vectors = torch.cat([queries[:, None], whitened[:, 1:]], dim=1)
        vectors = self.without(vectors, whitened[:, 0])
        if self.is_unit:
            vectors = unit(vectors.flatten(0, 1)).reshape(vectors.shape)
        return (vectors[:, 1:] - vectors[:, :1]).square().sum(2)

    def _is_itself(self, rows, squared, indices):
        """Which of the rows found are the query but for rounding."""
        if self.metric in ("cosine", "angle"):
            return squared.sqrt() <= self.tolerance
        tolerance = self.tolerance * rows.square().sum(1, keepdim=True).sqrt()
        if self.metric == "euclidean":
            return squared.sqrt() <= tolerance
        apart = self.gallery[indices].double() - rows[:, None]
        return apart.square().sum(2).sqrt() <= tolerance


class Centroid(nn.Module):
    """See :class:`skad.CentroidScorer`."""

    def __init__(self, scorer):
        super().__init__()
        self.metric, self.is_angle = scorer._fitted.metric, scorer._is_angle
        self.prepared = nn.Identity()
        center = constant(scorer.center_)
        if self.metric == "mahalanobis_cosine":
            self.prepared = Whitened(scorer.covariance_, np.zeros_like(scorer.center_))
        if self.is_angle:
            center = unit(self.prepared(center[None]))[0]
        self.register_buffer("center", center)

    def forward(self, rows):
        rows = self.prepared(rows.double())
        apart = (unit(rows) if self.is_angle else rows) - self.center
        squared = apart.square().sum(1)
        if self.is_angle:
            return -angle_of(squared.sqrt())
        return -squared if self.metric == "squared_euclidean" else -squared.sqrt()


class Gaussian(nn.Module):
    """See :class:`skad.GaussianScorer`."""

    def __init__(self, scorer):
        super().__init__()
        self.normalize = scorer._fitted.normalize
        covariances, means = scorer.covariances_, scorer.means_
        covariances = covariances * (len(means) if len(covariances) == 1 else 1)
        self.groups = nn.ModuleList(map(Whitened, covariances, means))
        self.constants = None
        if scorer._fitted.log_likelihood:
            circle = math.log(2 * math.pi)
            self.constants = [c.log_determinant + c.n_dimensions * circle for c in covariances]

    def forward(self, rows):
        rows = unit(rows.double()) if self.normalize else rows.double()
        scores = torch.stack([-group(rows).square().sum(1) for group in self.groups], 1)
        if self.constants is not None:
            scores = 0.5 * (scores - constant(self.constants))
        return scores.amax(1)


class KDE(nn.Module):
    """See :class:`skad.KDEScorer`."""

    def __init__(self, scorer):
        super().__init__()
        self.gamma = scorer.gamma_
        self.tolerance = same_within(np.float32, scorer._dtype)
        self.register_buffer("gallery", constant(scorer.gallery_))

    def forward(self, rows):
        rows = unit(rows.double())
        cosines = rows @ self.gallery.T
        # Not by cosines, which can't tell rows apart that are nearer than 1e-8.
        nearest = cosines.argmax(1)
        chord = (self.gallery[nearest] - rows).square().sum(1).sqrt()
        itself = (chord <= self.tolerance)[:, None] & (
            torch.arange(len(self.gallery)) == nearest[:, None]
        )
        exponents = torch.where(itself, torch.full_like(cosines, -math.inf), cosines)
        return torch.logsumexp(2.0 * self.gamma * exponents, 1) / self.gamma


class Logit(nn.Module):
    """See :class:`skad.LogitScorer`."""

    def __init__(self, scorer):
        super().__init__()

    def forward(self, rows):
        return -rows.double().amax(1)


class Confidence(nn.Module):
    """See :class:`skad.ConfidenceScorer`."""

    def __init__(self, scorer):
        super().__init__()
        self.temperature, self.n_classes = scorer._fitted.temperature, scorer.n_features_in_

    def forward(self, rows):
        logits = (rows.double() / self.temperature).topk(self.n_classes).values
        return logits[:, 0] - torch.logsumexp(logits[:, 1:], 1)


class Ensemble(nn.Module):
    """See :class:`skad.EnsembleScorer`."""

    def __init__(self, scorer):
        super().__init__()
        self.columns = [columns for columns, _ in scorer.members_]
        owner = type(scorer).__name__
        self.members = nn.ModuleList(scorer_graph(one, owner) for _, one in scorer.members_)
        self.ranges = scorer.ranges_.tolist()

    def forward(self, rows):
        parts = zip(self.columns, self.members, self.ranges)
        return sum(
            (member(rows[:, columns]) - low) / width for columns, member, (low, width) in parts
        )


class SampleWise(nn.Module):
    """See :class:`skad.scorers.SampleWiseScorer`."""

    def __init__(self, scorer):
        super().__init__()
        owner, self.width = type(scorer).__name__, scorer._width
        self.members = nn.ModuleList(scorer_graph(one, owner) for one in scorer._members)
        self.scales = scorer.scales_.tolist()

    def forward(self, rows):
        parts = zip(rows.split(self.width, 1), self.members, self.scales)
        distances = [-member(part) / scale for part, member, scale in parts]
        return -torch.stack(distances, 1).amax(1)


class Whitening(nn.Module):
    """See :class:`skad.Whitening`, a step of a Pipeline."""

    def __init__(self, scorer):
        super().__init__()
        mean = scorer.mean_ if scorer._fitted.center else np.zeros_like(scorer.mean_)
        self.whitened = Whitened(scorer.covariance_, mean)

    def forward(self, rows):
        return self.whitened(rows)


_KINDS = {
    scorers.KNNScorer: KNN,
    scorers.CentroidScorer: Centroid,
    scorers.GaussianScorer: Gaussian,
    scorers.KDEScorer: KDE,
    scorers.LogitScorer: Logit,
    scorers.ConfidenceScorer: Confidence,
    scorers.EnsembleScorer: Ensemble,
    scorers.SampleWiseScorer: SampleWise,
    scorers.Whitening: Whitening,
}
