"""How well anomaly maps tell defect pixels from normal ones."""

from .._types import MapsLike
from ._map_pairs import MapPairs


def pixel_auroc_score(masks: MapsLike, score_maps: MapsLike) -> float:
    r"""Area under the ROC curve of the pixels of all images.

    .. math:: \frac{1}{|D| |N|} \sum_{d \in D} \sum_{n \in N}
        \mathbf 1\{s_d < s_n\} + \tfrac12 \mathbf 1\{s_d = s_n\}

    with the defect pixels D and the normal pixels N of all images, and scores s.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, booleans: True = defect. Numbers may stand for them, 0 and 1, or 0 and
        255. A list, an array (n_images, height, width), memory-mapped or not, or any object with
        ``len`` and ``[i]`` that opens one at a time. Images may differ in size.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask and of its shape, in any such sequence. **High = normal**, as every score
        in skad; negate maps of other libraries, where high is anomalous.

    Returns
    -------
    auroc : float
        Share, in [0, 1], of pairs of a defect pixel and a normal pixel in which the defect scores
        lower; ties count half. The pairs are of all images, so a score must mean the same in each.

    Raises
    ------
    TypeError
        If masks or maps are no sequence.
    ValueError
        If there are no images, or not as many masks as maps; if a mask and its map differ in shape;
        if a mask holds other values; if a map is not of floats, or not finite; if all pixels are of
        one kind. Images are named by their number, from 0.

    See Also
    --------
    pixel_average_precision_score : Looks at the defects alone, where they are few.
    pro_score : Counts every region alike, large or small.
    auroc_score : The same question for whole images.

    Notes
    -----
    Exact: pixels are ranked, not sorted into bins. Images are opened one at a time, at least twice
    each, and the memory does not grow with their number: defect pixels are ranked among the normal
    ones in chunks of two million, each of which costs another pass over the images.

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
    r"""Average precision of the pixels of all images, with defects as the kind to be found.

    .. math:: \frac{1}{|D|} \sum_{d \in D}
        \frac{|\{e \in D : s_e \le s_d\}|}{|\{p \in D \cup N : s_p \le s_d\}|}

    with the defect pixels D and the normal pixels N of all images, and scores s: the share of
    defects among what is at least as anomalous as a defect pixel, on average.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, booleans: True = defect; more in :func:`pixel_auroc_score`.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask and of its shape. **High = normal**, as every score in skad; negate maps
        of other libraries, where high is anomalous.

    Returns
    -------
    average_precision : float
        Above 0 and at most 1; scores without meaning get the share of defect pixels.

    Raises
    ------
    TypeError
        If masks or maps are no sequence.
    ValueError
        As :func:`pixel_auroc_score`.

    See Also
    --------
    sklearn.metrics.average_precision_score : The same of pixels in one array, anomalous = high.
    pixel_auroc_score : Does not depend on the share of defect pixels.

    Notes
    -----
    Exact, and in bounded memory, as :func:`pixel_auroc_score`; images are opened at least three
    times each.

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
