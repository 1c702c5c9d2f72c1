"""PANDA-OE: a logit that tells normal images from outliers of any kind."""

from numbers import Integral

import numpy as np

from .._compat import Interval, StrOptions, fit_context
from ..images._door import check_images
from ..losses import outlier_exposure_loss
from ._base import CONSTRAINTS, BaseAdapter


class OutlierExposureAdapter(BaseAdapter):
    r"""PANDA-OE's adaptation: train a logit, and the network below it, on normal images and others.

    .. math:: L = -\operatorname{mean} \Bigl[ \sum_{\text{normal}} \log(1 - \sigma(l(x)))
        + \sum_{\text{outliers}} \log \sigma(l(x)) \Bigr], \qquad l(x) = w^\top \psi(x) + b

    The outliers are images that are not normal, of whatever kind; the more they resemble the
    anomalies to come, the better. They are given to `fit` as ``X_outliers``; within a Pipeline or a
    search, ask for that by ``set_fit_request(X_outliers=True)``.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained. By default ``FeatureExtractor()``.
    output : {"logit", "features"}, default="logit"
        What `transform` gives: the logit, for :class:`~skad.LogitScorer` (paper), or the features
        below it.
    n_epochs : int, default=50
        Passes over the normal images (code).
    n_steps : int, optional
        Steps of the optimiser instead.
    trainable : str, int or list of str, default="last_two"
        Stages to train (paper); see :class:`~skad.CompactnessAdapter`.
    batch_size : int, default=32
        Normal images in a step, and as many outliers (code).
    learning_rate : float, default=0.1
        Of stochastic gradient descent (code).
    momentum : float, default=0.9
        (Code.)
    weight_decay : float, default=0
        (Code.)
    clip_norm : float or None, default=1e-3
        Largest norm of the gradient of all parameters together (code).
    collapse_limit : float in [0, 1), default=0.25
        Collapse is an angular spread of the features below this share of that before training.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    memory_limit : float, default=2048
        Most MiB for the outputs of the frozen stages that are kept; see
        :class:`~skad.CompactnessAdapter`.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides the order of the images.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    extractor_ : FeatureExtractor
        Fitted, with the trained network.
    network_ : torch.nn.Module
        The trained network, in evaluation mode.
    coef_ : ndarray of shape (n_features,)
        Weights w of the logit.
    intercept_ : float
        Its bias b.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training; see :class:`~skad.CompactnessAdapter`.
    stopped_at_ : int
        Steps that the network was trained.
    collapsed_at_ : int or None
        Step at which collapse was seen.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

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

    _parameter_constraints = {  # noqa: RUF012
        **CONSTRAINTS,
        "output": [StrOptions({"logit", "features"})],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        extractor=None,
        *,
        output="logit",
        n_epochs=50,
        n_steps=None,
        trainable="last_two",
        batch_size=32,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.0,
        clip_norm=1e-3,
        collapse_limit=0.25,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.output = output
        self.n_epochs = n_epochs
        self.n_steps = n_steps
        self.trainable = trainable
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

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
        import torch

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
        generator = torch.Generator().manual_seed(run.seed)
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
