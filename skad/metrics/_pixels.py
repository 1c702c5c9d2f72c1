"""How well anomaly maps tell defect pixels from normal ones."""

from .._types import MapsLike
from ._map_pairs import MapPairs


def pixel_auroc_score(masks: MapsLike, score_maps: MapsLike) -> float:
    r"""Compute the area under the ROC curve of the pixels of all images.

    .. math:: \frac{1}{|D| |N|} \sum_{d \in D} \sum_{n \in N}
        \mathbf 1\{s_d < s_n\} + \tfrac12 \mathbf 1\{s_d = s_n\}

    with scores s, the defect pixels D and the normal pixels N of all images.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image: booleans (True = defect), or numbers 0 and 1, or 0 and 255. The sequence
        may be a list, an array (n_images, height, width), memory-mapped or not, or any object with
        ``len`` and ``[i]`` that opens one mask at a time. Images may differ in size.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask, of the same shape, in any such sequence. **High = normal**, as every
        score in skad. Negate maps of other libraries, in which high is anomalous.

    Returns
    -------
    auroc : float
        In [0, 1]: of all pairs of a defect pixel and a normal pixel, the share in which the defect
        scores lower. Ties count half. Pairs are formed across images, so a score must mean the same
        in every image.

    Raises
    ------
    TypeError
        If masks or maps are not a sequence.
    ValueError
        If there are no images, or not as many masks as maps; if a mask and its map differ in shape;
        if a mask has other values; if a map is not of floats, or not finite; if all pixels are of
        one kind. The message names images by their number, from 0.

    See Also
    --------
    pixel_average_precision_score : More telling if defect pixels are few.
    pro_score : Gives every region the same weight, large or small.
    auroc_score : The same for whole images.

    Notes
    -----
    The result is exact: pixels are ranked, not sorted into bins. Images are opened one at a time,
    at least twice each, and memory does not grow with their number. Defect pixels are ranked among
    the normal ones in chunks of two million, and each chunk takes another pass over the images.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.metrics import pixel_auroc_score
    >>> masks = [np.array([[True, True, False]]), np.array([[False, False]])]
    >>> score_maps = [np.array([[0.1, 0.6, 0.9]]), np.array([[0.5, 0.8]])]
    >>> round(pixel_auroc_score(masks, score_maps), 3)
    0.833
    """
    pairs = MapPairs(masks, score_maps, "pixel_auroc_score")
    twice_wrong = n_defect = 0
    for scores in pairs.defect_chunks():
        scores.sort()
        below, at_most, n_normal = pairs.normal_counts(scores)
        twice_wrong += int(below.sum()) + int(at_most.sum())
        n_defect += len(scores)
    # Whole numbers of any size, divided once: the nearest float to the exact value.
    twice_all = 2 * n_defect * n_normal
    return (twice_all - twice_wrong) / twice_all


def pixel_average_precision_score(masks: MapsLike, score_maps: MapsLike) -> float:
    r"""Compute the average precision of the pixels of all images, with defects as positives.

    .. math:: \frac{1}{|D|} \sum_{d \in D}
        \frac{|\{e \in D : s_e \le s_d\}|}{|\{p \in D \cup N : s_p \le s_d\}|}

    with scores s, the defect pixels D and the normal pixels N of all images. It is the share of
    defects among all pixels at least as anomalous as a defect pixel, averaged over defect pixels.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, True = defect; see :func:`pixel_auroc_score`.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask, of the same shape. **High = normal**, as every score in skad. Negate maps
        of other libraries, in which high is anomalous.

    Returns
    -------
    average_precision : float
        In (0, 1]; random scores get the share of defect pixels.

    Raises
    ------
    TypeError
        If masks or maps are not a sequence.
    ValueError
        As in :func:`pixel_auroc_score`.

    See Also
    --------
    sklearn.metrics.average_precision_score : The same for pixels in one array, high = anomalous.
    pixel_auroc_score : Does not depend on the share of defect pixels.

    Notes
    -----
    The result is exact, and memory is bounded, as in :func:`pixel_auroc_score`. Images are opened
    at least three times each.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.metrics import pixel_average_precision_score
    >>> masks = [np.array([[True, True, False]]), np.array([[False, False]])]
    >>> score_maps = [np.array([[0.1, 0.6, 0.9]]), np.array([[0.5, 0.8]])]
    >>> round(pixel_average_precision_score(masks, score_maps), 3)
    0.833
    """
    pairs = MapPairs(masks, score_maps, "pixel_average_precision_score")
    total = n_defect = 0
    for scores in pairs.defect_chunks():
        scores.sort()
        false_alarms = pairs.normal_counts(scores)[1]
        found = pairs.defect_counts(scores)
        total += (found / (found + false_alarms)).sum()
        n_defect += len(scores)
    return float(total / n_defect)
