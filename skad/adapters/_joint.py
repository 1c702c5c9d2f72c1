"""Joint optimisation: compactness while the network keeps doing what it was trained for."""

from numbers import Integral

from .._compat import Interval, StrOptions, fit_context
from ..images._door import check_images
from ..losses import compactness_loss
from ._base import CONSTRAINTS, NOT_NEGATIVE, BaseAdapter
from ._compactness import EARLY_STEPS
from ._heads import source_head


class JointOptimizationAdapter(BaseAdapter):
    r"""JO's adaptation: compactness of normal images and classification of others, together.

    .. math:: L = \operatorname{mean}_{\text{source}} \mathrm{CE}(W \psi(x), y)
        + \frac{\alpha}{D} \operatorname{mean}_{\text{normal}} \lVert \psi(x) - c \rVert_2^2

    The labelled source images, of the task that the network was trained for, are given to `fit` as
    ``X_source`` and ``y_source``; within a Pipeline or a search, ask for that by
    ``set_fit_request(X_source=True, y_source=True)``.

    Parameters
    ----------
    extractor : FeatureExtractor or adapter, optional
        What gives the features; a copy is fitted and trained. By default ``FeatureExtractor()``.
    compactness_weight : float, default=1
        :math:`\alpha`, which PANDA's paper does not give.
    source_head : {"auto", "pretrained", "new"}, default="auto"
        What classifies source images: the network's own classifier (paper), or a new linear one,
        fitted to their features by linear discriminant analysis. "auto": its own if it has one. It
        is trained along.
    n_steps : int, default=2300
        Steps of the optimiser; the paper does not say how many, these are PANDA's.
    trainable : str, int or list of str, default="last_two"
        Stages to train; see :class:`~skad.CompactnessAdapter`.
    batch_size : int, default=32
        Normal images in a step, and as many source images.
    learning_rate : float, default=1e-2
        Of stochastic gradient descent; this and what follows are PANDA's.
    momentum : float, default=0.9
    weight_decay : float, default=5e-5
    clip_norm : float or None, default=1e-3
        Largest norm of the gradient of all parameters together.
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
    center_ : ndarray of shape (n_features,)
        The centre c.
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

    Warns
    -----
    CollapseWarning
        If the features collapse and `stop_at_collapse` is False.

    See Also
    --------
    skad.JointOptimization : Detector on these features.
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

    _parameter_constraints = {  # noqa: RUF012
        **CONSTRAINTS,
        "compactness_weight": [NOT_NEGATIVE],
        "source_head": [StrOptions({"auto", "pretrained", "new"})],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        extractor=None,
        *,
        compactness_weight=1.0,
        source_head="auto",
        n_steps=EARLY_STEPS,
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
        self.compactness_weight = compactness_weight
        self.source_head = source_head
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
    def fit(self, X, y=None, X_source=None, y_source=None):
        """Train on normal images and labelled source images.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source : images
            Images of the task that the network was trained for, or of one like it.
        y_source : array-like of shape (n_source_images,)
            Their classes.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If images or labels are missing, broken or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._adapt(X, y, X_source=X_source, y_source=y_source)

    def _count_steps(self, n_images):
        return self.n_steps

    def _prepare(self, run, X_source, y_source):
        if X_source is None or y_source is None:
            raise ValueError(
                f"{run.owner}: labelled source images are missing; give fit(X, X_source=images, "
                "y_source=classes). In a Pipeline or a search they come by metadata routing: "
                "set_fit_request(X_source=True, y_source=True)."
            )
        run.center = run.first_features.mean(0)
        run.source, features = run.auxiliary(check_images(self, X_source), self.batch_size)
        run.head, run.classes = source_head(run, self.source_head, features, y_source, run.owner)
        run.decisive.append(run.classes.tolist())
        run.parameters |= {f"skad_head.{n}": p for n, p in run.head.named_parameters()}

    def _loss(self, run, step):
        import torch

        logits = run.head(run.source.batch(step))
        classes = run.classes[run.source.order(step)]
        classification = torch.nn.functional.cross_entropy(logits, classes)
        compactness = compactness_loss(run.images.batch(step), run.center)
        return classification + self.compactness_weight * compactness

    def _learned(self, run):
        self.center_ = run.center.cpu().numpy()
