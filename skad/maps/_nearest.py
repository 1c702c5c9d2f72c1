"""Nearest rows of a gallery that comes in parts, on the device of the queries."""

# Distances that are looked at together: few enough to stay in the cache of a processor.
AT_ONCE = 2**20


class Nearest:
    """Distances of rows to the nearest of a gallery that comes in parts.

    Parameters
    ----------
    queries : tensor of shape (n_queries, n_features)
    n_neighbors : int
    """

    def __init__(self, queries, n_neighbors):
        self.queries, self.n_neighbors = queries, n_neighbors
        self._found = queries.new_empty((len(queries), 0))

    def among(self, gallery):
        """Search one part of the gallery, a tensor of shape (n_rows, n_features)."""
        import torch

        count = min(self.n_neighbors, len(gallery))
        # |g - q|^2 - |q|^2, which ranks as the distance does.
        offsets = gallery.square().sum(dim=1)[None]
        found = []
        for some in self.queries.split(max(1, AT_ONCE // len(gallery))):
            ranks = torch.addmm(offsets, some, gallery.T, alpha=-2)
            nearest = (
                ranks.topk(count, largest=False).indices if count > 1 else ranks.argmin(1, True)
            )
            # Measured again without that detour, on which near rows lose their digits.
            chosen = gallery.index_select(0, nearest.flatten()).view(*nearest.shape, -1)
            found.append(chosen.sub_(some[:, None]).square_().sum(dim=2).sqrt_())
        self._found = torch.cat([self._found, torch.cat(found)], dim=1)
        if self._found.shape[1] > self.n_neighbors:
            self._found = self._found.topk(self.n_neighbors, largest=False).values

    def mean(self):
        """Mean distance to the nearest rows, shape (n_queries,)."""
        return self._found.mean(dim=1)


# Neighbours that weigh an image's score, the b of PatchCore (published code: 9).
_N_AROUND = 9


def neighbors_among(rows):
    """For each row the nearest of all, itself first.

    Parameters
    ----------
    rows : tensor of shape (n_rows, n_features)

    Returns
    -------
    neighbors : ndarray of int, shape (n_rows, at most 9)
    """
    import torch

    rows = rows - rows.mean(0)
    offsets, count = rows.square().sum(1)[None], min(_N_AROUND, len(rows))
    parts = rows.split(max(1, AT_ONCE // len(rows)))
    ranks = (torch.addmm(offsets, some, rows.T, alpha=-2) for some in parts)
    found = torch.cat([some.topk(count, largest=False).indices for some in ranks])
    itself = torch.arange(len(rows), device=rows.device)[:, None]
    others = torch.where(found == itself, found[:, :1], found)  # of equal rows any may come first
    return torch.cat([itself, others[:, 1:]], dim=1).cpu().numpy()


def peak_of(maps, gallery, neighbors, mask=None):
    """See :meth:`CoresetPixels.peaks`, for one layer.

    Parameters
    ----------
    maps : tensor of shape (n, channels, height, width)
    gallery : ndarray of shape (n_rows, channels)
    neighbors : ndarray of int
        Of `neighbors_among`.
    mask : tensor of bool, shape (n, height * width), optional
        Pixels among which the farthest is looked for.

    Returns
    -------
    peaks : tensor of shape (n,)
    """
    import torch

    gallery, neighbors = (torch.from_numpy(v).to(maps.device) for v in (gallery, neighbors))
    rows = maps.flatten(2).transpose(1, 2)
    offsets = gallery.square().sum(1)
    ranks, nearest = [], []
    for some in rows.flatten(0, 1).split(max(1, AT_ONCE // len(gallery))):
        best = torch.addmm(offsets[None], some, gallery.T, alpha=-2).argmin(1)
        nearest.append(best)
        ranks.append((gallery[best] - some).square().sum(1).sqrt())
    ranks, nearest = (torch.cat(parts).view(rows.shape[:2]) for parts in (ranks, nearest))
    farthest = (ranks if mask is None else ranks.where(mask, -1.0)).argmax(1)
    images = torch.arange(len(rows), device=rows.device)
    queries, own = rows[images, farthest], nearest[images, farthest]
    apart = (gallery[neighbors[own]] - queries[:, None]).square().sum(2).sqrt()
    weights = 1 - torch.softmax(apart, dim=1)[:, 0] if apart.shape[1] > 1 else 1.0
    return weights * ranks[images, farthest]
