"""How well anomaly maps find defects, region by region."""

from numbers import Real

import numpy as np

from .._regions import pixels_and_regions, table_of
from .._types import MapsLike
from ._map_pairs import MapPairs


def pro_score(masks: MapsLike, score_maps: MapsLike, *, max_fpr: float = 0.3) -> float:
    r"""Compute the per-region overlap (PRO), averaged over false-positive rates up to a limit.

    .. math:: \mathrm{PRO} = \frac1R \sum_{r=1}^R \frac1F \int_0^F o_r(f) \, df

    over R regions, with the limit F, `max_fpr`. :math:`o_r(f)` is the share of the pixels of region
    r that are found at the threshold that takes the share f of the normal pixels of all images for
    defects. A region is a set of defect pixels of one mask that touch at a side or a corner. Each
    region has the same weight: a scratch counts as much as a stain of a hundred times its area.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, True = defect; see :func:`pixel_auroc_score`. Images without any defect
        pixel, or without any normal pixel, are allowed.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask, of the same shape. **High = normal**, as every score in skad. Negate maps
        of other libraries, in which high is anomalous.
    max_fpr : float in (0, 1], default=0.3
        The limit (0.3: Bergmann et al.). Values for different limits cannot be compared.

    Returns
    -------
    pro : float
        In [0, 1]: 1 if every defect pixel scores below every normal one, `max_fpr` / 2 for random
        scores.

    Raises
    ------
    TypeError
        If masks or maps are not a sequence.
    ValueError
        As in :func:`pixel_auroc_score`, or if `max_fpr` is not in (0, 1].

    See Also
    --------
    region_table : The overlap of each region.
    pixel_auroc_score : Gives every pixel the same weight.

    Notes
    -----
    The result is exact. The curve has a point at every score and straight lines between them; it is
    interpolated at the limit. Pixels of equal score are found together. The value therefore equals
    a normalised partial area under a ROC curve in which each defect pixel has the weight 1 / area
    of its region. Memory is bounded, and images are opened, as in :func:`pixel_auroc_score`.

    References
    ----------
    Bergmann, Fauser, Sattlegger, Steger, "Uninformed Students: Student-Teacher Anomaly Detection
    with Discriminative Latent Embeddings", CVPR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.metrics import pixel_auroc_score, pro_score
    >>> mask = np.zeros((10, 10), dtype=bool)
    >>> mask[:6, :6] = mask[9, 9] = True
    >>> score_map = np.where(mask, 0.0, 1.0)
    >>> pro_score([mask], [score_map])
    1.0
    >>> score_map[9, 9] = 2.0
    >>> pro_score([mask], [score_map])
    0.5
    >>> round(pixel_auroc_score([mask], [score_map]), 3)
    0.973
    """
    table = _measure(MapPairs(masks, score_maps, "pro_score"), max_fpr)
    return float(table["overlap"].mean())


def region_table(
    masks: MapsLike, score_maps: MapsLike, *, max_fpr: float = 0.3
) -> dict[str, np.ndarray]:
    """List the defects: where they are, how large, how they score, how well they are found.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, True = defect; see :func:`pixel_auroc_score`.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask, of the same shape. **High = normal**, as every score in skad. Negate maps
        of other libraries, in which high is anomalous.
    max_fpr : float in (0, 1], default=0.3
        The limit of :func:`pro_score`.

    Returns
    -------
    table : dict of str to ndarray of shape (n_regions,)
        One row for each region of touching defect pixels, in the order of images and numbers.
        Columns:

        - ``image``: number of the image, from 0;
        - ``region``: number within the image, from 1, as given by :func:`scipy.ndimage.label` with
          the structure ``np.ones((3, 3))``;
        - ``area``: number of pixels;
        - ``top``, ``left``, ``bottom``, ``right``: the box around it, in pixels:
          ``image[top:bottom, left:right]``;
        - ``mean_score``, ``lowest_score``: scores of its pixels, low = anomalous;
        - ``overlap``: share of its pixels found, averaged over false-positive rates up to
          `max_fpr`, in [0, 1]. The mean of the column is :func:`pro_score`.

    Raises
    ------
    TypeError
        If masks or maps are not a sequence.
    ValueError
        As in :func:`pro_score`.

    See Also
    --------
    pro_score : The mean overlap.

    Notes
    -----
    False-positive rates are taken over the normal pixels of all images, so the overlap of a region
    depends on the other images too.

    Examples
    --------
    >>> import numpy as np
    >>> from skad.metrics import region_table
    >>> mask = np.zeros((10, 10), dtype=bool)
    >>> mask[2:6, :5] = mask[9, 9] = True
    >>> table = region_table([mask], [np.where(mask, 0.25, 1.0)])
    >>> table["area"], table["bottom"], table["overlap"]
    (array([20,  1]), array([ 6, 10]), array([1., 1.]))

    ``pandas.DataFrame(table).sort_values("overlap")`` begins with the regions that were missed.
    """
    return _measure(MapPairs(masks, score_maps, "region_table"), max_fpr)


def _measure(pairs, max_fpr):
    """The table of regions."""
    if isinstance(max_fpr, bool) or not (isinstance(max_fpr, Real) and 0 < max_fpr <= 1):
        raise ValueError(
            f"{pairs.owner}: max_fpr must be a number above 0 and at most 1; got {max_fpr!r}. "
            "30 % is 0.3."
        )
    rows, sums = [], np.zeros(0)
    for chunk in pairs.defect_chunks(_regions(pairs, rows)):
        chunk = chunk[np.argsort(chunk["score"])]
        below, at_most, n_normal = pairs.normal_counts(chunk["score"])
        found = _area(below / n_normal, at_most / n_normal, max_fpr) / max_fpr
        grown = np.bincount(chunk["region"], weights=found, minlength=len(sums))
        grown[: len(sums)] += sums
        sums = grown
    table = table_of(rows)
    return table | {"overlap": sums / table["area"]}


def _regions(pairs, rows):
    """Score and number of region of the defect pixels of each image; its regions go to `rows`."""
    n_regions = 0
    for i, (mask, scores) in enumerate(pairs):
        pixels, columns = pixels_and_regions(i, mask, scores)
        rows.append(columns)
        pixels["region"] += n_regions
        n_regions += len(columns[0])
        yield pixels


def _area(left, right, limit):
    """Area, from 0 to the limit, below the line from (left, 0) to (right, 1) and 1 thereafter."""
    width = np.clip(limit, left, right) - left
    slope_width = np.where(right > left, right - left, 1.0)
    return width * (width / slope_width) / 2 + np.maximum(limit - right, 0.0)
