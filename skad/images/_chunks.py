"""Images of a stream, some at a time: in constant memory, however many there are."""

from collections.abc import Sequence, Set
from itertools import islice

from ._containers import first_of, listed, passes_once, refuse, refuse_one_image, sequence_of
from ._items import is_image_item


class Chunk:
    """Some of the images of a stream, which know where in it they lie.

    Parameters
    ----------
    images : list, sequence, array or tensor
        Items, or an array of images.
    first : int
        Index in the stream of the first of them, by which errors name them.
    are_items : bool
    """

    def __init__(self, images, first, are_items):
        self.images, self.first, self.are_items = images, first, are_items

    def __len__(self):
        return len(self.images)


class ImageStream:
    """Images in any container, or an iterator of items, that are taken some at a time.

    Parameters
    ----------
    X : images or iterable
        In any container, see :ref:`containers`; or what gives such items one by one, endlessly if
        need be.
    size : int
        Most images of a chunk.
    owner : str
        Named in errors.

    Attributes
    ----------
    passes_once : bool
        Whether images can be had but once, and nobody knows how many there are.
    kind : str
        What the images are, as far as it can be told before they come.
    """

    def __init__(self, X, size, owner):
        refuse(X, owner, once=True)
        self._size, self._owner = size, owner
        self.passes_once = passes_once(X) and not isinstance(X, Set)
        self._items = iter(X) if self.passes_once else sequence_of(X, owner)
        self._array = X if self._items is None else None
        self.kind = "items"
        if self._items is None:
            shape = getattr(X, "shape", ())
            refuse_one_image(shape, hasattr(X, "detach"), owner)
            self.kind = f"{getattr(X, 'dtype', type(X).__name__)} {list(shape[1:])}"

    @property
    def _n_images(self):
        images = self._array if self._items is None else self._items
        return images.shape[0] if hasattr(images, "shape") else len(images)

    def chunks(self, n_before=0):
        """Chunks in order, each taken when it is asked for.

        Parameters
        ----------
        n_before : int
            So many images were taken before, by `skip` where images pass once.

        Yields
        ------
        chunk : Chunk or array-like
            Rows of numbers come as they are.
        """
        if self.passes_once:
            yield from self._chunks_of_iterator(n_before)
            return
        for first in range(n_before, max(self._n_images, 1), self._size):
            yield self._part(first, min(first + self._size, self._n_images))

    def _chunks_of_iterator(self, first):
        are_items = None
        while some := list(islice(self._items, self._size)):
            if are_items is None:
                are_items = is_image_item(first_of(some))
            yield Chunk(some, first, True) if are_items else some
            first += len(some)

    def _part(self, start, stop):
        if self._items is None:
            some = getattr(self._array, "iloc", self._array)[start:stop]
            return Chunk(some, start, False) if getattr(some, "ndim", 2) > 2 else some
        whole = listed(self._items)
        some = list(self._items[start:stop]) if whole else Part(self._items, start, stop)
        return Chunk(some, start, True)

    def skip(self, n_images):
        """Pass over images, which are not opened.

        Parameters
        ----------
        n_images : int

        Returns
        -------
        items : iterable
            As many as there are of them; numbers where to look at them is to open them.
        """
        if self.passes_once or listed(self._items):
            return islice(self._items, n_images)
        return range(min(n_images, self._n_images))


class Part(Sequence):
    """A part of a sequence that is opened item by item, as data sets are."""

    def __init__(self, items, start, stop):
        self._items, self._places = items, range(start, stop)

    def __len__(self):
        return len(self._places)

    def __getitem__(self, i):
        return self._items[self._places[i]]
