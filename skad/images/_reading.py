"""How images are read: what an estimator's parameters say of it."""

from dataclasses import dataclass, fields
from numbers import Integral, Real

# Where the parameters of images are, for an estimator that has none itself.
_PARTS = ("adapter", "extractor", "estimator")


@dataclass(frozen=True)
class Reading:
    """How images are read, the same from one fit to the next.

    Parameters
    ----------
    image_shape : tuple of int, optional
        Shape of the image in flat rows.
    orientation : {"apply", "ignore"}
        What becomes of the orientation that files and PIL images tell.
    decode : {"exact", "draft"}
        Whether JPEG files may be decoded at a fraction of their size.
    value_range : tuple of float, optional
        Values that become black and white.
    """

    image_shape: tuple | None = None
    orientation: str = "apply"
    decode: str = "exact"
    value_range: tuple | None = None

    @classmethod
    def of(cls, estimator):
        """By the parameters of an estimator as they are now, or of the extractor within it."""
        names, owner = [field.name for field in fields(cls)], type(estimator).__name__
        holder = _holder(estimator, names)
        found = {name: getattr(holder, name) for name in names if hasattr(holder, name)}
        found["value_range"] = _range_of(found.get("value_range"), owner)
        return cls(**found)


def _holder(estimator, names):
    """The estimator that has the parameters, or the first part of it that has."""
    if any(hasattr(estimator, name) for name in names):
        return estimator
    parts = (getattr(estimator, name, None) for name in _PARTS)
    holders = (_holder(part, names) for part in parts if part is not None)
    return next((holder for holder in holders if holder is not None), None)


def _range_of(given, owner):
    """Least and greatest value, of a pair or of a number of bits."""
    if given is None:
        return None
    if isinstance(given, Integral) and not isinstance(given, bool):
        return (0.0, 2.0 ** int(given) - 1)
    pair = () if isinstance(given, bool) else tuple(given)
    are_numbers = len(pair) == 2 and all(isinstance(value, Real) for value in pair)
    if not are_numbers or not -float("inf") < pair[0] < pair[1] < float("inf"):
        raise ValueError(
            f"{owner}: value_range must be a number of bits (10, 12, 14) or a pair (black, white) "
            f"of finite numbers in this order; got {given!r}."
        )
    return (float(pair[0]), float(pair[1]))
