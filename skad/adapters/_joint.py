"""Joint optimisation: compactness while the network keeps doing what it was trained for."""

from typing import Self

import torch

from .._compat import fit_context
from .._parameters import NOT_NEGATIVE, POSITIVE, changed, parameter
from .._types import Images, Labels
from ..images._door import check_images
from ..losses import compactness_loss
from ..networks._parameters import RandomParameters
from ..training._parameters import AcceptanceParameters, FineTuningParameters, StepParameters
from ..training._task import Task
from ._base import BaseAdapter
from ._compactness import EARLY_STEPS
from ._heads import SourceHeadParameters, source_head
from ._plans import fine_tuning


class JointParameters(
    FineTuningParameters, SourceHeadParameters, StepParameters, AcceptanceParameters
):
    """Compactness beside classification; what is left open is PANDA's."""

    compactness_weight: float = parameter(
        default=1.0,
        limits=[NOT_NEGATIVE],
        text="Weight :math:`\\alpha` of compactness, which PANDA's paper does not give.",
    )
    n_steps: int = changed(
        default=EARLY_STEPS, limits=[POSITIVE], note="(PANDA's; the paper does not say how many.)"
    )
    batch_size: int = changed(default=32, note="A step also takes this many source images.")


class JointOptimizationAdapter(RandomParameters, JointParameters, BaseAdapter):
    r"""JO's adaptation: draw normal images together while classifying other images.

    .. math:: L = \operatorname{mean}_{\text{source}} \mathrm{CE}(W \psi(x), y)
        + \frac{\alpha}{D} \operatorname{mean}_{\text{normal}} \lVert \psi(x) - c \rVert_2^2

    Source images are labelled images of the task that the network was trained for. Give them to
    `fit` as ``X_source`` and ``y_source``. In a Pipeline or a search, request them:
    ``set_fit_request(X_source=True, y_source=True)``.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        The centre c.

    See Also
    --------
    skad.JointOptimization : A detector on these features.
    skad.CompactnessAdapter : Compactness without other images.

    References
    ----------
    Perera, Patel, "Learning Deep Features for One-Class Classification", IEEE Transactions on Image
    Processing 2019; as PANDA's paper (CVPR 2021) compares with it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import FeatureExtractor, JointOptimizationAdapter
    >>> digits, labels = load_digits(return_X_y=True)
    >>> adapter = JointOptimizationAdapter(FeatureExtractor(image_size=32), n_steps=3)
    >>> zeros, others = digits[labels == 0][:50], labels > 4
    >>> adapter.fit(zeros, X_source=digits[others][:100], y_source=labels[others][:100]).stopped_at_
    3
    """

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Images,
        y: Labels = None,
        X_source: Images = None,
        y_source: Labels = None,
    ) -> Self:
        """Train on normal images and labelled source images.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source : images
            Images of the task that the network was trained for, or of a similar one.
        y_source : array-like of shape (n_source_images,)
            Classes of the source images.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError, OSError
            If images or labels are missing, broken or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y, X_source=X_source, y_source=y_source)

    def _plan(self, n_images, network):
        return fine_tuning(self, self.n_steps)

    def _task(self, start, X_source, y_source):
        if X_source is None or y_source is None:
            raise ValueError(
                f"{start.owner}: labelled source images are missing; give fit(X, X_source=images, "
                "y_source=classes). In a Pipeline or a search they come by metadata routing: "
                "set_fit_request(X_source=True, y_source=True)."
            )
        return JointTask(start, self, check_images(self, X_source), y_source)

    def _learn(self, task, outcome):
        self.center_ = task.center.cpu().numpy()


class JointTask(Task):
    """Compactness of normal images beside the classification of source images.

    Parameters
    ----------
    start : Start
    settings : JointOptimizationAdapter
        Its parameters.
    source : ImageSource
        Images, already validated.
    labels : array-like
    """

    metrics = ("euclidean", "cosine")

    def __init__(self, start, settings, source, labels):
        super().__init__(start)
        self.weight = settings.compactness_weight
        self.register_buffer("center", start.features.mean(0))
        self.source, features = start.more_images(source, settings.batch_size)
        self.head, self.classes = source_head(start, settings.source_head, features, labels)

    def identity(self):
        """The classes of the source images."""
        return self.classes.tolist()

    def loss(self, step):
        """Both losses, weighed."""
        logits = self.head(self.source.batch(step))
        classes = self.classes[self.source.order(step)]
        classification = torch.nn.functional.cross_entropy(logits, classes)
        return classification + self.weight * compactness_loss(self.images.batch(step), self.center)
