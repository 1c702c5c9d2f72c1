"""DeepSVDD: distance to a fixed centre in a network trained from scratch."""

from numbers import Integral

from .._compat import Interval
from ..adapters import AutoencoderAdapter, DeepSVDDAdapter
from ..backbones import svdd_cifar
from ..features import FeatureExtractor
from ..scorers import CentroidScorer
from ._image import BaseImageDetector


class DeepSVDD(BaseImageDetector):
    r"""Deep support vector data description: normal images lie near a centre.

    An autoencoder is trained on the images, see :class:`~skad.AutoencoderAdapter`; its encoder
    :math:`\phi` goes on to draw them together around their mean code c, see
    :class:`~skad.DeepSVDDAdapter`. The score is

    .. math:: s(x) = -\lVert \phi(x) - c \rVert_2^2

    Defaults are those of the paper's code for CIFAR-10. For grey images of 28 pixels (MNIST) it has
    ``backbone=skad.backbones.svdd_mnist, n_pretraining_epochs=150, pretraining_decay_at=1/3,
    pretraining_weight_decay=5e-4``.

    Parameters
    ----------
    backbone : str or callable, default=skad.backbones.svdd_cifar
        Network, by name or factory. The paper's have no biases, as a network with them could reach
        the centre whatever the image.
    weights : "pretrained", None or path, default=None
        Random weights to begin with (paper), or others.
    layers : list of str, optional
        Layers whose pooled outputs are joined; by default the network's output (paper).
    image_size : int, optional
        Side in pixels that the network sees; by default the backbone's.
    resize : {"crop", "whole"}, optional
        By default the backbone's ("whole").
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of training; "bfloat16" is mixed precision.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    contrast_normalization : bool, default=True
        Normalise the contrast of each image, see :class:`~skad.FeatureExtractor` (paper).
    mean, std : float or tuple of float, optional
        Normalisation without that; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_pretraining_epochs : int, default=350
        Passes over the images as an autoencoder (code, CIFAR-10; 150 for MNIST); 0 for none.
    pretraining_decay_at : float in [0, 1], default=5/7
        Share of them after which the learning rate is a tenth (code, CIFAR-10; 1/3 for MNIST).
    pretraining_weight_decay : float, default=5e-7
        (Code, CIFAR-10; 5e-4 for MNIST.)
    decoder : callable, optional
        Factory of the decoder; by default the encoder's ``make_decoder()``.
    objective : {"one_class", "soft_boundary"}, default="one_class"
        What is minimised; see :class:`~skad.DeepSVDDAdapter`, also for what follows.
    nu : float in (0, 1], default=0.1
        Share of images left outside of the soft boundary (code).
    warm_up_epochs : int, default=10
        Epochs before the radius leaves zero (code).
    n_epochs : int, default=150
        Passes over the images (code).
    batch_size : int, default=200
        Images in a step (code).
    learning_rate : float, default=1e-4
        Of Adam (code).
    decay_at : float in [0, 1], default=1/3
        Share of the training after which the learning rate is a tenth (code: epoch 50).
    weight_decay : float, default=5e-7
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
        Draws the random weights and the order of the images.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.DeepSVDDAdapter` ("adapter") and :class:`~skad.CentroidScorer`
        ("scorer").
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Label-free measures along the second training; see :class:`~skad.CompactnessAdapter` and
        :class:`~skad.displays.TrainingCurveDisplay`.
    stopped_at_ : int
        Its steps.
    collapsed_at_ : None
        Collapse is not looked for.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.PANDA : The same idea with a pretrained network.
    skad.backbones : The paper's networks.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import DeepSVDD
    >>> from skad.backbones import svdd_mnist
    >>> digits, labels = load_digits(return_X_y=True)
    >>> network = partial(svdd_mnist, image_size=8)
    >>> detector = DeepSVDD(network, n_pretraining_epochs=20, n_epochs=20, batch_size=20)
    >>> detector.fit(digits[labels == 0][:100]).predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **{
            name: value
            for part in (FeatureExtractor, DeepSVDDAdapter)
            for name, value in part._parameter_constraints.items()
            if name not in ("extractor", "memory", "flattened_layers", "n_steps")
        },
        "n_pretraining_epochs": [Interval(Integral, 0, None, closed="left")],
        "pretraining_decay_at": DeepSVDDAdapter._parameter_constraints["decay_at"],
        "pretraining_weight_decay": DeepSVDDAdapter._parameter_constraints["weight_decay"],
        "decoder": AutoencoderAdapter._parameter_constraints["decoder"],
        "contamination": CentroidScorer._parameter_constraints["contamination"],
    }

    def __init__(
        self,
        backbone=svdd_cifar,
        *,
        weights=None,
        layers=None,
        image_size=None,
        resize=None,
        precision="float32",
        device="auto",
        contrast_normalization=True,
        mean=None,
        std=None,
        image_shape=None,
        n_pretraining_epochs=350,
        pretraining_decay_at=5 / 7,
        pretraining_weight_decay=5e-7,
        decoder=None,
        objective="one_class",
        nu=0.1,
        warm_up_epochs=10,
        n_epochs=150,
        batch_size=200,
        learning_rate=1e-4,
        decay_at=1 / 3,
        weight_decay=5e-7,
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
        self.contrast_normalization = contrast_normalization
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.n_pretraining_epochs = n_pretraining_epochs
        self.pretraining_decay_at = pretraining_decay_at
        self.pretraining_weight_decay = pretraining_weight_decay
        self.decoder = decoder
        self.objective = objective
        self.nu = nu
        self.warm_up_epochs = warm_up_epochs
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decay_at = decay_at
        self.weight_decay = weight_decay
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.contamination = contamination
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _make_steps(self):
        encoder = self._make(FeatureExtractor)
        if self.n_pretraining_epochs:
            encoder = self._make(
                AutoencoderAdapter,
                extractor=encoder,
                n_epochs=self.n_pretraining_epochs,
                decay_at=self.pretraining_decay_at,
                weight_decay=self.pretraining_weight_decay,
            )
        adapter = self._make(DeepSVDDAdapter, extractor=encoder)
        scorer = self._make(CentroidScorer, metric="squared_euclidean", center="origin")
        return [("adapter", adapter), ("scorer", scorer)]
