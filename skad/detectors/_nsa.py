"""NSA: self-supervised features from scratch, and cosine distances after whitening."""

from .._compat import StrOptions
from ..adapters import SelfSupervisedAdapter
from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ..scorers import CentroidScorer, EnsembleScorer, GaussianScorer, KNNScorer
from ._image import BaseImageDetector

# The paper's names of its scores of one feature map.
SCORERS = {
    "k_cos": lambda: KNNScorer(1, metric="angle", aggregation="mean"),
    "k_cos_mah": lambda: KNNScorer(1, metric="mahalanobis_cosine", aggregation="mean"),
    "c_cos": lambda: CentroidScorer("cosine"),
    "c_cos_mah": lambda: CentroidScorer("mahalanobis_cosine"),
    "gde": lambda: GaussianScorer(normalize=True, log_likelihood=True),
}


class NSA(BaseImageDetector):
    r"""No Shifted Augmentations: a network trained on normal images alone, and angles.

    The network is trained from random weights to agree on two views of each image, with features
    scaled to unit length on the way, see :class:`~skad.SelfSupervisedAdapter`. An image is scored
    by the angle to the nearest training image after whitening,

    .. math:: s(x) = -\min_m \arccos \cos(u(x), u(x_m)), \qquad
        u = \Sigma^{-1/2} y / \lVert \Sigma^{-1/2} y \rVert

    with the features y and their covariance :math:`\Sigma` over the training images. It is meant
    for images unlike those that pretrained networks know, and holds up where some training images
    are not normal. Training takes long: by default 4000 epochs.

    Parameters
    ----------
    backbone : str or callable, default=skad.backbones.cifar_resnet18
        Network, by name or factory (paper: ResNet-18 with a stem for small images).
    weights : "pretrained", None or path, default=None
        Random weights to begin with (paper), or others.
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's (32).
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
    objective : {"simsiam", "simclr", "byol"}, default="simsiam"
        What is minimised in training.
    normalize : bool, default=True
        NSA's normalisations in training.
    negatives : "rotation" or None, default=None
        For SimCLR: turned images count as other images.
    scorer : {"k_cos", "k_cos_mah", "c_cos", "c_cos_mah", "gde", "ensemble", "sum"}, \
default="k_cos_mah"
        - "k_cos": angle to the nearest training image.
        - "k_cos_mah": the same after whitening; the paper's headline, where it is called k-Cos.
        - "c_cos", "c_cos_mah": angle to the mean, and the same after whitening.
        - "gde": negative log-likelihood of one Gaussian on features of unit length.
        - "ensemble": the paper's Ens. of layers, see :class:`~skad.EnsembleScorer`. Each stage but
          the first is taken place by place too: for ResNet-18 at 32 pixels 57 344 values an image.
        - "sum": k-Cos + k-Cos(Mah) over all stages of the network, place by place as well.
    scaling : {"auto", "range", "quantile", "none"}, default="auto"
        Of the terms of "ensemble" and "sum"; "quantile" where training images may not all be
        normal. See :class:`~skad.EnsembleScorer`.
    projector_widths, predictor_widths : list of int, optional
        Outputs of the layers of the heads; see :class:`~skad.SelfSupervisedAdapter`, also for what
        follows.
    temperature : float, default=0.5
        Of SimCLR's loss.
    target_momentum : float in [0, 1), default=0.996
        Of BYOL's moving average.
    augmentation : callable, optional
        Maps a batch and a ``torch.Generator`` to views.
    n_epochs : int, optional
        Passes over the images. By default 500 for SimCLR and 4000 for the others (paper).
    n_steps : int, optional
        Steps of the optimiser instead.
    batch_size : int, default=512
        Images in a step (paper).
    learning_rate : float, default=1e-4
        Of Adam, falling to 0 along half a cosine (paper).
    weight_decay : float, default=0
        Not in the paper.
    collapse_limit : float in [0, 1), default=0.25
        Collapse is an angular spread of the features below this share of the widest one so far (or
        of a tenth of that of random weights).
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    monitor : callable, optional
        Called as ``monitor(extractor)`` at each look along the training; returns a dict of numbers
        that join `training_curve_`.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws the random weights, the order of the images and their augmentation.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.SelfSupervisedAdapter` ("adapter") and scorer ("scorer").
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
    skad.SelfSupervisedAdapter : The features alone.
    skad.MSC : For images that a pretrained network knows how to see.

    References
    ----------
    Yousef, Ackermann, Kurup, Bishop, "No Shifted Augmentations (NSA)".

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import NSA
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = NSA(partial(small_cnn, width=8, image_size=8), n_steps=20, batch_size=64)
    >>> detector.fit(digits[labels == 0]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **{
            name: value
            for part in (FeatureExtractor, SelfSupervisedAdapter)
            for name, value in part._parameter_constraints.items()
            if name
            not in ("extractor", "layers", "flattened_layers", "contrast_normalization", "memory")
        },
        "scorer": [StrOptions({*SCORERS, "ensemble", "sum"})],
        "scaling": EnsembleScorer._parameter_constraints["scaling"],
        "contamination": EnsembleScorer._parameter_constraints["contamination"],
    }

    def __init__(
        self,
        backbone=cifar_resnet18,
        *,
        weights=None,
        image_size=None,
        resize=None,
        precision="float32",
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
        objective="simsiam",
        normalize=True,
        negatives=None,
        scorer="k_cos_mah",
        scaling="auto",
        projector_widths=None,
        predictor_widths=None,
        temperature=0.5,
        target_momentum=0.996,
        augmentation=None,
        n_epochs=None,
        n_steps=None,
        batch_size=512,
        learning_rate=1e-4,
        weight_decay=0.0,
        collapse_limit=0.25,
        stop_at_collapse=False,
        monitor=None,
        checkpoint=None,
        contamination="auto",
        n_jobs=None,
        random_state=0,
        verbose=False,
    ):
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.resize = resize
        self.precision = precision
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.objective = objective
        self.normalize = normalize
        self.negatives = negatives
        self.scorer = scorer
        self.scaling = scaling
        self.projector_widths = projector_widths
        self.predictor_widths = predictor_widths
        self.temperature = temperature
        self.target_momentum = target_momentum
        self.augmentation = augmentation
        self.n_epochs = n_epochs
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.monitor = monitor
        self.checkpoint = checkpoint
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _join(self, adapter, scorer):
        if isinstance(scorer, EnsembleScorer):
            scorer.set_params(tap_widths=adapter.tap_widths_, map_taps=adapter.map_taps_)

    def _make_steps(self):
        layers = {"ensemble": "ensemble", "sum": "stages"}.get(self.scorer)
        extractor = self._make(FeatureExtractor)
        adapter = self._make(SelfSupervisedAdapter, extractor=extractor, layers=layers)
        if layers is None:
            scorer = SCORERS[self.scorer]()
        else:
            preset = "ens" if self.scorer == "ensemble" else "sum"
            scorer = EnsembleScorer(preset, scaling=self.scaling)
        scorer.set_params(contamination=self.contamination)
        return [("adapter", adapter), ("scorer", scorer)]
