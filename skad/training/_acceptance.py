"""Acceptance: whether training made a network better, told by synthetic anomalies."""

import numpy as np
from scipy.stats import t

from .._random import numpy_stream, torch_seed
from .._rows import plain_rows, unit_rows
from ..features import FeatureExtractor
from ..images._door import check_images
from ..model_selection import SyntheticAnomalies

# Share of the pictures that are held out, and at the most how many; chance is told by two.
HELD_OUT, MOST_HELD_OUT, FEWEST_IMAGES = 0.2, 200, 10

# Anomalies made of them: at most so many, but for two of each. Of changes of the whole picture, as
# the AUROC of those agreed better with the true one along trainings than that of defects.
KINDS, MOST_ANOMALIES = "shifts", 400

# Looks in a training: each costs as much as ten steps or so.
N_LOOKS = 8

# Pictures that the held-out ones are compared with, at the most.
GALLERY = 300

# A gain is more than chance beyond this quantile of Student's t, and this much of the AUROC.
CONFIDENCE, LEAST_GAIN = 0.975, 0.003


def n_held_out(n_images, owner):
    """Number of pictures that are held out, of so many.

    Raises
    ------
    ValueError
        If there are too few.
    """
    if n_images < FEWEST_IMAGES:
        raise ValueError(
            f"{owner}: accept='if_better' holds pictures out to compare networks by, so it needs "
            f"at least {FEWEST_IMAGES} normal images; got {n_images}. Give more of them, leave the "
            "adaptation out, or set accept='always'."
        )
    return min(round(HELD_OUT * n_images), MOST_HELD_OUT)


class Acceptance:
    """The criterion: AUROC of held-out normal pictures against anomalies made of them.

    A picture's score is the distance of its features to the nearest of the pictures that are
    trained with. The AUROC is the mean over kinds of anomalies. Where features are compared by
    their euclidean distance, the cosine has to agree: lengths alone may tell anomalies of these
    kinds while other anomalies are lost.

    Parameters
    ----------
    start : Start
        Its network as it is before training.
    task : Task
        Says which network would be kept, and by which metrics features are compared.
    """

    def __init__(self, start, task):
        self.task = task
        trained = start.images.sampler.images
        drawn = numpy_stream(start.seed, "gallery").permutation(trained)[:GALLERY]
        pictures, made = synthetic_pictures(start)
        self.kinds, self.sources, self.names = made.kinds, made.sources, kinds_of(made.kinds)
        queries, _ = start.more_images(pictures, start.extractor.batch_size)
        self._gallery = start.features_of(start.images, np.sort(drawn))
        self._queries = start.features_of(queries, np.arange(len(queries)))
        self._before = self._values()

    def measures(self):
        """The AUROC, what it gained, and what that has to be more than, as the network stands.

        Gain and margin are of the metric that sees least of a gain.
        """
        values = self._values()
        gains = (values - self._before).mean(axis=1)  # of each picture, by each metric
        margins = [margin_of(one) for one in gains]
        worst = np.argmin(gains.mean(axis=1) - margins)
        return {
            "synthetic_auroc": float(values[0].mean()),
            "synthetic_gain": float(gains[worst].mean()),
            "margin": margins[worst],
        }

    def record(self, curve, step):
        """Why the network of a step is kept.

        Parameters
        ----------
        curve : list of dict
            The measures of all looks.
        step : int
            Of the network, as which the one in training stands now.

        Returns
        -------
        record : dict
            See `AcceptanceParameters`.
        """
        looks = [look for look in curve if look["step"]]
        # Until its first average a network is as it was, which tells nothing of the training.
        looks = [look for look in looks if look["margin"]] or looks
        best = max(looks, key=lambda look: look["synthetic_gain"] - look["margin"])
        told = "step {step} gained {synthetic_gain:.4f}, and {margin:.4f} was asked for"
        reason = told.format(**best)
        return {
            "accepted": step > 0,
            "reason": reason if step else f"the frozen network is kept: at best, {reason}",
            "step": step,
            "best_step": best["step"],
            "gain": best["synthetic_gain"],
            "margin": best["margin"],
            "frozen_auroc": curve[0]["synthetic_auroc"],
            "kinds": dict(zip(self.names, self._values()[0].mean(axis=1).tolist())),
            "n_held_out": self._before.shape[-1],
        }

    def _values(self):
        """What each held-out picture says, by each metric and kind of anomalies."""
        with self.task.kept():
            queries, gallery = self._queries(), self._gallery()
        return np.array(
            [
                auroc_values(nearest(queries, gallery, metric), self.kinds, self.sources)
                for metric in self.task.metrics
            ]
        )


def synthetic_pictures(start):
    """Held-out pictures of a training and anomalies made of them, as a source and as a set."""
    per_image = max(2, MOST_ANOMALIES // len(start.held_out))
    seed = torch_seed(start.seed, "synthetic")
    size = max(8, start.fitted.preprocessing.image_size)  # as large as the network sees them
    given = {"per_image": per_image, "image_size": size, "random_state": seed}
    made = SyntheticAnomalies(KINDS, **given).make(start.source.take(start.held_out))
    if start.source.n_features is not None:  # rows, in the values that the adapter knows
        return check_images(start.extractor, made.images), made
    return check_images(FeatureExtractor(), list(made.images)), made


def margin_of(gains):
    """What a mean gain has to be more than; nothing where no picture is judged otherwise."""
    if not gains.any():
        return 0.0
    quantile = t.ppf(CONFIDENCE, len(gains) - 1)
    return float(quantile * gains.std(ddof=1) / len(gains) ** 0.5 + LEAST_GAIN)


def nearest(queries, gallery, metric):
    """Squared distance of rows to the nearest of others, by the metric "cosine" or "euclidean"."""
    queries, gallery = map(
        {"cosine": unit_rows, "euclidean": plain_rows}[metric], (queries, gallery)
    )
    products = queries @ gallery.T
    squares = (queries**2).sum(axis=1)[:, None] + (gallery**2).sum(axis=1)
    return (squares - 2 * products).min(axis=1)


def auroc_values(scores, kinds, sources):
    r"""What each normal picture, with the anomalies made of it, says of the AUROC of each kind.

    Their mean is the AUROC, and their standard deviation over the root of their number its standard
    error (DeLong's, the anomalies of a picture counted together with it).

    Parameters
    ----------
    scores : ndarray of shape (n_pictures,)
        High = anomaly; the normal pictures come first.
    kinds : ndarray of str, shape (n_pictures,)
        "normal", or the kind of the anomaly.
    sources : ndarray of int, shape (n_pictures,)
        The normal picture that each was made of.

    Returns
    -------
    values : ndarray of shape (n_kinds, n_normal)
        Kinds in order of their names.

    References
    ----------
    Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 1997.
    """
    normal, values = scores[kinds == "normal"], []
    for kind in kinds_of(kinds):
        of_kind = kinds == kind
        right = (np.sign(scores[of_kind] - normal[:, None]) + 1) / 2
        shares = np.bincount(sources[of_kind], right.mean(axis=0), len(normal)) / of_kind.sum()
        values.append(right.mean(axis=1) + shares * len(normal) - right.mean())
    return np.array(values)


def kinds_of(kinds):
    """Names of the kinds of anomalies."""
    return sorted(set(kinds.tolist()) - {"normal"})
