"""Autoencoder: features from which the image can be drawn again."""

from numbers import Real

from .._compat import Interval
from .._random import local_seed
from ..backbones import svdd_cifar
from ..features import FeatureExtractor
from ..losses import reconstruction_loss
from ._scratch import SCRATCH_CONSTRAINTS, ScratchAdapter, step_decay


class AutoencoderAdapter(ScratchAdapter):
    r"""Train an encoder, and a decoder behind it, to give normal images again.

    .. math:: L = \frac1B \sum_i \lVert x_i - D(E(x_i)) \rVert_2^2

    `transform` gives the codes E(x). DeepSVDD and CLAD begin with it.

    Parameters
    ----------
    extractor : FeatureExtractor, optional
        What holds the encoder, whose output is the code; a copy is fitted and trained. By default
        DeepSVDD's, ``FeatureExtractor(skad.backbones.svdd_cifar, weights=None,
        contrast_normalization=True)``.
    decoder : callable, optional
        Picklable factory of a ``torch.nn.Module`` from codes (n, code_dim) to images of the size
        that the network sees. By default the encoder's own ``make_decoder()``, which the networks
        ``svdd_*`` and ``clad_*`` of :mod:`skad.backbones` have.
    n_epochs : int, default=350
        Passes over the images (code, CIFAR-10; 150 for MNIST).
    n_steps : int, optional
        Steps of the optimiser instead.
    batch_size : int, default=200
        Images in a step (code).
    learning_rate : float, default=1e-4
        Of Adam (code).
    decay_at : float in [0, 1], default=5/7
        Share of the training after which the learning rate is a tenth (code, CIFAR-10: epoch 250;
        1/3 for MNIST).
    weight_decay : float, default=5e-7
        (Code, CIFAR-10; 5e-4 for MNIST.)
    collapse_limit : float in [0, 1), default=0.0
        Collapse is an angular spread of the codes below this share of the widest one so far. By
        default it is not looked for, as codes that are all alike would show in the loss.
    stop_at_collapse : bool, default=False
        Stop there, and keep the network of the last look before it.
    memory_limit : float, default=2048
        Most MiB for prepared images; those beyond are prepared anew in each epoch.
    checkpoint : path, optional
        Folder that keeps the state of the training while it lasts. A fit that was broken off goes
        on from there, if parameters and images are the same and `random_state` is an integer.
    random_state : int, RandomState instance or None, default=0
        Decides the decoder's first weights and the order of the images; those of the encoder are
        drawn by the extractor's.
    verbose : bool, default=False
        Show a progress bar.

    Attributes
    ----------
    extractor_ : FeatureExtractor
        Fitted, with the trained encoder.
    network_ : torch.nn.Module
        The trained encoder, in evaluation mode.
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

    See Also
    --------
    skad.DeepSVDD : Detector that begins with it.
    skad.backbones : Networks with decoders.

    Notes
    -----
    A decoder that ends with a sigmoid should say so by an attribute, ``decoder_range = "unit"``: it
    is to draw images in [0, 1], as they are after contrast normalisation, else before `mean` and
    `std` of the extractor. Other decoders are to draw what the network sees.

    References
    ----------
    Ruff et al., "Deep One-Class Classification", ICML 2018.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import AutoencoderAdapter, FeatureExtractor
    >>> from skad.backbones import svdd_mnist
    >>> digits, labels = load_digits(return_X_y=True)
    >>> encoder = FeatureExtractor(partial(svdd_mnist, image_size=8), weights=None)
    >>> adapter = AutoencoderAdapter(encoder, n_epochs=2).fit(digits[labels == 0])
    >>> adapter.transform(digits[:5]).shape
    (5, 32)
    """

    _parameter_constraints = {  # noqa: RUF012
        **SCRATCH_CONSTRAINTS,
        "decoder": [callable, None],
        "decay_at": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        extractor=None,
        *,
        decoder=None,
        n_epochs=350,
        n_steps=None,
        batch_size=200,
        learning_rate=1e-4,
        decay_at=5 / 7,
        weight_decay=5e-7,
        collapse_limit=0.0,
        stop_at_collapse=False,
        memory_limit=2048,
        checkpoint=None,
        random_state=0,
        verbose=False,
    ):
        self.extractor = extractor
        self.decoder = decoder
        self.n_epochs = n_epochs
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decay_at = decay_at
        self.weight_decay = weight_decay
        self.collapse_limit = collapse_limit
        self.stop_at_collapse = stop_at_collapse
        self.memory_limit = memory_limit
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def _default_extractor(self):
        return FeatureExtractor(svdd_cifar, weights=None, contrast_normalization=True)

    def _rate(self, step, n_steps):
        return step_decay(self.learning_rate, step, n_steps, self.decay_at)

    def _prepare(self, run):
        network = run.extractor.network_
        factory = self.decoder or getattr(network, "make_decoder", None)
        if factory is None:
            raise ValueError(
                f"{run.owner}: {type(network).__name__} has no make_decoder(); give decoder=, a "
                "factory of a network from codes to images, or a backbone that has one, such as "
                "skad.backbones.svdd_cifar."
            )
        with local_seed(run.seed):
            run.decoder = run.add("decoder", factory())
        run.unit_range = getattr(run.decoder, "decoder_range", "any") == "unit"

    def _loss(self, run, step):
        images = run.images.hidden_batch(step)
        drawn = run.decoder(run.cut.trained_part(images)).float()
        target = pixels(images, run.extractor.preprocessing_) if run.unit_range else images
        if drawn.shape != target.shape:
            raise ValueError(
                f"{run.owner}: the decoder must give images as the network sees them, of shape "
                f"{tuple(target.shape[1:])}; got {tuple(drawn.shape[1:])}."
            )
        return reconstruction_loss(target, drawn)


def pixels(images, preprocessing):
    """Images in [0, 1], from what the network sees."""
    if preprocessing.contrast_range is not None:
        return images
    mean, std = (
        images.new_tensor(values)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    return images * std + mean
