"""Masks with their score maps, image by image, and the rank of pixels in bounded memory."""

import numpy as np

# Pixels ranked at a time. Of each of them up to 130 bytes are held at once (measured), 270 MB in
# all, whatever the number of images.
CHUNK_SIZE = 2**21


def boolean_mask(mask, i, owner):
    """The mask of image `i` as booleans, True = defect."""
    if mask.dtype.kind == "b":
        return mask
    if mask.dtype.kind not in "iuf" or not any(np.isin(mask, (0, d)).all() for d in (1, 255)):
        found = np.unique(mask.astype(str)).tolist()
        raise ValueError(
            f"{owner}: masks must be booleans (True = defect), or numbers 0 and 1, or 0 and 255; "
            f"the mask of image {i} (dtype {mask.dtype}) has {', '.join(found[:4])}"
            f"{', ...' if len(found) > 4 else ''}. Compare it, for example mask > 127."
        )
    return mask != 0


def finite_scores(scores, i, owner):
    """The score map of image `i`, if its values are floats and finite."""
    if scores.dtype.kind != "f":
        raise ValueError(
            f"{owner}: score maps must be floats (high = normal); that of image {i} has dtype "
            f"{scores.dtype}. Convert it with astype(float), before any change of sign."
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{owner}: score map of image {i} contains NaN or infinity.")
    return scores


class MapPairs:
    """Masks and score maps that belong together, opened and checked anew by every iteration.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        Booleans, or numbers of which 0 is normal and 1, or 255, is defect.
    score_maps : sequence of ndarray of float, shape (height, width)
    owner : str
        Named in errors.

    Raises
    ------
    TypeError
        If either is no sequence.
    ValueError
        If there are no images, or not as many masks as maps; while iterating: if an item of either
        is not as said above, or the shapes of mask and map differ.
    """

    def __init__(self, masks, score_maps, owner):
        self.masks, self.score_maps, self.owner = masks, score_maps, owner
        n_masks, n_maps = self._length(masks, "masks"), self._length(score_maps, "score_maps")
        if n_masks != n_maps:
            raise ValueError(
                f"{owner}: masks and score_maps must be as many; got {n_masks} masks and {n_maps} "
                "score maps. Normal images need a mask as well, all False."
            )
        if not n_masks:
            raise ValueError(f"{owner}: masks and score_maps are empty; at least one is needed.")

    def _length(self, items, name):
        if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
            raise TypeError(
                f"{self.owner}: {name} must be a sequence of 2-D arrays, with len() and [i]; got "
                f"{type(items).__name__}. A generator becomes one by list()."
            )
        if getattr(items, "ndim", 1) in (0, 2):
            raise ValueError(
                f"{self.owner}: {name} must be a sequence of 2-D arrays; got a single array of "
                f"shape {tuple(items.shape)}. Put it into a list: [array]."
            )
        return len(items)

    def __iter__(self):
        """Yield mask (bool) and scores (float64) of every image."""
        for i in range(len(self.masks)):
            yield self._open(i)

    def _open(self, i):
        mask, scores = np.asarray(self.masks[i]), np.asarray(self.score_maps[i])
        for name, array in [("mask", mask), ("score map", scores)]:
            if array.ndim != 2:
                raise ValueError(
                    f"{self.owner}: {name} of image {i} must be 2-D, (height, width); got shape "
                    f"{array.shape}. A single image goes into a list: [array]."
                )
        if mask.shape != scores.shape:
            raise ValueError(
                f"{self.owner}: mask and score map of an image must be of the same shape; for image"
                f" {i} got {mask.shape} and {scores.shape}. Resize the mask, or make the map from "
                "the image at the size of its mask."
            )
        scores = finite_scores(scores, i, self.owner).astype(np.float64, copy=False)
        return boolean_mask(mask, i, self.owner), scores

    def defect_chunks(self, parts=None):
        """Defect pixels of all images, a chunk at a time: scores, or what `parts` yields of them.

        Raises
        ------
        ValueError
            At the end, if there were none.
        """
        parts = (scores[mask] for mask, scores in self) if parts is None else parts
        chunk = None
        for chunk in _chunks(parts):
            yield chunk
        if chunk is None:
            raise ValueError(
                f"{self.owner}: all pixels of the {len(self.masks)} masks are normal; both kinds "
                "are needed. Add images with a defect."
            )

    def normal_counts(self, values):
        """How many normal pixels score below each value, how many at most it, how many there are.

        Parameters
        ----------
        values : ndarray of float64, shape (n_values,)
            In ascending order, which is faster.

        Returns
        -------
        below, at_most : ndarray of int64, shape (n_values,)
        n_normal : int

        Raises
        ------
        ValueError
            If there are none.
        """
        below, at_most = np.zeros((2, len(values)), dtype=np.int64)
        n_normal = 0
        for chunk in _chunks(scores[~mask] for mask, scores in self):
            chunk.sort()
            below += np.searchsorted(chunk, values, "left")
            at_most += np.searchsorted(chunk, values, "right")
            n_normal += len(chunk)
        if not n_normal:
            raise ValueError(
                f"{self.owner}: all pixels of the {len(self.masks)} masks are defects; both kinds "
                "are needed. Add images with normal pixels."
            )
        return below, at_most, n_normal

    def defect_counts(self, values):
        """How many defect pixels score at most each value; as `normal_counts`."""
        at_most = np.zeros(len(values), dtype=np.int64)
        for chunk in self.defect_chunks():
            chunk.sort()
            at_most += np.searchsorted(chunk, values, "right")
        return at_most


def _chunks(parts):
    """Arrays joined and cut to CHUNK_SIZE; the last may be shorter."""
    held, n_held = [], 0
    for part in parts:
        while n_held + len(part) >= CHUNK_SIZE:
            n_taken = CHUNK_SIZE - n_held
            yield np.concatenate([*held, part[:n_taken]])
            part, held, n_held = part[n_taken:], [], 0
        held.append(part)
        n_held += len(part)
    if n_held:
        yield np.concatenate(held)
