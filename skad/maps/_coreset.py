"""A few rows that lie near all others: greedy k-centres, in blocks, of rows that come in parts."""

import math

import numpy as np
from sklearn.utils import check_random_state

from .._types import Tensor

# Rows of which the next centres are found without a look at all others.
_BLOCK = 512

# Rows whose lengths are taken at once.
_LENGTHS_AT_ONCE = 2**13

# Distances that are held at once.
_AT_ONCE = 2**20


def greedy_centers(rows: Tensor, n_centers: int, first: int = 0) -> np.ndarray:
    r"""Choose rows one after another, each the farthest from those chosen before.

    The chosen centres cover all rows within twice the smallest radius that is possible for their
    number (Gonzalez 1985). For speed, the few hundred farthest rows are compared among themselves
    first. As long as one of them is as far as the nearest of them was at the start, it is the
    farthest of all rows. So many centres are found before the distances of all rows are computed
    again, by one matrix product.

    Parameters
    ----------
    rows : tensor of shape (n_rows, n_features)
        Rows to choose from.
    n_centers : int
        Number of centres.
    first : int
        Index of the first centre.

    Returns
    -------
    centers : ndarray of int, shape (n_centers,)
        Indices of the centres, in the order in which they were chosen. Fewer if fewer rows differ.
    """
    return _greedy(rows - rows.mean(0), n_centers, first)


def _greedy(rows, n_centers, first):
    """The same of rows around zero, lest their products lose digits."""
    import torch

    lengths = torch.cat([some.square().sum(1) for some in rows.split(_LENGTHS_AT_ONCE)])
    chosen = [first]
    nearest = _squared(rows, lengths, rows[[first]], lengths[[first]])
    while len(chosen) < min(n_centers, len(rows)):
        found = nearest.topk(min(_BLOCK, len(rows)))
        candidates, distances = found.indices, found.values.cpu().numpy()
        bound = distances[-1] if len(candidates) < len(rows) else 0.0
        some, some_lengths = rows[candidates], lengths[candidates]
        among = some_lengths[:, None] + some_lengths - 2 * (some @ some.T)
        among, new = among.clamp_(min=0).cpu().numpy(), []
        while len(chosen) + len(new) < n_centers:
            farthest = int(distances.argmax())
            if distances[farthest] <= 0 or distances[farthest] < bound:
                break
            new.append(farthest)
            np.minimum(distances, among[farthest], out=distances)
            distances[farthest] = 0.0
        if not new:
            break
        indices = candidates[torch.as_tensor(new, device=candidates.device)]
        chosen += indices.tolist()
        nearest = torch.minimum(nearest, _squared(rows, lengths, rows[indices], lengths[indices]))
        nearest[indices] = 0.0
    return np.array(chosen)


def _squared(rows, lengths, centers, center_lengths):
    """Squared distance of each row to the nearest centre."""
    import torch

    step, found = max(1, _AT_ONCE // len(centers)), torch.empty_like(lengths)
    for some, own, out in zip(*(all_.split(step) for all_ in (rows, lengths, found))):
        products = torch.addmm(center_lengths[None], some, centers.T, alpha=-2)
        # In place: results kept between the products would leave holes where those were.
        torch.amin(products, 1, out=out).add_(own).clamp_(min=0)
    return found


class Coreset:
    """Rows that come in parts, of which centres are kept; no more are held at once than a limit.

    What is held is reduced to half the limit whenever it comes to it, and at the end to the
    centres: a centre is as far from a row as the radii of all these together, at the most.

    Parameters
    ----------
    n_centers : int
    limit : float
        Rows that may be held. Fewer than four times the centres are not asked of it.
    n_projected : int or None
        Random directions on which distances are taken (Johnson and Lindenstrauss); None for all.
    random_state : int, RandomState instance or None
        Draws those, and the first centre.
    """

    def __init__(self, n_centers, limit, n_projected=None, random_state=0):
        self.n_centers, self.limit = n_centers, max(limit, 4 * n_centers)
        self.n_projected, self._random_state = n_projected, check_random_state(random_state)
        self._held, self._n_held, self._projection = [], 0, None

    def add(self, rows):
        """Take rows, a tensor of shape (n_rows, n_features)."""
        self._held.append(rows)
        self._n_held += len(rows)
        if self._n_held > self.limit:
            self._held = [self._reduced(int(self.limit) // 2)]
            self._n_held = len(self._held[0])

    def merge(self, other):
        r"""Take what another coreset holds, of rows of its own: as if they all had come here.

        What a coreset holds is itself a cover of its rows. Say that so many centres, wherever they
        are, leave no row farther than :math:`\rho`. Greedy centres of any of the rows then cover
        these within :math:`2 \rho` (Gonzalez 1985), so the centres of what is held cover all within
        :math:`2 \rho` for the choice at the end, and as much again for each time that what was held
        was reduced on the way: :math:`2 \rho` if all were held, :math:`4 \rho` for centres of the
        centres of parts, however many these are.

        Parameters
        ----------
        other : Coreset
            Of the same number of features; it holds nothing afterwards.

        Returns
        -------
        self : object
            The gallery itself.
        """
        held, other._held, other._n_held = other._held, [], 0
        for rows in held:
            self.add(rows)
        return self

    def centers(self):
        """The centres of all rows, a tensor of shape (n_centers, n_features)."""
        return self._reduced(self.n_centers)

    def _reduced(self, n_centers):
        import torch

        # What is held is never joined, which would take its memory twice.
        first = self._random_state.randint(self._n_held)
        chosen = torch.as_tensor(_greedy(self._around_zero(), n_centers, first))
        chosen = chosen.to(self._held[0].device)
        kept = self._held[0].new_empty((len(chosen), self._held[0].shape[1]))
        start = 0
        for rows in self._held:
            here = (chosen >= start) & (chosen < start + len(rows))
            kept[here] = rows[chosen[here] - start]
            start += len(rows)
        self._held = []
        return kept

    def _around_zero(self):
        """What distances are taken of: all that is held, projected, less its mean."""
        found, start = None, 0
        for rows in map(self._projected, self._held):
            if found is None:
                found = rows.new_empty((self._n_held, rows.shape[1]))
            found[start : start + len(rows)] = rows
            start += len(rows)
        return found.sub_(found.mean(0))

    def _projected(self, rows):
        import torch

        if self.n_projected is None or rows.shape[1] <= self.n_projected:
            return rows
        if self._projection is None:
            drawn = self._random_state.normal(size=(rows.shape[1], self.n_projected))
            drawn = torch.from_numpy(drawn / math.sqrt(self.n_projected))
            self._projection = drawn.to(rows.device, rows.dtype)
        return rows @ self._projection
