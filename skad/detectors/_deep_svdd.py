"""DeepSVDD: distance to a fixed centre in a network trained from scratch."""

import os
from collections.abc import Callable
from numbers import Integral

from .._compat import Interval
from .._parameters import NOT_NEGATIVE, SHARE, changed, parameter
from ..adapters import AutoencoderAdapter, DeepSVDDAdapter
from ..adapters._autoencoder import DecoderParameters
from ..adapters._deep_svdd import HypersphereParameters
from ..backbones import svdd_cifar
from ..features import FeatureExtractor
from ..networks._parameters import (
    ContrastParameters,
    LayerParameters,
    NetworkParameters,
    RandomParameters,
)
from ..scorers import CentroidScorer
from ..scorers._parameters import ContaminationParameters
from ._base import BaseImageDetector


class DeepSVDD(
    RandomParameters,
    ContaminationParameters,
    HypersphereParameters,
    DecoderParameters,
    ContrastParameters,
    LayerParameters,
    NetworkParameters,
    BaseImageDetector,
):
    r"""Deep support vector data description: normal images lie near a centre.

    An autoencoder is trained on the images, see :class:`~skad.AutoencoderAdapter`. Its encoder
    :math:`\phi` is then trained to map them close to their mean code c, see
    :class:`~skad.DeepSVDDAdapter`. The score is

    .. math:: s(x) = -\lVert \phi(x) - c \rVert_2^2

    Defaults are those of the paper's code for CIFAR-10. For grey images of 28 pixels (MNIST) the
    code uses ``backbone=skad.backbones.svdd_mnist, n_pretraining_epochs=150,
    pretraining_decay_at=1/3, pretraining_weight_decay=5e-4``.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The fitted :class:`~skad.DeepSVDDAdapter` ("adapter") and :class:`~skad.CentroidScorer`
        ("scorer").
    collapsed_at_ : None
        Collapse is not looked for.

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

    backbone: str | Callable = changed(
        default=svdd_cifar,
        note="(The paper's network. It has no biases: with them it could map every image to the "
        "centre.)",
    )
    weights: str | os.PathLike | None = changed(default=None, note="(Paper: random weights.)")

    contrast_normalization: bool = changed(default=True, note="(Paper.)")
    n_pretraining_epochs: int | None = parameter(
        default=None,
        limits=[Interval(Integral, 0, None, closed="left"), None],
        text="Passes over the images as an autoencoder; 0 for none. By default 350 (code, "
        "CIFAR-10; 150 for MNIST). For fewer images than its 5 000 the number falls in "
        "proportion, but not below 35.",
    )
    pretraining_decay_at: float = parameter(
        default=5 / 7,
        limits=[SHARE],
        text="Share of the pretraining after which the learning rate falls to a tenth (code, "
        "CIFAR-10; 1/3 for MNIST).",
    )
    pretraining_weight_decay: float = parameter(
        default=5e-7,
        limits=[NOT_NEGATIVE],
        text="Weight decay of the pretraining (code, CIFAR-10; 5e-4 for MNIST).",
    )

    def _make_steps(self):
        encoder = self._make(FeatureExtractor)
        if self.n_pretraining_epochs != 0:
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
