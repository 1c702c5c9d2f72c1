"""Rotation prediction (multi-head RotNet), a baseline trained from scratch."""

from ..adapters import RotationAdapter
from ..backbones import wide_resnet
from ..features import FeatureExtractor
from ..scorers import LogitScorer
from ._image import BaseImageDetector


class RotationPrediction(BaseImageDetector):
    """MHRot: how surely a network tells the way in which an image was turned and moved.

    The network is trained from random weights on normal images in 36 ways, see
    :class:`~skad.RotationAdapter`; images that it recognises with less confidence are anomalies.
    One prediction takes 36 forward passes.

    Parameters
    ----------
    backbone : str or callable, default=skad.backbones.wide_resnet
        Network, by name or factory (code: WRN-16-4 for small images).
    weights : "pretrained", None or path, default=None
        Random weights to begin with, or others.
    layers : list of str, optional
        Layers whose pooled outputs are joined; by default the output before the classifier.
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's.
    resize : {"crop", "whole"}, optional
        By default the backbone's ("whole").
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of training; "bfloat16" is mixed precision.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_epochs : int, default=180
        Passes over the images, each in one of the 36 ways; see :class:`~skad.RotationAdapter`, also
        for what follows.
    n_steps : int, optional
        Steps of the optimiser instead.
    batch_size : int, default=128
        Images in a step.
    learning_rate : float, default=0.1
        Of stochastic gradient descent, falling to 0 along half a cosine (code).
    weight_decay : float, default=5e-4
        (Code.)
    memory_limit : float, default=2048
        Most MiB for prepared images; those beyond are prepared anew in each epoch.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws the random weights, the order of the images and how they are turned.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.RotationAdapter` ("adapter") and :class:`~skad.LogitScorer`
        ("scorer").
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along training; see :class:`~skad.CompactnessAdapter` and
        :class:`~skad.displays.TrainingCurveDisplay`.
    stopped_at_ : int
        Steps that the network was trained.
    collapsed_at_ : None
        Collapse is not looked for.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.NSA : Features from scratch that need no such task.

    References
    ----------
    Hendrycks, Mazeika, Kadavath, Song, "Using Self-Supervised Learning Can Improve Model Robustness
    and Uncertainty", NeurIPS 2019.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import RotationPrediction
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = RotationPrediction(partial(small_cnn, width=8, image_size=8), n_steps=40)
    >>> detector.fit(digits[labels == 4][:100]).predict(digits[[4, 1]])  # a four and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **{
            name: value
            for part in (FeatureExtractor, RotationAdapter, LogitScorer)
            for name, value in part._parameter_constraints.items()
            if name not in ("extractor", "memory", "flattened_layers", "contrast_normalization")
        },
    }

    def __init__(
        self,
        backbone=wide_resnet,
        *,
        weights=None,
        layers=None,
        image_size=None,
        resize=None,
        precision="float32",
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
        n_epochs=180,
        n_steps=None,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        memory_limit=2048,
        checkpoint=None,
        contamination="auto",
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
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _make_steps(self):
        adapter = self._make(RotationAdapter, extractor=self._make(FeatureExtractor))
        return [("adapter", adapter), ("scorer", self._make(LogitScorer))]
