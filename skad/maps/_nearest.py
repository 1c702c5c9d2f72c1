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
