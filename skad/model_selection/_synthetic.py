"""SyntheticAnomalies: labelled pictures for validation, made of normal ones."""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator

from .._compat import Interval, StrOptions
from .._parameters import POSITIVE, parameter
from .._types import Images, Source
from ..images._door import check_images
from ..images._parameters import ReadingParameters
from ..images._pixels import CHANNELS
from . import _defects, _shifts

DEFECTS = {
    f.__name__: f
    for f in (
        *(_defects.cut_paste, _defects.scar, _defects.foreign, _defects.texture),
        *(_defects.blur, _defects.noise, _defects.bend, _defects.stain),
    )
}
SHIFTS = {
    f.__name__: f
    for f in (*(_shifts.rotation, _shifts.tiles, _shifts.colors, _shifts.mixture, _shifts.elastic),)
}
_GROUPS = {
    "all": (*DEFECTS, *SHIFTS),
    "defects": tuple(DEFECTS),
    "shifts": tuple(SHIFTS),
}
STRENGTHS = {"subtle": (0.0, 0.3), "medium": (0.2, 0.7), "coarse": (0.6, 1.0), "any": (0.0, 1.0)}

# A change shows where some channel differs by more than this; in so many pixels at the least.
_VISIBLE, _FEWEST_PIXELS = 6 / 255, 2
_N_TRIES = 6

# Normal pictures that are kept decoded: each is read again for every kind of anomaly.
_N_KEPT = 8


class SyntheticAnomalies(ReadingParameters, BaseEstimator):
    """Make labelled pictures for validation from normal ones.

    Each normal picture is changed in several ways, with a random strength for each. Real anomalies
    will look different. But detectors can be compared by synthetic ones, on the same normal
    pictures, without any label.

    See Also
    --------
    skad.model_selection.SyntheticKFold : A search among detectors by such anomalies.

    References
    ----------
    Li, Sohn, Yoon, Pfister, "CutPaste", CVPR 2021. Zavrtanik, Kristan, Skocaj, "DRAEM", ICCV 2021.
    Zhang, Cisse, Dauphin, Lopez-Paz, "mixup", ICLR 2018. Golan, El-Yaniv, "Deep Anomaly Detection
    Using Geometric Transformations", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad.model_selection import SyntheticAnomalies
    >>> zeros = load_digits(n_class=1).images[:20] / 16
    >>> made = SyntheticAnomalies(kinds=["stain", "tiles"]).make(zeros)
    >>> len(made.images), made.y.sum(), made.images[20].shape
    (60, np.int64(-20), (8, 8, 1))
    """

    kinds: str | list = parameter(
        default="all",
        limits=[StrOptions({"all", "defects", "shifts"}), list, tuple],
        kind='"all", "defects", "shifts" or list of str',
        kw_only=False,
        text="Kinds of anomalies. Defects change a part of the picture and have a mask: "
        '"cut_paste" and "scar" (CutPaste), "foreign" (a patch of another picture), "texture" '
        '(DRAEM), "blur", "noise", "bend", "stain". Shifts change the whole picture: '
        '"rotation", "tiles" (in another order), "colors", "mixture" (of two pictures), '
        '"elastic".',
    )
    strength: str | tuple = parameter(
        default="any",
        limits=[StrOptions(set(STRENGTHS)), "array-like"],
        kind='"any", "subtle", "medium", "coarse" or pair of float',
        text='Range from which the strength of each anomaly is drawn. "any" is (0, 1), "subtle" '
        '(0, 0.3), "medium" (0.2, 0.7) and "coarse" (0.6, 1). Defects cover 1 to 15 % of a '
        "picture (CutPaste: 2 to 15).",
    )
    per_image: int | None = parameter(
        default=None,
        limits=[POSITIVE, None],
        text="Number of kinds that are made of each picture; over all pictures every kind is "
        "equally frequent. By default all kinds.",
    )
    outliers: object = parameter(
        default=None,
        limits="no_validation",  # the door for images says what it takes
        kind="images, optional",
        text="Real anomalies, in any container, see :ref:`containers`. They are added as a kind of "
        'their own, "outlier".',
    )
    image_size: int | None = parameter(
        default=256,
        limits=[Interval(Integral, 8, None, closed="left"), None],
        text="Larger pictures, normal ones too, are first reduced by averaging over boxes of whole "
        "pixels. Their shorter side stays at least this long. None keeps the full size.",
    )
    random_state: int = parameter(
        default=0,
        limits=[Interval(Integral, 0, None, closed="left")],
        text="Seeds the anomalies. Each depends only on this, on its kind and on the pixels of its "
        'own picture, not on the other pictures; except that "foreign", "texture" and '
        '"mixture" use a part of another picture.',
    )

    def make(self, X: Images) -> "SyntheticSet":
        """Make anomalies of normal pictures.

        Parameters
        ----------
        X : images
            Normal pictures, at least two, in any container, see :ref:`containers`.

        Returns
        -------
        made : SyntheticSet
            The normal pictures and their anomalies.

        Raises
        ------
        ValueError, TypeError, OSError
            If pictures are missing, broken or too few, or a parameter does not fit.
        """
        self._validate_params()
        self._check()
        source = self._source(X)
        if len(source) < 2:
            raise ValueError("SyntheticAnomalies: at least 2 pictures are needed; got 1 sample.")
        outliers = None if self.outliers is None else self._source(self.outliers)
        return SyntheticSet(self, source, outliers)

    def _source(self, X):
        return check_images(copy.copy(self), X, reset=True)  # what is learned is of this X alone

    def kinds_of(self, i: int) -> list[str]:
        """List the kinds of anomalies that are made of one picture.

        Over all pictures, every kind is made equally often.

        Parameters
        ----------
        i : int
            Index of the picture.

        Returns
        -------
        kinds : list of str
            Names of the kinds.
        """
        kinds = self._names()
        n_kinds = len(kinds)
        if self.per_image is None or self.per_image >= n_kinds:
            return list(kinds)
        turn, place = divmod(i, n_kinds)
        first = np.random.default_rng([self.random_state, turn]).permutation(n_kinds)[place]
        return [kinds[(first + j) % n_kinds] for j in range(self.per_image)]

    def strength_range(self) -> tuple[float, float]:
        """Get the lowest and the highest strength.

        Returns
        -------
        low, high : float
            In [0, 1].
        """
        given = self.strength
        return STRENGTHS[given] if isinstance(given, str) else tuple(map(float, given))

    def _names(self):
        return _GROUPS[self.kinds] if isinstance(self.kinds, str) else tuple(self.kinds)

    def _check(self):
        """What scikit-learn's limits can't say."""
        known = _GROUPS["all"]
        wrong = [] if isinstance(self.kinds, str) else [k for k in self.kinds if k not in known]
        if wrong or (not len(self.kinds) and self.outliers is None):
            raise ValueError(
                f"SyntheticAnomalies: kinds must be 'all', 'defects', 'shifts' or a list of "
                f"{', '.join(known)}; got {self.kinds!r}."
            )
        if not isinstance(self.strength, str) and not _is_range(self.strength):
            raise ValueError(
                "SyntheticAnomalies: strength must be 'any', 'subtle', 'medium', 'coarse' or a "
                f"pair of floats, 0 <= low <= high <= 1; got {self.strength!r}."
            )


def _is_range(given):
    try:
        low, high = given
    except (TypeError, ValueError):
        return False
    return isinstance(low, Real) and isinstance(high, Real) and 0 <= low <= high <= 1


class SyntheticSet:
    """Normal pictures and anomalies made of them, each made on access.

    Parameters
    ----------
    synthetic : SyntheticAnomalies
        Makes the anomalies.
    source : ImageSource
        Normal pictures.
    outliers : ImageSource, optional
        Real anomalies.

    Attributes
    ----------
    images : sequence of ndarray, shape (height, width, channels)
        First the normal pictures, then the anomalies made of the first, of the second and so on,
        then real anomalies. They are uint8, or float32 in [0, 1], as the pictures are. For flat
        rows it is an ndarray of shape (n_images, n_features).
    y : ndarray of int, shape (n_images,)
        +1 for normal, -1 for anomalies.
    kinds : ndarray of str, shape (n_images,)
        "normal", the kind of anomaly, or "outlier".
    sources : ndarray of int, shape (n_images,)
        Index of the normal picture that each is made of; -1 for real anomalies.
    masks : sequence of ndarray of bool, shape (height, width)
        True where the picture was changed: nowhere in normal pictures, everywhere for shifts and
        real anomalies.
    """

    def __init__(
        self, synthetic: "SyntheticAnomalies", source: Source, outliers: Source = None
    ) -> None:
        self._synthetic, self._source, self._outliers = synthetic, source, outliers
        self._kept = OrderedDict()
        n_normal = len(source)
        kinds, sources = ["normal"] * n_normal, list(range(n_normal))
        for i in range(n_normal):
            found = synthetic.kinds_of(i)
            kinds += found
            sources += [i] * len(found)
        if outliers is not None:
            kinds += ["outlier"] * len(outliers)
            sources += [-1] * len(outliers)
        self.kinds, self.sources = np.array(kinds), np.array(sources)
        self.y = np.where(self.kinds == "normal", 1, -1)
        self.masks = _Lazily(len(kinds), self._mask)
        self.images = _Lazily(len(kinds), self._image)
        if source.n_features is not None:
            self.images = self._rows()

    def __len__(self):
        return len(self.y)

    def _image(self, i):
        picture, _, white = self._made(i)
        if white == 1:
            return picture.astype(np.float32)
        return np.round(picture * white).astype(np.uint8)

    def _mask(self, i):
        return self._made(i)[1]

    def _made(self, i):
        """Picture i in [0, 1], where it is changed, and the white of its kind of numbers."""
        kind, source = self.kinds[i], self.sources[i]
        if kind == "outlier":
            picture, white = self._read(self._outliers, i - len(self.y) + len(self._outliers))
            return picture, np.ones(picture.shape[:2], bool), white
        picture, white = self._normal(source)
        if kind == "normal":
            return picture, np.zeros(picture.shape[:2], bool), white
        changed, mask = self._changed(picture, kind, source)
        return changed, mask, white

    def _changed(self, picture, kind, source):
        digest = hashlib.blake2b(np.ascontiguousarray(picture), digest_size=8)
        digest.update(kind.encode())
        own = int.from_bytes(digest.digest(), "little")
        rng = np.random.default_rng([self._synthetic.random_state, own])
        low, high = self._synthetic.strength_range()
        strength = rng.uniform(low, high)
        other = self._other(source, picture.shape, rng)
        for attempt in range(_N_TRIES + 1):
            # What a defect takes the place of may look the same: another place is tried, and at
            # last what can be seen on any picture.
            name = kind if attempt < _N_TRIES else "stain"
            if name in DEFECTS:
                changed, weight = DEFECTS[name](picture, other, strength, rng)
            else:
                changed, weight = SHIFTS[name](picture, other, strength, rng), None
            changed = np.ascontiguousarray(np.clip(changed, 0, 1), dtype=np.float32)
            if changed.shape != picture.shape:
                return changed, np.ones(changed.shape[:2], bool)
            visible = (abs(changed - picture) > _VISIBLE).any(axis=2)
            if visible.sum() >= _FEWEST_PIXELS:
                break
        return changed, np.ones(visible.shape, bool) if weight is None else visible

    def _other(self, source, shape, rng):
        """Another picture, as large as this one."""
        i = int(rng.integers(len(self._source) - 1))
        other, _ = self._normal(i + (i >= source))
        if other.shape[2] != shape[2]:
            other = np.repeat(other.mean(axis=2, keepdims=True), shape[2], axis=2)
        if other.shape[:2] != shape[:2]:
            rows = np.arange(shape[0]) * other.shape[0] // shape[0]
            columns = np.arange(shape[1]) * other.shape[1] // shape[1]
            other = other[rows][:, columns]
        return other

    def _normal(self, i):
        """A normal picture, and the white of its kind of numbers."""
        if i not in self._kept:
            self._kept[i] = self._read(self._source, i)
            while len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        return self._kept[i]

    def _read(self, source, i):
        pixels = source.read(i, i + 1, detail=self._detail).pixels[0].numpy()
        white = 255 if pixels.dtype == np.uint8 else 1
        picture = np.moveaxis(pixels, 0, 2).astype(np.float32) / white
        return np.clip(picture, 0, 1), white

    def _detail(self, height, width):
        """Least height and width that a picture is reduced to."""
        size = self._synthetic.image_size
        if size is None:
            return height, width
        share = min(1.0, size / min(height, width))
        return height * share, width * share

    def _rows(self):
        """Pictures as flat rows, in the values of the normal ones."""
        source, found = self._source, []
        for i in range(len(self)):
            picture, _, white = self._made(i)
            if len(source.image_shape) == 3 and source.image_shape[-1] not in CHANNELS:
                picture = np.moveaxis(picture, 2, 0)
            low, high = source.pixel_range or (0, white)
            found.append((low + picture * (high - low)).ravel())
        return np.array(found)


class _Lazily(Sequence):
    """A sequence whose items are made when they are asked for."""

    def __init__(self, n_items, item):
        self._n_items, self._item = n_items, item

    def __len__(self):
        return self._n_items

    def __getitem__(self, i):
        if not -self._n_items <= i < self._n_items:
            raise IndexError(f"there are {self._n_items} pictures; asked for {i}.")
        return self._item(i % self._n_items)
