"""Rotation prediction: a network that tells how an image was turned and moved."""

from functools import partial

import numpy as np
import torch
from scipy.special import softmax

from .._compat import StrOptions
from .._parameters import AT_LEAST_TWO, changed
from .._random import local_seed, numpy_stream, torch_seed
from .._types import ArrayLike, Images, Source
from ..backbones import wide_resnet
from ..features import FeatureExtractor
from ..networks._parameters import RandomParameters
from ..training._parameters import (
    CollapseParameters,
    DecayParameters,
    EpochParameters,
    MemoryLimitParameters,
    OutputParameters,
    StepParameters,
    TrainingParameters,
)
from ..training._task import Task
from ._plans import cosine_decay, from_scratch
from ._scratch import ScratchAdapter

# What the heads tell apart: quarter turns, moves up and down, moves left and right.
N_CLASSES = (4, 3, 3)
N_TRANSFORMS = 36

# Moves are by this share of the image: 8 of 32 pixels, 56 of 224 (code).
MOVE = 1 / 4

# Share that a training image is moved by at most before: 4 of 32 pixels (code).
JITTER = 1 / 8

# Pixels of the smallest image that moves by whole pixels tell apart.
SMALLEST = 8


class RotationParameters(
    MemoryLimitParameters, DecayParameters, TrainingParameters, StepParameters, EpochParameters
):
    """Turns and moves, told apart."""

    n_epochs: int = changed(
        default=180,
        note="Each pass sees each image in one of the 36 ways. (Ours: as many images as in 5 "
        "epochs of all 36, the code's default for larger images.)",
    )
    batch_size: int = changed(default=128, limits=[AT_LEAST_TWO])
    learning_rate: float = changed(
        default=0.1,
        note="Here for stochastic gradient descent with Nesterov's momentum 0.9, falling to 0 "
        "along half a cosine (code: to 1e-6).",
    )
    weight_decay: float = changed(default=5e-4, note="(Code.)")


class RotationAdapter(
    RandomParameters, CollapseParameters, RotationParameters, OutputParameters, ScratchAdapter
):
    r"""Train a network to tell in which of 36 ways an image was turned and shifted (RotNet).

    Images are turned by 0, 90, 180 or 270 degrees, shifted up or down by a quarter of their side or
    not, and shifted left or right likewise. Three linear heads tell the three, and the mean of
    their cross-entropies is minimised. The network is more confident on normal images. `transform`
    returns

    .. math:: -\sum_{t=1}^{36} \sum_{h=1}^3 \operatorname{softmax}_{t_h}(W_h \psi(t(x)) + b_h)

    for :class:`~skad.LogitScorer`, high for anomalies.

    Attributes
    ----------
    coef_ : ndarray of shape (10, n_features)
        Weights of the heads; the first four rows are those of the turns.
    intercept_ : ndarray of shape (10,)
        Biases of the heads.

    See Also
    --------
    skad.RotationPrediction : A detector by this score.

    References
    ----------
    Hendrycks, Mazeika, Kadavath, Song, "Using Self-Supervised Learning Can Improve Model Robustness
    and Uncertainty", NeurIPS 2019.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_digits
    >>> from skad import FeatureExtractor, RotationAdapter
    >>> from skad.backbones import small_cnn
    >>> digits, labels = load_digits(return_X_y=True)
    >>> network = partial(small_cnn, width=8, image_size=8)
    >>> adapter = RotationAdapter(FeatureExtractor(network, weights=None), n_steps=3)
    >>> adapter.fit(digits[labels == 0]).transform(digits[:5]).shape
    (5, 1)
    """

    output: str = changed(
        default="score",
        limits=[StrOptions({"score", "features"})],
        note='"score", as above, or "features" of images as they are.',
    )
    collapse_limit: float = changed(
        default=0.0, note="Off here: the features of normal images may become alike."
    )

    def _default_extractor(self):
        return FeatureExtractor(wide_resnet, weights=None)

    def _plan(self, n_images, network):
        n_steps = self._n_steps(n_images)
        optimizer = partial(
            torch.optim.SGD,
            lr=self.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=self.weight_decay,
        )
        rate = cosine_decay(self.learning_rate, n_steps)
        return from_scratch(self, n_steps, make_optimizer=optimizer, rate=rate)

    def _task(self, start):
        size = start.fitted.preprocessing.image_size
        if size < SMALLEST:
            raise ValueError(
                f"{start.owner}: images must have at least {SMALLEST} pixels a side to be moved; "
                f"got image_size={size}. Give a larger one; images are resized to it."
            )
        return RotationTask(start)

    def _learn(self, task, outcome):
        self.coef_ = task.heads.weight.detach().cpu().numpy()
        self.intercept_ = task.heads.bias.detach().cpu().numpy()
        self._output = self.output

    def transform(self, X: Images) -> np.ndarray:
        """Compute the score of images, or their features.

        Parameters
        ----------
        X : images
            In any container, see :ref:`containers`.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, 1) or (n_images, n_features)
            Scores, high = anomaly; features for ``output="features"``.
        """
        return super().transform(X)

    def compute(self, source: Source) -> np.ndarray:
        """Compute what `transform` returns, for images that were validated before.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.

        Returns
        -------
        outputs : ndarray of float32, shape (n_images, 1) or (n_images, n_features)
            As `transform` returns them.
        """
        if self._output == "features":
            return super().compute(source)
        scores = np.zeros((len(source), 1), dtype=np.float32)
        for start, batch in self.extractor_.batches(source):
            images = self.extractor_.fitted_network_.prepare(batch)
            for way in range(N_TRANSFORMS):
                scores[start : start + len(batch), 0] -= self._recognised(images, way)
        return scores

    def _recognised(self, images, way):
        """Probability of the true class, summed over the heads, for images in one of 36 ways."""
        classes = np.unravel_index(way, N_CLASSES)
        turned = transformed(images, *(np.full(len(images), value) for value in classes))
        features = self.extractor_.fitted_network_.features(turned).cpu().numpy()
        logits = features @ self.coef_.T + self.intercept_
        parts = np.split(logits, np.cumsum(N_CLASSES)[:-1], axis=1)
        return sum(softmax(part, axis=1)[:, true] for part, true in zip(parts, classes))

    def get_feature_names_out(self, input_features: "ArrayLike | None" = None) -> np.ndarray:
        """Get the names of the outputs: "score", or the layer and a number.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only checked against the flat rows of `fit`.

        Returns
        -------
        names : ndarray of object, shape (n_outputs,)
            One name for each column.
        """
        names = super().get_feature_names_out(input_features)
        return names if self._output == "features" else np.array(["score"], dtype=object)


class RotationTask(Task):
    """Which way each image was turned and moved."""

    def __init__(self, start):
        super().__init__(start)
        with local_seed(torch_seed(start.seed, "heads")):
            self.heads = torch.nn.Linear(start.features.shape[1], sum(N_CLASSES))

    def loss(self, step):
        """Mean cross-entropy of the heads."""
        draw = numpy_stream(self.start.seed, "turns", step)
        images = jittered(self.images.hidden_batch(step), draw)
        classes = [draw.randint(n, size=len(images)) for n in N_CLASSES]
        logits = self.heads(self.cut.trained_part(transformed(images, *classes))).float()
        losses = [
            torch.nn.functional.cross_entropy(part, torch.from_numpy(true).to(part.device))
            for part, true in zip(logits.split(N_CLASSES, dim=1), classes)
        ]
        return sum(losses) / len(losses)


def transformed(images, turns, rows, columns):
    """Images turned by so many quarters, then moved: 0 not, 1 by minus, 2 by plus a quarter.

    What comes in from beyond the edge is the mirror image.

    Parameters
    ----------
    images : tensor of shape (n, channels, side, side)
    turns, rows, columns : ndarray of int, shape (n,)
    """
    turned = torch.empty_like(images)
    for k in range(4):
        indices = torch.from_numpy(np.flatnonzero(turns == k)).to(images.device)
        turned[indices] = images[indices].rot90(k, (2, 3))
    move = max(1, round(images.shape[-1] * MOVE))
    signs = np.array([0, -1, 1])
    return moved(turned, signs[rows] * move, signs[columns] * move)


def jittered(images, draw):
    """Images moved by a few pixels, half of them mirrored."""
    n = len(images)
    flips = torch.from_numpy(draw.rand(n) < 0.5).to(images.device)
    images = torch.where(flips[:, None, None, None], images.flip(3), images)
    most = round(images.shape[-1] * JITTER)
    return moved(images, *draw.randint(-most, most + 1, size=(2, n)))


def moved(images, rows, columns):
    """Images moved down and right by whole pixels, mirrored at the edges."""
    side = images.shape[-1]
    first = torch.arange(len(images), device=images.device)[:, None, None]
    down, right = (
        torch.from_numpy(mirrored(np.arange(side) - shifts[:, None], side)).to(images.device)
        for shifts in (rows, columns)
    )
    # Indices beside a slice: the channels come last, and go back to their place.
    return images[first, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2).contiguous()


def mirrored(indices, side):
    """Places beyond the edge, mirrored back without repeating the edge itself."""
    period = 2 * (side - 1)
    indices = np.abs(indices) % period
    return np.where(indices < side, indices, period - indices)
