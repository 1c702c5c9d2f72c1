"""PANDA: features adapted by compactness."""

import copy
import os
from typing import Self

import numpy as np

from .._compat import StrOptions, fit_context
from .._parameters import ABOVE_ZERO, AT_LEAST_TWO, NOT_NEGATIVE, changed, parameter
from .._rows import unit_rows
from .._types import ArrayLike, Images, Labels, Source
from ..images._door import check_images
from ..losses import angular_center_loss, compactness_loss, elastic_penalty
from ..networks._budget import TINY, in_words
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    OPEN_STAGES,
    AcceptanceParameters,
    FineTuningParameters,
    StepParameters,
)
from ..training._task import Task
from ._base import BaseAdapter, unit
from ._fisher import FisherDiagonal, fisher_of
from ._heads import SourceHeadParameters
from ._plans import fine_tuning, settled

# Steps of the official code on CIFAR-10: 15 and 50 epochs of 157 batches.
EARLY_STEPS, ELASTIC_STEPS = 2300, 7800

PUBLISHED = {"learning_rate": 1e-2, "trainable": "last_two"}

ELASTIC_PENALTY, L2_SP_PENALTY = 1e4, 0.1


class CompactnessParameters(
    FineTuningParameters, SourceHeadParameters, StepParameters, AcceptanceParameters
):
    """Compactness, and what keeps it in bounds."""

    loss: str = parameter(
        default="squared",
        limits=[StrOptions({"squared", "angular"})],
        text='"squared": squared distance to the centre (PANDA; divided by D as in its code, not '
        'its paper). "angular": the angular loss of MSC\'s paper, with a centre of unit length '
        "(96.8 instead of 96.2 on CIFAR-10 with ResNet-152).",
    )
    stopping: str = parameter(
        default="early",
        limits=[StrOptions({"early", "sample_wise", "elastic", "l2_sp"})],
        text='How training is kept from collapse. "early": stop after `n_steps` (PANDA-Early). '
        '"sample_wise": keep `n_checkpoints` networks along the way; `transform` returns the '
        "features of all, side by side, for :class:`~skad.SampleWiseScorer` (PANDA-SES). "
        '"elastic": add the penalty :math:`\\frac\\lambda2 \\sum_j F_j (\\theta_j - '
        "\\theta_j^0)^2`, with the Fisher information F of the network's own task (PANDA-EWC; "
        'tables of other papers call it PANDA). "l2_sp": the same penalty with F = 1.',
    )
    n_steps: int | None = changed(
        default=None,
        note='By default 2 300, whatever the number of images (paper), and 7 800 for "elastic" and '
        '"l2_sp" (code: 50 epochs of CIFAR-10). Fewer for "tiny", see `trainable`.',
    )
    penalty: float | None = parameter(
        default=None,
        limits=[NOT_NEGATIVE, None],
        text='Weight :math:`\\lambda` of the penalty; by default 1e4 for "elastic" (paper) and 0.1 '
        'for "l2_sp" (ours).',
    )
    fisher: str | os.PathLike | None = parameter(
        default=None,
        limits=[str, os.PathLike, None],
        text='File that :meth:`FisherDiagonal.save` wrote, for "elastic". By default the Fisher '
        "information is computed in `fit`: from labelled source images (paper), else with "
        "classes drawn from the network's own predictions. A network without a classifier is "
        "treated as a regression with errors of unit variance.",
    )
    n_checkpoints: int = parameter(
        default=4,
        limits=[AT_LEAST_TWO],
        text='Networks that "sample_wise" keeps, evenly spaced from the untrained to the last one. '
        "(The paper keeps one every five epochs and does not say how many.)",
    )
    batch_size: int = changed(default=32, note="(Code.)")
    trainable: object = changed(
        default=None,
        limits=OPEN_STAGES,
        note='By default "last_two" (paper). A network of the package brings its own stages, steps '
        f'and rate: "tiny" has {in_words(TINY["compactness"])}.',
    )
    learning_rate: float | None = changed(
        default=None, limits=[ABOVE_ZERO, None], note="By default 1e-2 (code)."
    )
    momentum: float = changed(default=0.9, note="(Code.)")
    weight_decay: float = changed(default=5e-5, note="(Code.)")
    clip_norm: float | None = changed(default=1e-3, note="(Code.)")


class CompactnessAdapter(RandomParameters, CompactnessParameters, BaseAdapter):
    r"""PANDA's adaptation: draw the features of normal images to their centre, and stop in time.

    The features :math:`\psi` have D values. Their mean over the training images before training is
    the centre c, which stays fixed. The loss is

    .. math:: L = \frac1D \operatorname{mean}_i \lVert \psi(x_i) - c \rVert_2^2
        \quad\text{or}\quad L = -\operatorname{mean}_i
        \frac{\psi(x_i)^\top c}{\lVert \psi(x_i) \rVert_2 \lVert c \rVert_2}

    for ``loss="squared"`` or ``"angular"``. BatchNorm keeps its statistics; its scales and shifts
    are trained in the trained stages. Images are not augmented. This loss alone would draw all
    features into one point, so training must stop early or be held back by a penalty.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        The centre c.
    fisher_ : FisherDiagonal
        The Fisher information; only for ``stopping="elastic"``.
    checkpoint_steps_ : list of int
        Steps of the networks that "sample_wise" keeps. If training stopped early, the last step is
        repeated.

    See Also
    --------
    skad.PANDA : A detector on these features.
    skad.MeanShiftedContrastive : An adaptation that collapses more slowly.
    skad.displays.TrainingCurveDisplay : A plot of `training_curve_`.

    Notes
    -----
    The network "tiny" of the package gains next to nothing, for two reasons. First, a step moves
    the vector of all weights by at most `learning_rate` times `clip_norm` (ten times that with
    momentum 0.9). The 150 steps of its default move weights of norm 110 by 0.015. Second, longer
    steps teach its last layer, which is linear, to shrink the directions in which normal pictures
    vary. The same can be had without training, by :math:`\exp(-s C)` with their covariance C. It
    takes the euclidean metric from 89.8 to 91.3 (AUROC, four classes of CIFAR-10, 300 pictures
    each, the best s). The cosine metric has 91.2 without it and 91.3 with it, and whitening 91.6.
    See ``benchmarks/last_layer.py``. With ``accept="if_better"`` the frozen network is kept unless
    the trained one proves better.

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

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Images,
        y: Labels = None,
        X_source: Images = None,
        y_source: Labels = None,
    ) -> Self:
        """Train on normal images.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source : images, optional
            For ``stopping="elastic"``: images of the task that the network was trained for, on
            which the Fisher information is computed. By default the training images.
        y_source : array-like of shape (n_source_images,), optional
            Classes of the source images. By default they are drawn from the network's predictions.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken or too few; if a parameter does not fit; if `fisher`
            belongs to another network.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y, X_source=X_source, y_source=y_source)

    def _plan(self, n_images, network):
        if self.accept == "if_better" and self.stopping == "sample_wise":
            raise ValueError(
                f"{type(self).__name__}: accept='if_better' keeps one network, and "
                "stopping='sample_wise' several; leave one of the two out."
            )
        held_back = self.stopping in ("elastic", "l2_sp")
        published = PUBLISHED | {"n_steps": ELASTIC_STEPS if held_back else EARLY_STEPS}
        given = settled(self, network, "compactness", published)
        return fine_tuning(self, **given, snapshot_steps=self._snapshot_steps(given["n_steps"]))

    def _snapshot_steps(self, n_steps):
        if self.stopping != "sample_wise":
            return ()
        if self.n_checkpoints > n_steps + 1:
            raise ValueError(
                f"{type(self).__name__}: n_checkpoints={self.n_checkpoints} networks need at least "
                f"{self.n_checkpoints - 1} steps; got n_steps={n_steps}."
            )
        return tuple(round(s) for s in np.linspace(0, n_steps, self.n_checkpoints))

    def _task(self, start, X_source=None, y_source=None):
        self._check_source(X_source, y_source)
        fisher, identity, penalty = None, [], 0.0
        if self.stopping == "elastic":
            fisher = self._fisher_of(start, X_source, y_source)
            given = fisher.digest() if self.fisher is not None else y_source
            identity = [np.asarray(given).tolist()]
        if self.stopping in ("elastic", "l2_sp"):
            default = ELASTIC_PENALTY if self.stopping == "elastic" else L2_SP_PENALTY
            penalty = default if self.penalty is None else self.penalty
        return CompactnessTask(start, self.loss, penalty, fisher, identity)

    def _check_source(self, X_source, y_source):
        owner = type(self).__name__
        if y_source is not None and X_source is None:
            raise ValueError(f"{owner}: y_source needs X_source, the images that it labels.")
        if X_source is not None and (self.stopping != "elastic" or self.fisher is not None):
            raise ValueError(
                f"{owner}: X_source is for stopping='elastic' without fisher=; got stopping="
                f"{self.stopping!r}, fisher={self.fisher!r}. Leave it out."
            )

    def _fisher_of(self, start, X_source, y_source):
        """The Fisher information, on the device of the training."""
        if self.fisher is not None:
            found = FisherDiagonal.load(self.fisher)
        else:
            source = None if X_source is None else check_images(self, X_source)
            found = fisher_of(start, source, y_source, self.source_head)
        found.check(start.cut, type(self).__name__)
        return found.to(start.device)

    def _learn(self, task, outcome):
        self.center_ = task.center.cpu().numpy()
        for name in ("fisher_", "checkpoint_steps_", "_snapshots"):
            vars(self).pop(name, None)
        if task.fisher is not None:
            self.fisher_ = task.fisher.to("cpu")
        self._unit_length = task.angular
        if self.stopping == "sample_wise":
            steps = sorted(outcome.snapshots)
            self.checkpoint_steps_ = [min(step, outcome.stopped_at) for step in steps]
            self._snapshots = [task.trained_values(outcome.snapshots[step]) for step in steps]

    def transform(self, X: Images) -> np.ndarray:
        """Compute the features of images by the trained network.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        features : ndarray of float32, shape (n_images, n_features)
            For ``stopping="sample_wise"`` the features of all its networks, side by side, those of
            the untrained network first. Rows have unit length for the angular loss.
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
        features : ndarray of float32, shape (n_images, n_features)
            One row for each image.
        """
        if not hasattr(self, "_snapshots"):
            return super().compute(source)
        return np.hstack(list(self._features_by_step(source)))

    def _features_by_step(self, source):
        # On a copy, as several threads may transform at once.
        extractor = copy.copy(self.extractor_)
        fitted = extractor.fitted_network_ = self.extractor_.fitted_network_.copy()
        fitted.in_training = True  # its weights change
        parameters = dict(fitted.network.named_parameters())
        for values in self._snapshots:
            for name, value in values.items():
                parameters[name].data.copy_(value)
            features = extractor.compute(source)
            # The angular loss measures no length, so no distance should.
            yield unit_rows(features).astype(np.float32) if self._unit_length else features

    def get_feature_names_out(self, input_features: "ArrayLike | None" = None) -> np.ndarray:
        """Get the names of the features: the layer and a number, and for "sample_wise" the step.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows of `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_features,)
            One name for each column.
        """
        names = super().get_feature_names_out(input_features)
        if not hasattr(self, "_snapshots"):
            return names
        steps = self.checkpoint_steps_
        return np.array([f"step{s}_{name}" for s in steps for name in names], dtype=object)


class CompactnessTask(Task):
    """Features drawn to their centre, and parameters held to where they began.

    Parameters
    ----------
    start : Start
    loss : {"squared", "angular"}
    penalty : float
        Weight of the distance of the parameters from where they began.
    fisher : FisherDiagonal, optional
        What each parameter counts in it; by default all the same.
    identity : list
        What the penalty was made of.
    """

    def __init__(self, start, loss, penalty, fisher, identity):
        super().__init__(start)
        self.angular, self.penalty, self.fisher = loss == "angular", penalty, fisher
        self.metrics = ("cosine",) if self.angular else ("euclidean", "cosine")
        features = unit(start.features) if self.angular else start.features
        center = features.mean(0)
        self.register_buffer("center", unit(center[None])[0] if self.angular else center)
        self._identity = identity
        names = start.cut.parameters
        self._importances = fisher and [fisher.values[name] for name in names]
        if penalty:
            self._anchors = [value.detach().clone() for value in names.values()]

    def identity(self):
        """What the penalty was made of."""
        return self._identity

    def loss(self, step):
        """The loss, and the penalty where there is one."""
        measure = angular_center_loss if self.angular else compactness_loss
        loss = measure(self.images.batch(step), self.center)
        if not self.penalty:
            return loss
        trained = list(self.cut.parameters.values())
        return loss + self.penalty * elastic_penalty(trained, self._anchors, self._importances)

    def trained_values(self, state):
        """Trained parameters of the network in a state, by their names there, on the CPU."""
        return {name: state[f"network.{name}"].cpu() for name in self.cut.names}
