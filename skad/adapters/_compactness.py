"""PANDA: features adapted by compactness."""

import copy
import os
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._compat import Interval, StrOptions, fit_context
from .._rows import unit_rows
from ..images._door import check_images
from ..losses import angular_center_loss, compactness_loss, elastic_penalty
from ._base import CONSTRAINTS, NOT_NEGATIVE, BaseAdapter, unit
from ._fisher import FisherDiagonal, fisher_of_run

# Steps of the official code on CIFAR-10: 15 and 50 epochs of 157 batches.
EARLY_STEPS, ELASTIC_STEPS = 2300, 7800

ELASTIC_PENALTY, L2_SP_PENALTY = 1e4, 0.1


class CompactnessAdapter(BaseAdapter):
    r"""PANDA's adaptation: draw the features of normal images to their centre, and stop in time.

    With the features :math:`\psi` of D values, and the centre c of the training images' features
    before training, which stays where it is,

    .. math:: L = \frac1D \operatorname{mean}_i \lVert \psi(x_i) - c \rVert_2^2
        \quad\text{or}\quad L = -\operatorname{mean}_i
        \frac{\psi(x_i)^\top c}{\lVert \psi(x_i) \rVert_2 \lVert c \rVert_2}

    All of BatchNorm's statistics stay as they are; the scales and shifts of the trained stages are
    trained. Images are not augmented. Features that only draw together end in one point, so
    training must stop early, or be held back.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained. By default ``FeatureExtractor()``.
    loss : {"squared", "angular"}, default="squared"
        Squared distance to the centre (PANDA; the code divides by D, the paper does not), or the
        angular loss of MSC, with a centre of unit length.
    stopping : {"early", "sample_wise", "elastic", "l2_sp"}, default="early"
        "early": stop after `n_steps` (PANDA-Early). "sample_wise": keep `n_checkpoints` networks
        along the way and give the features of all, side by side, for
        :class:`~skad.SampleWiseScorer` (PANDA-SES). "elastic": add
        :math:`\frac\lambda2 \sum_j F_j (\theta_j - \theta_j^0)^2` with the Fisher information F of
        the network's own task (PANDA-EWC). "l2_sp": the same with F = 1.
    n_steps : int, optional
        Steps of the optimiser. By default 2 300, whatever the number of images (paper), and 7 800
        for "elastic" and "l2_sp" (code: 50 epochs of CIFAR-10).
    penalty : float, optional
        :math:`\lambda`; by default 1e4 for "elastic" (paper) and 0.1 for "l2_sp" (ours).
    fisher : path, optional
        File of :meth:`FisherDiagonal.save`, for "elastic"; by default computed in `fit`: from
        labelled source images (paper), else with classes drawn from the network's own predictions.
        A network without a classifier counts as a regression with errors of unit variance.
    source_head : {"auto", "pretrained", "new"}, default="auto"
        What classifies labelled source images, for "elastic": the network's own classifier, or a
        new linear one, fitted to their features by linear discriminant analysis. "auto": its own
        if it has one.
    n_checkpoints : int, default=4
        Networks kept by "sample_wise", evenly spaced from the untrained to the last one. The paper
        keeps one every five epochs and does not say how many.
    trainable : str, int or list of str, default="last_two"
        Stages to train: "last", "last_two" (paper: of a ResNet's four), "last_three", "all", a
        number of last stages, or their names. Stages are those of timm's metadata; of a vision
        transformer each block is one. Of other networks, torchvision's too, each part counts, which
        may be less: a block of a MobileNet, say.
    batch_size : int, default=32
        Images in a step (code).
    learning_rate : float, default=1e-2
        Of stochastic gradient descent (code).
    momentum : float, default=0.9
        (Code.)
    weight_decay : float, default=5e-5
        (Code.) Not held back by `clip_norm`, so it may move features more than the loss does.
    clip_norm : float or None, default=1e-3
        Largest norm of the gradient of all parameters together (code).
    collapse_limit : float in [0, 1), default=0.25
        Collapse is an angular spread of the features below this share of that before training.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    memory_limit : float, default=2048
        Most MiB for the outputs of the frozen stages, which are computed once for each image; for
        the images beyond they are computed anew in each epoch. On the device that trains; those of
        the 256 images that are watched come in addition.
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
    center_ : ndarray of shape (n_features,)
        The centre c.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Of at most 256 training images, before training and about twenty times during it: "step",
        "loss" (mean since the last look), "center_distance", "spread" (1 minus the mean pairwise
        cosine), "concentration" (of a von Mises-Fisher distribution), "effective_rank" and "mmd"
        (discrepancy from the uniform distribution on the sphere).
    stopped_at_ : int
        Steps that the network was trained.
    collapsed_at_ : int or None
        Step at which collapse was seen.
    fisher_ : FisherDiagonal
        Only for ``stopping="elastic"``.
    checkpoint_steps_ : list of int
        Steps of the networks that "sample_wise" keeps; the last one again, where it stopped early.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    Warns
    -----
    CollapseWarning
        If the features collapse and `stop_at_collapse` is False.

    See Also
    --------
    skad.PANDA : Detector on these features.
    skad.MeanShiftedContrastive : Adaptation that collapses more slowly.
    skad.displays.TrainingCurveDisplay : Picture of `training_curve_`.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 4. Li, Grandvalet, Davoine, "Explicit Inductive Bias for
    Transfer Learning with Convolutional Networks", ICML 2018 (L2-SP).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from skad import CompactnessAdapter, FeatureExtractor, KNNScorer
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = make_pipeline(
    ...     CompactnessAdapter(FeatureExtractor(image_size=32), n_steps=5),
    ...     KNNScorer(metric="euclidean"),
    ... )
    >>> detector.fit(digits[labels == 0][:100]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **CONSTRAINTS,
        "loss": [StrOptions({"squared", "angular"})],
        "stopping": [StrOptions({"early", "sample_wise", "elastic", "l2_sp"})],
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
        "source_head": [StrOptions({"auto", "pretrained", "new"})],
        "penalty": [NOT_NEGATIVE, None],
        "fisher": [str, os.PathLike, None],
        "n_checkpoints": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        extractor=None,
        *,
        loss="squared",
        stopping="early",
        n_steps=None,
        penalty=None,
        fisher=None,
        source_head="auto",
        n_checkpoints=4,
        trainable="last_two",
        batch_size=32,
        learning_rate=1e-2,
        momentum=0.9,
        weight_decay=5e-5,
        clip_norm=1e-3,
        collapse_limit=0.25,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.loss = loss
        self.stopping = stopping
        self.n_steps = n_steps
        self.penalty = penalty
        self.fisher = fisher
        self.source_head = source_head
        self.n_checkpoints = n_checkpoints
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
    def fit(self, X, y=None, X_source=None, y_source=None):
        """Train on normal images.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source : images, optional
            For ``stopping="elastic"``: images of the task that the network was trained for, whose
            Fisher information the penalty takes. By default the training images.
        y_source : array-like of shape (n_source_images,), optional
            Their classes. Without, labels are drawn from the network's own predictions.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if a parameter does not fit; if `fisher` is of
            another network.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y, X_source=X_source, y_source=y_source)

    def _count_steps(self, n_images):
        if self.n_steps is not None:
            return self.n_steps
        return ELASTIC_STEPS if self.stopping in ("elastic", "l2_sp") else EARLY_STEPS

    def _snapshot_steps(self, n_steps):
        if self.stopping != "sample_wise":
            return []
        if self.n_checkpoints > n_steps + 1:
            raise ValueError(
                f"{type(self).__name__}: n_checkpoints={self.n_checkpoints} networks need at least "
                f"{self.n_checkpoints - 1} steps; got n_steps={n_steps}."
            )
        return [round(s) for s in np.linspace(0, n_steps, self.n_checkpoints)]

    def _prepare(self, run, X_source=None, y_source=None):
        self._check_source(X_source, y_source)
        features = run.first_features
        if self.loss == "angular":
            features = unit(features)
        center = features.mean(0)
        run.center = unit(center[None])[0] if self.loss == "angular" else center
        run.fisher = None
        if self.stopping == "elastic":
            run.fisher = self._fisher_of(run, X_source, y_source)
            given = run.fisher.digest() if self.fisher is not None else y_source
            run.decisive.append(np.asarray(given).tolist())
        run.importances = run.fisher and [run.fisher.values[name] for name in run.parameters]
        run.penalty = 0.0
        if self.stopping in ("elastic", "l2_sp"):
            default = ELASTIC_PENALTY if self.stopping == "elastic" else L2_SP_PENALTY
            run.penalty = default if self.penalty is None else self.penalty
            run.trained = list(run.parameters.values())
            run.anchors = [parameter.detach().clone() for parameter in run.trained]

    def _check_source(self, X_source, y_source):
        owner = type(self).__name__
        if y_source is not None and X_source is None:
            raise ValueError(f"{owner}: y_source needs X_source, the images that it labels.")
        if X_source is not None and (self.stopping != "elastic" or self.fisher is not None):
            raise ValueError(
                f"{owner}: X_source is for stopping='elastic' without fisher=; got stopping="
                f"{self.stopping!r}, fisher={self.fisher!r}. Leave it out."
            )

    def _fisher_of(self, run, X_source, y_source):
        """The Fisher information, on the device of the training."""
        if self.fisher is not None:
            found = FisherDiagonal.load(self.fisher)
        else:
            source = None if X_source is None else check_images(self, X_source)
            found = fisher_of_run(run, source, y_source, self.source_head)
        found.check(run.cut, type(self).__name__)
        return found.to(run.device)

    def _loss(self, run, step):
        features = run.images.batch(step)
        if self.loss == "angular":
            loss = angular_center_loss(features, run.center)
        else:
            loss = compactness_loss(features, run.center)
        if run.penalty:
            loss = loss + run.penalty * elastic_penalty(run.trained, run.anchors, run.importances)
        return loss

    def _learned(self, run):
        self.center_ = run.center.cpu().numpy()
        for name in ("fisher_", "checkpoint_steps_", "_snapshots"):
            vars(self).pop(name, None)
        if run.fisher is not None:
            self.fisher_ = run.fisher.to("cpu")
        if self.stopping == "sample_wise":
            steps = sorted(run.snapshots)
            self.checkpoint_steps_ = [min(step, run.stopped_at) for step in steps]
            self._snapshots = [
                {name: value.cpu() for name, value in run.snapshots[step].items()} for step in steps
            ]

    def transform(self, X):
        """Compute the features of images by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            For ``stopping="sample_wise"`` those of all its networks, side by side, the untrained
            network's first; of unit length for the angular loss.
        """
        check_is_fitted(self)
        if not hasattr(self, "_snapshots"):
            return super().transform(X)
        return np.hstack(list(self._features_by_step(check_images(self, X))))

    def _features_by_step(self, source):
        # On a copy, as several threads may transform at once.
        extractor = copy.deepcopy(self.extractor_)
        parameters = dict(extractor.network_.named_parameters())
        for values in self._snapshots:
            for name, value in values.items():
                parameters[name].data.copy_(value)
            extractor._fingerprint = None
            features = extractor.transform(source)
            # The angular loss measures no length, so no distance should.
            yield unit_rows(features).astype(np.float32) if self.loss == "angular" else features

    def get_feature_names_out(self, input_features=None):
        """Names of the features: the layer and a number, and for "sample_wise" the step.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows seen in `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_features,)
        """
        names = super().get_feature_names_out(input_features)
        if not hasattr(self, "_snapshots"):
            return names
        steps = self.checkpoint_steps_
        return np.array([f"step{s}_{name}" for s in steps for name in names], dtype=object)
