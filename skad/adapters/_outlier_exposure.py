"""PANDA-OE: a logit that tells normal images from outliers of any kind."""

from typing import Self

import numpy as np
import torch

from .._compat import StrOptions, fit_context
from .._parameters import changed
from .._random import torch_stream
from .._types import ArrayLike, Images, Labels, Source
from ..images._door import check_images
from ..losses import outlier_exposure_loss
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    AcceptanceParameters,
    EpochParameters,
    FineTuningParameters,
    OutputParameters,
    StepParameters,
)
from ..training._task import Task
from ._base import BaseAdapter
from ._plans import check_output, fine_tuning, steps_of_epochs


class OutlierExposureParameters(FineTuningParameters, StepParameters, EpochParameters):
    """A logit that is trained with the network."""

    n_epochs: int = changed(default=50, note="(Code.)")
    batch_size: int = changed(default=32, note="A step also takes this many outliers (code).")
    learning_rate: float = changed(default=0.1, note="(Code.)")
    momentum: float = changed(default=0.9, note="(Code.)")
    weight_decay: float = changed(default=0.0, note="(Code.)")
    clip_norm: float | None = changed(default=1e-3, note="(Code.)")


class OutlierExposureAdapter(
    RandomParameters,
    OutlierExposureParameters,
    OutputParameters,
    AcceptanceParameters,
    BaseAdapter,
):
    r"""PANDA-OE's adaptation: train a network and a logit to tell normal images from outliers.

    .. math:: L = -\operatorname{mean} \Bigl[ \sum_{\text{normal}} \log(1 - \sigma(l(x)))
        + \sum_{\text{outliers}} \log \sigma(l(x)) \Bigr], \qquad l(x) = w^\top \psi(x) + b

    Outliers are images that are not normal, of any kind; the more they resemble the anomalies to
    come, the better. Give them to `fit` as ``X_outliers``. In a Pipeline or a search, request them:
    ``set_fit_request(X_outliers=True)``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights w of the logit.
    intercept_ : float
        Bias b of the logit.

    See Also
    --------
    skad.PANDAOE : A detector by this logit.
    skad.LogitScorer : The scorer for this logit.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier
    Exposure", ICLR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import FeatureExtractor, OutlierExposureAdapter
    >>> digits, labels = load_digits(return_X_y=True)
    >>> adapter = OutlierExposureAdapter(FeatureExtractor(image_size=32), n_steps=20)
    >>> zeros, others = digits[labels == 0][:50], digits[labels > 1][:50]
    >>> logits = adapter.fit(zeros, X_outliers=others).transform(digits[[0, 1]])
    >>> bool(logits[0, 0] < logits[1, 0])  # a zero, a one
    True
    """

    output: str = changed(
        default="logit",
        limits=[StrOptions({"logit", "features"})],
        note='"logit", for :class:`~skad.LogitScorer` (paper), or "features", those below it.',
    )

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Labels = None, X_outliers: Images = None) -> Self:
        """Train on normal images and outliers.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out. They do not serve as outliers, because in a
            search they are the images to test with.
        X_outliers : images
            Images that are not normal, at least two, none of them in `X`. If there are as many as
            in `X`, a search splits them as it does `X`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if outliers are training images; if a
            parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y, X_outliers=X_outliers)

    def _plan(self, n_images, network):
        check_output(self)
        steps = steps_of_epochs(self.n_epochs, n_images, self.batch_size)
        # Normal images may look alike to a logit.
        return fine_tuning(self, self.n_steps or steps, warns_of_collapse=False)

    def _task(self, start, X_outliers):
        if X_outliers is None:
            raise ValueError(
                f"{start.owner}: outlier images are missing; give fit(X, X_outliers=images). In a "
                "Pipeline or a search they come by metadata routing: set_fit_request("
                "X_outliers=True)."
            )
        source = check_images(self, X_outliers)
        if len(source) < 2:
            raise ValueError(f"{start.owner}: X_outliers must hold at least 2 images; got 1.")
        task = OutlierExposureTask(start, source, self.batch_size)
        refuse_shared_images(task.images.keys, task.outliers.keys, start.owner)
        return task

    def _learn(self, task, outcome):
        self.coef_ = task.logit["weight"].detach().cpu().numpy()
        self.intercept_ = float(task.logit["bias"].detach())
        self._output = self.output

    def transform(self, X: Images) -> np.ndarray:
        """Compute the logit of images, or the features below it.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, 1) or (n_images, n_features)
            Logits, high = outlier; features for ``output="features"``.
        """
        return super().transform(X)

    def compute(self, source: Source) -> np.ndarray:
        """Compute what `transform` returns, for images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, 1) or (n_images, n_features)
            As `transform` returns them.
        """
        features = super().compute(source)
        if self._output == "features":
            return features
        return (features @ self.coef_ + np.float32(self.intercept_))[:, None]

    def get_feature_names_out(self, input_features: "ArrayLike | None" = None) -> np.ndarray:
        """Get the names of the outputs: "logit", or the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows of `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_outputs,)
            One name for each column.
        """
        names = super().get_feature_names_out(input_features)
        return names if self._output == "features" else np.array(["logit"], dtype=object)


class OutlierExposureTask(Task):
    """A logit that tells normal images from outliers.

    Parameters
    ----------
    start : Start
    outliers : ImageSource
    batch_size : int
        Outliers in a step.
    """

    def __init__(self, start, outliers, batch_size):
        super().__init__(start)
        self.outliers, features = start.more_images(outliers, batch_size)
        self.logit = torch.nn.ParameterDict()
        drawn = first_logit(features.shape[1], torch_stream(start.seed, "head"))
        self.logit["weight"], self.logit["bias"] = drawn

    def loss(self, step):
        """Cross-entropy of both kinds of images."""
        both = (self.images.batch(step), self.outliers.batch(step))
        logits = (images @ self.logit["weight"] + self.logit["bias"] for images in both)
        return outlier_exposure_loss(*logits)


def first_logit(n_features, generator):
    """Weights and bias to begin with, drawn as torch draws those of a linear layer."""
    bound = n_features**-0.5
    drawn = torch.rand(n_features + 1, generator=generator).mul_(2 * bound).sub_(bound)
    return torch.nn.Parameter(drawn[:-1].clone()), torch.nn.Parameter(drawn[-1].clone())


def refuse_shared_images(normal, outliers, owner):
    """Outliers that are training images would teach nothing but contradiction."""
    known = set(normal)
    shared = [i for i, key in enumerate(outliers) if key in known]
    if shared:
        raise ValueError(
            f"{owner}: {len(shared)} of the {len(outliers)} images of X_outliers are training "
            f"images, the first is image {shared[0]}; leave them out of one of the two."
        )
