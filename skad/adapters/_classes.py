"""Clusters and classes of images: who takes images, and which class each image is of."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

# A cluster of this number holds what belongs to none, as scikit-learn's DBSCAN numbers it.
NOISE = -1


def takes_images(clusterer):
    """Whether a clusterer takes images; others take rows of features."""
    first = clusterer.steps[0][1] if isinstance(clusterer, Pipeline) else clusterer
    return hasattr(first, "__sklearn_tags__") and get_tags(first).input_tags.three_d_array


def indices_of_classes(labels, n_images, owner, given):
    """Classes, and the place of each image's among them, -1 for noise.

    Parameters
    ----------
    labels : array-like
    n_images : int
    owner : str
        Named in errors.
    given : bool
        Whether the labels are the user's, not a clusterer's.
    """
    labels = np.asarray(labels)
    name = "class_labels" if given else "the clusterer's labels"
    if labels.shape != (n_images,):
        raise ValueError(
            f"{owner}: {name} must be one for each of the {n_images} normal images; got shape "
            f"{labels.shape}."
        )
    is_noise = np.zeros(n_images, dtype=bool)
    if not given and labels.dtype.kind in "iu":
        is_noise = labels == NOISE
    classes, found = np.unique(labels[~is_noise], return_inverse=True)
    if len(classes) < 2:
        fix = "" if given else "Ask for more clusters, or choose another clusterer."
        raise ValueError(
            f"{owner}: {name} must tell at least 2 classes apart; got {classes.tolist()}"
            f"{f', and {is_noise.sum()} images of noise' if is_noise.any() else ''}. {fix}".rstrip()
        )
    indices = np.full(n_images, NOISE, dtype=np.int64)
    indices[~is_noise] = found
    return classes, indices
