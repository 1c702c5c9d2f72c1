"""A few rows that lie near all others: greedy k-centres, in blocks, of rows that come in parts."""

import math

import numpy as np
from sklearn.utils import check_random_state

# Rows of which the next centres are found without a look at all others.
_BLOCK = 512

# Distances that are held at once.
_AT_ONCE = 2**22


def greedy_centers(rows, n_centers, first=0):
    r"""Choose rows one after another, each the farthest from those chosen before.

    That covers all rows within twice the least radius that so many centres allow (Gonzalez 1985).
    The farthest few hundred rows are looked at among themselves: as long as one of them stays as
    far as the nearest of them was, it is the farthest of all, so that many centres are found before
    the distances of all rows are taken again, by one product of matrices.

    Parameters
    ----------
    rows : tensor of shape (n_rows, n_features)
    n_centers : int
    first : int
        The first centre.

    Returns
    -------
    centers : ndarray of int, shape (n_centers,)
        In the order in which they were chosen. Fewer where fewer rows differ.
    """
    import torch

    rows = rows - rows.mean(0)
    lengths = rows.square().sum(1)
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

    step = max(1, _AT_ONCE // len(centers))
    found = []
    for some, own in zip(rows.split(step), lengths.split(step)):
        products = torch.addmm(center_lengths[None], some, centers.T, alpha=-2)
        found.append(products.amin(1).add_(own).clamp_(min=0))
    return torch.cat(found)


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

    def centers(self):
        """The centres of all rows, a tensor of shape (n_centers, n_features)."""
        return self._reduced(self.n_centers)

    def _reduced(self, n_centers):
        import torch

        rows = torch.cat(self._held)
        self._held = []
        first = self._random_state.randint(len(rows))
        chosen = greedy_centers(self._projected(rows), n_centers, first)
        return rows[torch.as_tensor(chosen, device=rows.device)]

    def _projected(self, rows):
        import torch

        if self.n_projected is None or rows.shape[1] <= self.n_projected:
            return rows
        if self._projection is None:
            drawn = self._random_state.normal(size=(rows.shape[1], self.n_projected))
            drawn = torch.from_numpy(drawn / math.sqrt(self.n_projected))
            self._projection = drawn.to(rows.device, rows.dtype)
        return rows @ self._projection
