"""How well anomaly maps find defects, region by region."""

from numbers import Real

import numpy as np

from .._regions import pixels_and_regions, table_of
from .._types import MapsLike
from ._map_pairs import MapPairs


def pro_score(masks: MapsLike, score_maps: MapsLike, *, max_fpr: float = 0.3) -> float:
    r"""Per-region overlap (PRO), averaged over false-positive rates up to a limit.

    .. math:: \mathrm{PRO} = \frac1R \sum_{r=1}^R \frac1F \int_0^F o_r(f) \, df

    with :math:`o_r(f)` the share of the pixels of region r that are found where the share f of the
    normal pixels of all images is taken for defects, and the limit F, `max_fpr`. Regions are
    defect pixels of one mask that touch at a side or a corner. Each counts alike, so that a scratch
    is worth as much as a stain of a hundred times its area.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, booleans: True = defect; more in :func:`pixel_auroc_score`. Images
        without a defect, and images that are nothing else, are fine.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask and of its shape. **High = normal**, as every score in skad; negate maps
        of other libraries, where high is anomalous.
    max_fpr : float in (0, 1], default=0.3
        The limit; the default is that of Bergmann et al. Values for different limits are not to be
        compared.

    Returns
    -------
    pro : float
        In [0, 1]. 1 if every defect pixel scores below every normal one, `max_fpr` / 2 for scores
        without meaning.

    Raises
    ------
    TypeError
        If masks or maps are no sequence.
    ValueError
        As :func:`pixel_auroc_score`, or if `max_fpr` is not in (0, 1].

    See Also
    --------
    region_table : What each region adds to it.
    pixel_auroc_score : Counts every pixel alike.

    Notes
    -----
    Exact: the curve has a point at every score, straight lines between them, and is cut in a line
    where the limit falls. Pixels of one score are found together. So the value is that of a partial
    area under a ROC curve in which each defect pixel weighs as its region, divided by the area.
    Memory is bounded, and images are opened, as by :func:`pixel_auroc_score`.

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
    """Defects one by one: where, how large, how they score and how well they are found.

    Parameters
    ----------
    masks : sequence of array-like of shape (height, width)
        One for each image, booleans: True = defect; more in :func:`pixel_auroc_score`.
    score_maps : sequence of ndarray of float, shape (height, width)
        One for each mask and of its shape. **High = normal**, as every score in skad; negate maps
        of other libraries, where high is anomalous.
    max_fpr : float in (0, 1], default=0.3
        The limit of :func:`pro_score`.

    Returns
    -------
    table : dict of str to ndarray of shape (n_regions,)
        One value for each region of touching defect pixels, in the order of images and numbers:

        - ``image``: number of the image, from 0;
        - ``region``: number within the image, from 1, as :func:`scipy.ndimage.label` gives it with
          a structure of ``np.ones((3, 3))``;
        - ``area``: in pixels;
        - ``top``, ``left``, ``bottom``, ``right``: the box around it, in pixels. It is
          ``image[top:bottom, left:right]``;
        - ``mean_score``, ``lowest_score``: of its pixels, low = anomalous;
        - ``overlap``: share of its pixels found, averaged over false-positive rates up to
          `max_fpr`, in [0, 1]. The mean of the column is :func:`pro_score`.

    Raises
    ------
    TypeError
        If masks or maps are no sequence.
    ValueError
        As :func:`pro_score`.

    See Also
    --------
    pro_score : The mean overlap.

    Notes
    -----
    False-positive rates are those among the normal pixels of all images, so that the overlap of a
    region depends on the other images too.

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
