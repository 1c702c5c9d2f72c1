"""DN2: deep nearest neighbours."""

from ..features import FeatureExtractor
from ..scorers import KNNScorer
from ._image import BaseImageDetector


class DN2(BaseImageDetector):
    r"""Deep nearest neighbours: distance to the nearest training images in a frozen network.

    With :math:`\psi(x)` the feature of an image, scaled to unit length for ``metric="cosine"``,

    .. math:: s(x) = -\sum_{j=1}^{k} \lVert \psi(x) - \psi(x_{(j)}) \rVert_2^2

    over the k nearest training images. Nothing is trained.

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
        Arithmetic of the network.
    batch_size : int, default=64
        Images that go through the network together.
    device : str, default="auto"
        A CUDA device if there is one, else the CPU.
    mean, std : float or tuple of float, optional
        Normalisation; by default the backbone's.
    image_shape : tuple of int, optional
        Shape of the image in flat rows; by default squares, or strips one pixel high.
    n_neighbors : int, default=2
        Number of neighbours k (paper and code: 2).
    metric : {"cosine", "euclidean", "angle", "mahalanobis", "mahalanobis_cosine"}, \
default="cosine"
        "cosine" is MSC's form of DN2 (95.8 on CIFAR-10 with ResNet-152), "euclidean" is PANDA's
        (92.5). For the others see :class:`~skad.KNNScorer`.
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
        Share of the training images beyond the threshold, scored leave-one-out; "auto" is 0.1.
    memory : path or joblib.Memory, optional
        Folder that keeps the features of every image for later fits and scores.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws random weights (``weights=None``), and where k-means starts (`n_centroids`).
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.FeatureExtractor` ("extractor") and :class:`~skad.KNNScorer`
        ("scorer").
    offset_ : float
        Threshold on `score_samples` below which an image is an anomaly.
    pixel_range_ : tuple of float or None
        Values of flat rows that become black and white; None for pixels of fixed range.
    n_features_in_ : int
        Length of flat rows, only where `fit` saw those.

    See Also
    --------
    skad.FeatureExtractor : The features alone.
    skad.KNNScorer : The score alone, on any 2-D array.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import DN2
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = DN2().fit(digits[labels == 0][:100])
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **FeatureExtractor._parameter_constraints,
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
        batch_size=64,
        device="auto",
        mean=None,
        std=None,
        image_shape=None,
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
        self.batch_size = batch_size
        self.device = device
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
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
        return [
            ("extractor", self._make(FeatureExtractor)),
            ("scorer", self._make(KNNScorer)),
        ]
