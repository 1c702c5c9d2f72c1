"""PANDA: compactness, then nearest neighbours."""

from .._compat import StrOptions, fit_context
from ..adapters import CompactnessAdapter
from ..features import FeatureExtractor
from ..scorers import KNNScorer, SampleWiseScorer
from ._image import BaseImageDetector


class PANDA(BaseImageDetector):
    r"""PANDA: draw the features of normal images together, stop in time, compare with them.

    The network is trained for compactness, see :class:`~skad.CompactnessAdapter`; an image is
    scored by its distance to the nearest training images, as :class:`~skad.DN2` does, in the
    features that result. ``stopping="sample_wise"`` scores by :class:`~skad.SampleWiseScorer`.

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
    loss : {"squared", "angular"}, default="squared"
        Squared distance to the centre (paper), or the angular centre loss of MSC's paper, which
        gets 96.8 instead of 96.2 on CIFAR-10 with ResNet-152.
    stopping : {"early", "sample_wise", "elastic", "l2_sp"}, default="early"
        PANDA-Early, PANDA-SES, PANDA-EWC (what others' tables call PANDA), or EWC without Fisher
        information; see :class:`~skad.CompactnessAdapter`.
    n_steps : int, optional
        Steps of the optimiser. By default 2 300 (paper), and 7 800 for "elastic" and "l2_sp"
        (code).
    penalty : float, optional
        :math:`\lambda`; by default 1e4 for "elastic" (paper) and 0.1 for "l2_sp" (ours).
    fisher : path, optional
        File of Fisher information, for "elastic"; by default computed in `fit`.
    source_head : {"auto", "pretrained", "new"}, default="auto"
        What classifies labelled source images, for "elastic".
    n_checkpoints : int, default=4
        Networks that "sample_wise" compares; the paper does not say how many.
    trainable : str, int or list of str, default="last_two"
        Stages to train (paper: the last two of a ResNet's four).
    batch_size : int, default=32
        Images in a step (code), and through the network together.
    learning_rate : float, default=1e-2
        Of stochastic gradient descent (code).
    momentum : float, default=0.9
        (Code.)
    weight_decay : float, default=5e-5
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
    n_neighbors : int, default=2
        Number of neighbours k (paper and code: 2).
    metric : str, optional
        Metric of :class:`~skad.KNNScorer`; by default "euclidean" for the squared loss (paper) and
        "cosine" for the angular.
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
    distance : {"center", "knn"}, default="center"
        What "sample_wise" measures: distance to the centre (paper, by its equation), or to the
        nearest training images. Of the parameters of nearest
        neighbours it uses `n_neighbors` alone.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training images beyond the threshold; "auto" is 0.1.
    memory : path or joblib.Memory, optional
        Folder that keeps the features of every image by the network that gave them.
    n_jobs : int, optional
        Threads that decode image files; by default one for each core.
    random_state : int, RandomState instance or None, default=0
        Draws random weights (``weights=None``), the order of the images, and where
        k-means starts (`n_centroids`).
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.CompactnessAdapter` ("adapter") and
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
    skad.CompactnessAdapter : The adaptation alone.
    skad.MSC : Contrastive adaptation, which collapses more slowly.

    References
    ----------
    Reiss, Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skad import PANDA
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = PANDA(image_size=32, n_steps=5).fit(digits[labels == 0][:100])
    >>> detector.predict(digits[[0, 1]])  # a zero and a one
    array([ 1, -1])
    """

    _parameter_constraints = {  # noqa: RUF012
        **FeatureExtractor._parameter_constraints,
        **CompactnessAdapter._parameter_constraints,
        **KNNScorer._parameter_constraints,
        "metric": [*KNNScorer._parameter_constraints["metric"], None],
        "distance": [StrOptions({"center", "knn"})],
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
        n_neighbors=2,
        metric=None,
        aggregation="sum_of_squares",
        n_centroids=None,
        index="auto",
        shrinkage="ledoit_wolf",
        n_components=None,
        distance="center",
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
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.aggregation = aggregation
        self.n_centroids = n_centroids
        self.index = index
        self.shrinkage = shrinkage
        self.n_components = n_components
        self.distance = distance
        self.contamination = contamination
        self.memory = memory
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, X_source=None, y_source=None):
        """Learn what normal images look like.

        Parameters
        ----------
        X : images
            Normal images, more than `n_neighbors`, in any container, see :ref:`containers`.
        y : array-like of shape (n_images,), optional
            Images labelled -1 (or True) are left out.
        X_source, y_source : images and array-like, optional
            For ``stopping="elastic"``; see :meth:`skad.CompactnessAdapter.fit`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError, OSError
            If images are missing, broken, or too few; if a parameter does not fit.
        ArithmeticError
            If the loss or the gradient is not finite; the message says at which step.
        """
        return self._fit(X, y, X_source=X_source, y_source=y_source)

    def _make_steps(self):
        adapter = self._make(CompactnessAdapter, extractor=self._make(FeatureExtractor))
        if self.stopping == "sample_wise":
            scorer = self._make(SampleWiseScorer)
        else:
            default = "euclidean" if self.loss == "squared" else "cosine"
            scorer = self._make(KNNScorer, metric=self.metric or default)
        return [("adapter", adapter), ("scorer", scorer)]
