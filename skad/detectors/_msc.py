"""MSC: mean-shifted contrastive training, then nearest neighbours."""

from ..adapters import MeanShiftedContrastive
from ..features import FeatureExtractor
from ..scorers import KNNScorer
from ._image import BaseImageDetector


class MSC(BaseImageDetector):
    r"""MSC: contrast views of normal images as seen from their mean, compare with those images.

    The network is trained by the mean-shifted contrastive loss, see
    :class:`~skad.MeanShiftedContrastive`; with features z of unit length,

    .. math:: s(x) = -\sum_{j=1}^{k} \lVert z(x) - z(x_{(j)}) \rVert_2^2
        = -2 \sum_{j=1}^{k} \bigl( 1 - \cos(z(x), z(x_{(j)})) \bigr)

    over the k nearest training images.

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
    mean_shift : bool, default=True
        False is plain contrastive training, the paper's counter-example.
    temperature : float, default=0.25
        (Paper.)
    angular_weight : float, default=0
        Weight of the angular centre loss. The paper's "MSC with angular loss" is 1 (97.5 instead of
        97.2 on CIFAR-10 with ResNet-152).
    code_compatible : bool, default=False
        The angular loss as in the official code; see :class:`~skad.MeanShiftedContrastive`.
    n_epochs : int, default=25
        Passes over the images (paper; 20 in the code).
    n_steps : int, optional
        Steps of the optimiser instead.
    trainable : str, int or list of str, default="last_two"
        Stages to train (paper, for ResNet-152; all of ResNet-18).
    batch_size : int, default=64
        Images in a step (paper), with two views each, and through the network together.
    learning_rate : float, default=1e-5
        Of stochastic gradient descent (code; not in the paper).
    momentum : float, default=0
        (Code.)
    weight_decay : float, default=5e-5
        (Paper.)
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together; none in paper and code.
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
    n_neighbors : int, default=2
        Number of neighbours k (paper and code: 2).
    metric : str, default="cosine"
        Metric of :class:`~skad.KNNScorer` ("cosine": paper and code).
    aggregation : {"sum_of_squares", "mean", "kth"}, default="sum_of_squares"
        Sum of squared distances (code), mean distance, or distance to the k-th neighbour.
    n_centroids : int, optional
        Search so many centroids of k-means instead of all training images (MSC, table 6).
    index : {"auto", "exact", "ivf", "hnsw"}, default="auto"
        How neighbours are found, see :class:`~skad.KNNScorer`.
    shrinkage : "ledoit_wolf" or float in [0, 1], default="ledoit_wolf"
        Of the covariance, for the "mahalanobis" metrics; see :class:`~skad.Whitening`.
    n_components : int, float in (0, 1) or None, default=None
        Directions kept in whitening; see :class:`~skad.Whitening`.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    memory : path or joblib.Memory, optional
        Folder that keeps the features of every image by the network that gave them.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws random weights (``weights=None``), the order of the images and their
        augmentation, and where k-means starts (`n_centroids`).
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.MeanShiftedContrastive` ("adapter") and
        :class:`~skad.KNNScorer` ("scorer").
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
    skad.MeanShiftedContrastive : The adaptation alone.
    skad.PANDA : Adaptation by compactness.

    References
    ----------
    Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import MSC
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = MSC(image_size=32, n_steps=2).fit(digits[labels == 0][:100])
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **FeatureExtractor._parameter_constraints,
        **MeanShiftedContrastive._parameter_constraints,
        **KNNScorer._parameter_constraints,
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
        mean_shift=True,
        temperature=0.25,
        angular_weight=0.0,
        code_compatible=False,
        n_epochs=25,
        n_steps=None,
        trainable="last_two",
        batch_size=64,
        learning_rate=1e-5,
        momentum=0.0,
        weight_decay=5e-5,
        clip_norm=None,
        collapse_limit=0.25,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        n_neighbors=2,
        metric="cosine",
        aggregation="sum_of_squares",
        n_centroids=None,
        index="auto",
        shrinkage="ledoit_wolf",
        n_components=None,
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
        self.mean_shift = mean_shift
        self.temperature = temperature
        self.angular_weight = angular_weight
        self.code_compatible = code_compatible
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
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.aggregation = aggregation
        self.n_centroids = n_centroids
        self.index = index
        self.shrinkage = shrinkage
        self.n_components = n_components
        self.contamination = contamination
        self.memory = memory
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _make_steps(self):
        extractor = self._make(FeatureExtractor)
        return [
            ("adapter", self._make(MeanShiftedContrastive, extractor=extractor)),
            ("scorer", self._make(KNNScorer)),
        ]
