"""Normal pictures that are nearest to others, as the detector sees them."""

import os

import numpy as np
from sklearn.base import clone

from ..displays._inputs import features_of, split_steps
from ..images._door import check_images
from ..scorers import KNNScorer

# So many are shown.
SHOWN = 3

HOW_TO_GET_THEM = (
    "Beside each anomaly stand the normal pictures nearest to it, if the report is given those "
    "that the model was fitted on: model files hold no pictures. Give their folder by --normal, or "
    "their paths by normal= in Python."
)


class NearestNormal:
    """Finds the normal pictures that are nearest to others.

    Model files hold features, not pictures: those of the pictures are computed again.

    Parameters
    ----------
    detector : estimator
        Fitted; what its last step scores is compared.
    paths : list of str
        The normal pictures; those that can't be read do not count.

    Attributes
    ----------
    metric : str
        That of the detector's scorer if it compares neighbours, else "euclidean".
    same : bool
        Whether these are the pictures that the scorer was fitted to.

    Raises
    ------
    TypeError
        If the detector makes no features.
    ValueError
        If fewer than two can be read.
    """

    def __init__(self, detector, paths):
        if split_steps(detector)[0] is None:
            raise TypeError(
                f"write_report: {type(detector).__name__} makes no features of pictures, so none "
                "is nearest; leave normal out."
            )
        self._detector = detector
        features, readable = self._features(paths)
        features = features[readable]
        self.paths = [path for path, one in zip(paths, readable) if one]
        if len(self.paths) < 2:
            raise ValueError(
                f"write_report: of {len(paths)} normal pictures {len(self.paths)} can be read; "
                "give at least two of those that the model was fitted on, or none."
            )
        _, scorer = split_steps(detector)
        self._compares = isinstance(scorer, KNNScorer)
        if not self._compares:
            scorer = KNNScorer(metric="euclidean")
        self.metric = scorer.metric
        self.same = self._compares and _is_gallery(scorer, features)
        if not self.same:
            scorer = clone(scorer).set_params(
                n_centroids=None, index="exact", n_neighbors=1, pollution=0.0
            )
            scorer.fit(features)
        self._scorer = scorer

    def find(self, paths):
        """The nearest of each picture.

        Parameters
        ----------
        paths : list of str
            Pictures that can be read. One that is among the normal ones is not its own neighbour.

        Returns
        -------
        found : list of list of (str, float)
            Paths and distances, the nearest first.
        """
        if not paths:
            return []
        features, readable = self._features(paths)
        several = min(SHOWN + 1, self._scorer.n_searched - 1)
        distances, indices = self._scorer.kneighbors(features, several)
        found = []
        for path, ready, row, places in zip(paths, readable, distances, indices):
            here = os.path.realpath(path)
            pairs = [(self.paths[i], float(d)) for i, d in zip(places, row)]
            others = [pair for pair in pairs if os.path.realpath(pair[0]) != here]
            found.append(others[:SHOWN] if ready else [])
        return found

    def _features(self, paths):
        """Features of pictures, and which of them could be read."""
        detector = self._detector
        door = detector[0] if hasattr(detector, "steps") else detector
        source = check_images(door, list(paths), on_error="skip")
        return features_of(detector, source), ~source.failures.mask(len(source))

    @property
    def told(self):
        """What a reader must know of these neighbours."""
        whose = (
            f"{len(self.paths)} that the model was fitted on"
            if self.same
            else f"{len(self.paths)} given for this report"
        )
        more = "" if self._compares else " The detector itself decides by other means."
        return (
            f"Beside each stand the nearest of the normal pictures, {whose}, by the {self.metric} "
            f"distance between the features that the detector sees.{more}"
        )


def _is_gallery(scorer, features):
    """Whether a scorer was fitted to these rows."""
    if scorer.n_centroids is not None or scorer.gallery_.shape != features.shape:
        return False
    return np.allclose(scorer.gallery_, features, rtol=1e-4, atol=1e-5)
