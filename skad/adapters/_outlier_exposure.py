"""PANDA-OE: a logit that tells normal images from outliers of any kind."""

import numpy as np

from .._compat import StrOptions, fit_context
from .._parameters import changed
from .._random import torch_stream
from ..images._door import check_images
from ..losses import outlier_exposure_loss
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    EpochParameters,
    FineTuningParameters,
    OutputParameters,
    StepParameters,
)
from ._base import BaseAdapter


class OutlierExposureParameters(FineTuningParameters, StepParameters, EpochParameters):
    """A logit that is trained with the network."""

    n_epochs: int = changed(default=50, note="(Code.)")
    batch_size: int = changed(default=32, note="As many outliers (code).")
    learning_rate: float = changed(default=0.1, note="(Code.)")
    momentum: float = changed(default=0.9, note="(Code.)")
    weight_decay: float = changed(default=0.0, note="(Code.)")
    clip_norm: float | None = changed(default=1e-3, note="(Code.)")


class OutlierExposureAdapter(
    RandomParameters, OutlierExposureParameters, OutputParameters, BaseAdapter
):
    r"""PANDA-OE's adaptation: train a logit, and the network below it, on normal images and others.

    .. math:: L = -\operatorname{mean} \Bigl[ \sum_{\text{normal}} \log(1 - \sigma(l(x)))
        + \sum_{\text{outliers}} \log \sigma(l(x)) \Bigr], \qquad l(x) = w^\top \psi(x) + b

    The outliers are images that are not normal, of whatever kind; the more they resemble the
    anomalies to come, the better. They are given to `fit` as ``X_outliers``; within a Pipeline or a
    search, ask for that by ``set_fit_request(X_outliers=True)``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights w of the logit.
    intercept_ : float
        Its bias b.

    See Also
    --------
    skad.PANDAOE : Detector by this logit.
    skad.LogitScorer : The scorer behind it.

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

    _warns_of_collapse = False  # normal images may look alike to a logit

    output: str = changed(
        default="logit",
        limits=[StrOptions({"logit", "features"})],
        note="The logit, for :class:`~skad.LogitScorer` (paper), or the features below it.",
    )

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, X_outliers=None):
        """Train on normal images and outliers.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out; they are no outliers to learn from, since a
            search labels those that it tests with.
        X_outliers : images
            Images that are not normal, at least two, none of them in `X`. A search splits them as
            it does `X` where they are as many.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if outliers are training images; if a
            parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y, X_outliers=X_outliers)

    def _count_steps(self, n_images):
        return self.n_steps or self.n_epochs * -(-n_images // self.batch_size)

    def _prepare(self, run, X_outliers):

        if X_outliers is None:
            raise ValueError(
                f"{run.owner}: outlier images are missing; give fit(X, X_outliers=images). In a "
                "Pipeline or a search they come by metadata routing: set_fit_request("
                "X_outliers=True)."
            )
        run.outliers, features = run.auxiliary(check_images(self, X_outliers), self.batch_size)
        if len(run.outliers) < 2:
            raise ValueError(f"{run.owner}: X_outliers must hold at least 2 images; got 1.")
        refuse_shared_images(run.images.keys, run.outliers.keys, run.owner)
        generator = torch_stream(run.seed, "head")
        run.weight, run.bias = first_logit(features.shape[1], generator, run.device)
        run.parameters |= {"skad_logit.weight": run.weight, "skad_logit.bias": run.bias}

    def _loss(self, run, step):
        normal, outliers = run.images.batch(step), run.outliers.batch(step)
        return outlier_exposure_loss(
            normal @ run.weight + run.bias, outliers @ run.weight + run.bias
        )

    def _learned(self, run):
        self.coef_ = run.weight.detach().cpu().numpy()
        self.intercept_ = float(run.bias.detach())

    def transform(self, X):
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
        features = super().transform(X)
        if self.output == "features":
            return features
        return (features @ self.coef_ + np.float32(self.intercept_))[:, None]

    def get_feature_names_out(self, input_features=None):
        """Names of the outputs: "logit", or the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows seen in `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_outputs,)
        """
        names = super().get_feature_names_out(input_features)
        return names if self.output == "features" else np.array(["logit"], dtype=object)


def first_logit(n_features, generator, device):
    """Weights and bias to begin with, drawn as torch draws those of a linear layer."""
    import torch

    bound = n_features**-0.5
    drawn = torch.rand(n_features + 1, generator=generator).mul_(2 * bound).sub_(bound).to(device)
    return drawn[:-1].clone().requires_grad_(), drawn[-1].clone().requires_grad_()


def refuse_shared_images(normal, outliers, owner):
    """Outliers that are training images would teach nothing but contradiction."""
    known = set(normal)
    shared = [i for i, key in enumerate(outliers) if key in known]
    if shared:
        raise ValueError(
            f"{owner}: {len(shared)} of the {len(outliers)} images of X_outliers are training "
            f"images, the first is image {shared[0]}; leave them out of one of the two."
        )
