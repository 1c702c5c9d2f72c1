"""Autoencoder: features from which the image can be drawn again."""

from .._parameters import AT_LEAST_TWO, POSITIVE, ParameterGroup, changed, parameter
from .._random import local_seed, torch_seed
from ..backbones import svdd_cifar
from ..features import FeatureExtractor
from ..losses import reconstruction_loss
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    CollapseParameters,
    DecayParameters,
    EpochParameters,
    MemoryLimitParameters,
    RateDecayParameters,
    StepParameters,
    TrainingParameters,
)
from ..training._task import Task
from ._plans import from_scratch, step_decay
from ._scratch import ScratchAdapter


class DecoderParameters(ParameterGroup):
    """What draws images from codes."""

    decoder: object = parameter(
        default=None,
        limits=[callable, None],
        text="Picklable factory of a ``torch.nn.Module`` that maps codes (n, code_dim) to images "
        "of the size that the network sees. By default the encoder's own ``make_decoder()``, "
        "which the networks ``svdd_*`` and ``clad_*`` of :mod:`skad.backbones` have.",
    )


class AutoencoderAdapter(
    RandomParameters,
    MemoryLimitParameters,
    CollapseParameters,
    DecayParameters,
    RateDecayParameters,
    TrainingParameters,
    StepParameters,
    EpochParameters,
    DecoderParameters,
    ScratchAdapter,
):
    r"""Train an encoder and a decoder to reconstruct normal images.

    .. math:: L = \frac1B \sum_i \lVert x_i - D(E(x_i)) \rVert_2^2

    `transform` returns the codes E(x); D is the decoder. DeepSVDD and CLAD begin with this
    training.

    See Also
    --------
    skad.DeepSVDD : A detector that begins with it.
    skad.backbones : Networks with decoders.

    Notes
    -----
    A decoder that ends with a sigmoid should say so by an attribute, ``decoder_range = "unit"``. It
    is then trained on images in [0, 1]: those after contrast normalisation, or else those before
    `mean` and `std` of the extractor. Other decoders are trained on the images that the network
    sees.

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

    _published_epochs = 350

    n_epochs: int | None = changed(
        default=None,
        limits=[POSITIVE, None],
        note="By default 350 (code, CIFAR-10; 150 for MNIST). For fewer images than its 5 000 the "
        "number falls in proportion, but not below 35, which was enough for 500 images.",
    )
    batch_size: int = changed(default=200, note="(Code.)", limits=[AT_LEAST_TWO])
    learning_rate: float = changed(default=1e-4, note="Here for Adam (code).")
    decay_at: float = changed(default=5 / 7, note="(Code, CIFAR-10: epoch 250; 1/3 for MNIST.)")
    weight_decay: float = changed(default=5e-7, note="(Code, CIFAR-10; 5e-4 for MNIST.)")
    collapse_limit: float = changed(
        default=0.0, note="Off here: equal codes would show in the loss."
    )

    def _default_extractor(self):
        return FeatureExtractor(svdd_cifar, weights=None, contrast_normalization=True)

    def _plan(self, n_images, network):
        n_steps = self._n_steps(n_images)
        rate = step_decay(self.learning_rate, n_steps, self.decay_at)
        return from_scratch(self, n_steps, rate=rate)

    def _task(self, start):
        network = start.fitted.network
        factory = self.decoder or getattr(network, "make_decoder", None)
        if factory is None:
            raise ValueError(
                f"{start.owner}: {type(network).__name__} has no make_decoder(); give decoder=, a "
                "factory of a network from codes to images, or a backbone that has one, such as "
                "skad.backbones.svdd_cifar."
            )
        with local_seed(torch_seed(start.seed, "decoder")):
            return AutoencoderTask(start, factory())


class AutoencoderTask(Task):
    """Images drawn again from their codes.

    Parameters
    ----------
    start : Start
    decoder : torch.nn.Module
    """

    def __init__(self, start, decoder):
        super().__init__(start)
        self.decoder = decoder
        self.unit_range = getattr(decoder, "decoder_range", "any") == "unit"

    def loss(self, step):
        """How far the drawn images are from those that the network sees."""
        images = self.images.hidden_batch(step)
        drawn = self.decoder(self.cut.trained_part(images)).float()
        target = pixels(images, self.start.fitted.preprocessing) if self.unit_range else images
        if drawn.shape != target.shape:
            raise ValueError(
                f"{self.start.owner}: the decoder must give images as the network sees them, of "
                f"shape {tuple(target.shape[1:])}; got {tuple(drawn.shape[1:])}."
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
