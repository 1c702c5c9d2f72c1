"""Moments of rows at each of many places: all that their shrunken covariances need."""

import torch


class PlaceMoments:
    """Sums over rows y about their mean, at each place; batches add up, whatever their order.

    What is held does not grow with the number of rows. The fourth power of lengths, which Ledoit
    and Wolf need, moves to another mean by the third.

    Parameters
    ----------
    n_places, n_features : int
    device : torch.device

    Attributes
    ----------
    count : int
        Rows at each place.
    mean : tensor of shape (n_places, n_features)
    scatter : tensor of shape (n_places, n_features, n_features)
        Sum of y y^T.
    cubic : tensor of shape (n_places, n_features)
        Sum of |y|^2 y.
    quartic : tensor of shape (n_places,)
        Sum of |y|^4.
    """

    def __init__(self, n_places, n_features, device):
        self.count = 0
        self.mean = torch.zeros((n_places, n_features), device=device)
        self.scatter = torch.zeros((n_places, n_features, n_features), device=device)
        self.cubic = torch.zeros((n_places, n_features), device=device)
        self.quartic = torch.zeros(n_places, device=device)

    def to(self, device):
        """A copy on a device."""
        other = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(other, name, value if name == "count" else value.to(device, copy=True))
        return other

    def add(self, rows):
        """Take further rows, a tensor of float32, shape (n_places, n_rows, n_features)."""
        count = self.count + rows.shape[1]
        shift = (rows.mean(1) - self.mean) * (rows.shape[1] / count)
        self._move(shift)
        rows = rows - self.mean[:, None]
        squares = rows.square().sum(2)
        self.cubic += torch.bmm(squares[:, None], rows)[:, 0]
        self.quartic += squares.square().sum(1)
        # As one more row, what moving adds costs no pass over the scatter of its own.
        rows = torch.cat([rows, shift[:, None] * self.count**0.5], dim=1)
        self.scatter.baddbmm_(rows.transpose(1, 2), rows)
        self.count = count

    def __add__(self, other):
        """Sums of both, as if the rows of the other had come too; on the device of the first."""
        one, two = self.to(self.mean.device), other.to(self.mean.device)
        count = one.count + two.count
        step = (two.mean - one.mean) * (two.count / max(count, 1))
        for part, shift in ((two, step + one.mean - two.mean), (one, step)):
            part._move(shift)
            part.scatter.baddbmm_(shift[:, :, None], shift[:, None], alpha=part.count)
        one.count = count
        one.scatter += two.scatter
        one.cubic += two.cubic
        one.quartic += two.quartic
        return one

    def _move(self, shift):
        """Sums about another mean (Chan, Golub and LeVeque), but for the scatter.

        They were about the mean before, so nothing cancels.
        """
        along = torch.bmm(self.scatter, shift[..., None])[..., 0]
        length, spread = shift.square().sum(1), self.spread
        self.quartic += 4 * (shift * (along - self.cubic)).sum(1)
        self.quartic += 2 * length * spread + self.count * length.square()
        self.cubic -= 2 * along + (spread + self.count * length)[:, None] * shift
        self.mean = self.mean + shift

    @property
    def spread(self):
        """Sum of |y|^2 at each place."""
        return self.scatter.diagonal(dim1=1, dim2=2).sum(1)

    def ledoit_wolf(self):
        """Share of the mean variance that is best mixed in at each place (Ledoit and Wolf 2004).

        Returns
        -------
        shares : tensor of shape (n_places,)
        """
        n_features = self.mean.shape[1]
        squares = torch.linalg.vector_norm(self.scatter, dim=(1, 2)).square() / self.count**2
        distance = squares - (self.spread / self.count).square() / n_features
        noise = (self.quartic / self.count - squares).clamp(min=0) / self.count
        found = torch.minimum(noise, distance) / distance
        return torch.where(distance > 0, found, torch.zeros_like(found))
