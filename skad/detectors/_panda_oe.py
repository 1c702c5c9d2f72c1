"""PANDA-OE: normal images against outliers of any kind."""

from .._compat import fit_context
from ..adapters import OutlierExposureAdapter
from ..features import FeatureExtractor
from ..scorers import LogitScorer
from ._image import BaseImageDetector


class PANDAOE(BaseImageDetector):
    r"""PANDA-OE: a pretrained network trained to tell normal images from outliers of any kind.

    With the logit :math:`l(x) = w^\top \psi(x) + b` of being an outlier, trained along with the
    network's last stages, see :class:`~skad.OutlierExposureAdapter`,

    .. math:: s(x) = -l(x)

    The outliers are given to `fit` as ``X_outliers``; in a search, ask for that by
    ``set_fit_request(X_outliers=True)``. Where they do not resemble the anomalies to come,
    :class:`~skad.PANDA` is better (paper: Fashion-MNIST, cats and dogs).

    Parameters
    ----------
    backbone : str or callable, default="tiny"
        Network, see :class:`~skad.FeatureExtractor`. "tiny" comes with the package; the paper uses
        "resnet152".
    weights : "pretrained", None or path, default="pretrained"
        Published weights, random ones, or a file.
    layers : list of str, optional
        Layers whose pooled outputs are joined; by default the output before the classifier (paper).
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's. The paper uses 224.
    resize : {"crop", "whole"}, optional
        Paper: "crop". By default the backbone's.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the frozen stages; those that are trained always compute in float32.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_epochs : int, default=50
        Passes over the normal images (code).
    n_steps : int, optional
        Steps of the optimiser instead.
    trainable : str, int or list of str, default="last_two"
        Stages to train (paper: the last two of a ResNet's four).
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
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    memory : path or joblib.Memory, optional
        Folder that keeps the features of every image by the network that gave them.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws random weights (``weights=None``), the order of the images, and the
        logit to begin with.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.OutlierExposureAdapter` ("adapter") and
        :class:`~skad.LogitScorer` ("scorer").
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training; see :class:`~skad.CompactnessAdapter` and
        :class:`~skad.displays.TrainingCurveDisplay`.
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
    skad.OutlierExposureAdapter : The adaptation alone.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021. Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier
    Exposure", ICLR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import PANDAOE
    >>> digits, labels = load_digits(return_X_y=True)
    >>> zeros, others = digits[labels == 0][:50], digits[labels > 1][:50]
    >>> detector = PANDAOE(image_size=32, n_steps=20).fit(zeros, X_outliers=others)
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **FeatureExtractor._parameter_constraints,
        **OutlierExposureAdapter._parameter_constraints,
        **LogitScorer._parameter_constraints,
    }

    def __init__(
        self,
        backbone="tiny",
        *,
        weights="pretrained",
        layers=None,
        image_size=None,
        resize=None,
        precision="float32",
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
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
        contamination="auto",
        memory=None,
        n_jobs=None,
        random_state=0,
        verbose=False,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layers = layers
        self.image_size = image_size
        self.resize = resize
        self.precision = precision
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
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
        self.contamination = contamination
        self.memory = memory
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, X_outliers=None):
        """Learn to tell normal images from others.

        Parameters
        ----------
        X : images
            Normal images, at least two, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out; they are no outliers to learn from.
        X_outliers : images
            Images that are not normal, at least two, none of them in `X`. A search splits them as
            it does `X` where they are as many.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if outliers are training images; if a
            parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._fit(X, y, X_outliers=X_outliers)

    def _make_steps(self):
        extractor = self._make(FeatureExtractor)
        return [
            ("adapter", self._make(OutlierExposureAdapter, extractor=extractor)),
            ("scorer", self._make(LogitScorer)),
        ]
