"""Parameters of trainings."""

import os
from numbers import Integral

from .._compat import HasMethods, StrOptions
from .._parameters import (
    ABOVE_ZERO,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    ParameterGroup,
    changed,
    parameter,
)
from ..networks._parameters import ImagesTogether


class ExtractorParameters(ParameterGroup):
    """What a training begins with."""

    extractor: object = parameter(
        default=None,
        limits=[HasMethods(["fit", "transform"]), None],
        kind="FeatureExtractor or adapter",
        kw_only=False,
        text="What gives the features. It is copied and fitted; adapters train the copy.",
    )


class AdapterParameters(ParameterGroup):
    """What trains the network of a detector."""

    adapter: object = parameter(
        default=None,
        limits=[HasMethods(["fit", "transform"]), None],
        kind="adapter",
        kw_only=False,
        text="Trains the network before anything is scored, such as "
        "``MeanShiftedContrastive(n_epochs=3)``. Leave its own `extractor` at None: this "
        "detector provides it.",
    )


class TimeParameters(ParameterGroup):
    """How long, by the clock."""

    max_minutes: float | None = parameter(
        default=None,
        limits=[ABOVE_ZERO, None],
        text="Minutes that it may take; no limit by default. With a limit the result depends on "
        "the speed of the machine.",
    )


class TrainingParameters(TimeParameters, ImagesTogether):
    """What every training has.

    Attributes
    ----------
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        What the features of at most 256 training images look like, before training and about
        twenty times during it: "step", "loss" (mean since the last look), "center_distance",
        "spread" (1 minus the mean pairwise cosine), "concentration" (of a von Mises-Fisher
        distribution), "effective_rank" and "mmd" (distance from the uniform distribution on the
        sphere).
    stopped_at_ : int
        Number of training steps of the network that is kept.
    collapsed_at_ : int or None
        Step at which the features had collapsed; None if they did not.
    """

    learning_rate: float = parameter(
        default=1e-4, limits=[ABOVE_ZERO], text="Learning rate of the optimiser."
    )
    checkpoint: str | os.PathLike | None = parameter(
        default=None,
        limits=[str, os.PathLike, None],
        text="Folder that keeps the state of a training while it runs. A fit that was interrupted "
        "continues from there, if parameters and images are the same and `random_state` is an "
        "integer.",
    )
    max_minutes: float | None = changed(
        default=None,
        note="A training stops after the step during which the limit is reached, `stopped_at_`. "
        "Each of several trainings has the whole limit.",
    )
    compile: bool | str = parameter(
        default=False,
        limits=["boolean", str],
        text="Compile the trained stages by ``torch.compile``: True, or the name of a backend. The "
        "first steps take a minute or more, later steps less time, above all on a GPU. The "
        "last bits of the result change.",
    )


class MemoryLimitParameters(ParameterGroup):
    """How much is kept."""

    memory_limit: float = parameter(
        default=2048,
        limits=[NOT_NEGATIVE],
        text="Most memory, in MiB, for what is kept of training images. In training these are the "
        "outputs of frozen stages or, where each step sees other views, the decoded files. "
        "What does not fit is computed or read again in each epoch. The 256 images that are "
        "watched during training are kept in addition.",
    )


class EpochParameters(ParameterGroup):
    """How long, by epochs."""

    n_epochs: int | None = parameter(default=50, limits=[POSITIVE], text="Passes over the images.")


class StepParameters(ParameterGroup):
    """How long, by steps."""

    n_steps: int | None = parameter(
        default=None, limits=[POSITIVE, None], text="Steps of the optimiser; replaces `n_epochs`."
    )


# Limits of `trainable` where it may be left open.
OPEN_STAGES = [str, Integral, "array-like", None]


class StageParameters(ParameterGroup):
    """What of a network is trained."""

    trainable: object = parameter(
        default="last_two",
        limits=[str, Integral, "array-like"],
        kind="str, int or list of str",
        text='Stages to train: "last", "last_two" (paper: of a ResNet\'s four), "last_three", '
        '"all", a number of last stages, or a list of names. The stages of a timm network are '
        "those in its metadata; each block of a vision transformer is one. In other networks, "
        "also torchvision's, each child module is a stage, which may be as little as one "
        "block of a MobileNet.",
    )


class DecayParameters(ParameterGroup):
    """Weight decay."""

    weight_decay: float = parameter(
        default=0.0, limits=[NOT_NEGATIVE], text="Weight decay of the optimiser."
    )


class MomentumParameters(ParameterGroup):
    """Momentum."""

    momentum: float = parameter(
        default=0.9, limits=[SHARE_BELOW_ONE], text="Momentum of stochastic gradient descent."
    )


class ClippingParameters(ParameterGroup):
    """Clipped gradients."""

    clip_norm: float | None = parameter(
        default=None,
        limits=[ABOVE_ZERO, None],
        text="Largest norm of the gradient of all parameters together. Weight decay is added after "
        "clipping.",
    )


class RateDecayParameters(ParameterGroup):
    """A learning rate that falls once."""

    decay_at: float = parameter(
        default=1 / 3,
        limits=[SHARE],
        text="Share of the training after which the learning rate falls to a tenth.",
    )


class CollapseParameters(ParameterGroup):
    """What is done about features that draw together.

    Warns
    -----
    CollapseWarning
        If the features collapse and `stop_at_collapse` is False.
    """

    collapse_limit: float = parameter(
        default=0.25,
        limits=[SHARE_BELOW_ONE],
        text="The features have collapsed when their angular spread is below this share of the "
        "spread before training or, from random weights, of the widest spread so far. 0 turns "
        "the check off.",
    )
    stop_at_collapse: bool = parameter(
        default=False,
        limits=["boolean"],
        text="Stop at collapse, and keep the network of the last look before it.",
    )


class AcceptanceParameters(ParameterGroup):
    """Whether a training has to prove itself.

    Attributes
    ----------
    accepted_at_ : int
        Step of the network that is kept, 0 for the frozen one. Only for ``accept="if_better"``.
    acceptance_ : dict
        Why that network is kept: "accepted", "reason" (in words), "step", "best_step" (of the
        best look, accepted or not), its "gain" and "margin", "frozen_auroc" (before training),
        "kinds" (AUROC of the network that is kept, for each kind of synthetic anomalies) and
        "n_held_out". `training_curve_` then also has "synthetic_auroc", "synthetic_gain" and
        "margin". Only for ``accept="if_better"``.
    """

    accept: str = parameter(
        default="always",
        limits=[StrOptions({"always", "if_better"})],
        text='Which network is kept. "always": the trained one (papers). "if_better": the frozen '
        "one, unless training gains enough on synthetic anomalies. For that a fifth of the "
        "images, at most 200, is held out. Each look during the training measures how well "
        "the cosine distance to the nearest trained image separates the held-out images from "
        "anomalies made of them (:class:`~skad.model_selection.SyntheticAnomalies`, shifts); "
        "where losses are euclidean, that distance is measured too. The network with the "
        "largest gain in AUROC over the frozen one is kept, if the gain exceeds what chance "
        "explains by 0.3 points. (Ours.)",
    )


class TemperatureParameters(ParameterGroup):
    """Of a softmax."""

    temperature: float = parameter(
        default=1.0,
        limits=[ABOVE_ZERO],
        text="Similarities or logits are divided by it before the softmax.",
    )


class ObjectiveParameters(ParameterGroup):
    """Which of several losses."""

    objective: str = parameter(default=None, limits=[str], text="The loss that training minimises.")


class AugmentationParameters(ParameterGroup):
    """What images look like in training."""

    augmentation: object = parameter(
        default=None,
        limits=[callable, None],
        text="How views of the images are made in training: a name, or a callable that takes a "
        "batch and a ``torch.Generator`` and returns views.",
    )


class OutputParameters(ParameterGroup):
    """Features, or what is made of them."""

    output: str = parameter(default="features", limits=[str], text="What `transform` returns.")


class FineTuningParameters(
    MemoryLimitParameters,
    CollapseParameters,
    ClippingParameters,
    DecayParameters,
    MomentumParameters,
    TrainingParameters,
    StageParameters,
):
    """Stochastic gradient descent on stages of a pretrained network."""

    batch_size: int = 32
    learning_rate: float = 1e-2
    weight_decay: float = 5e-5
    clip_norm: float | None = 1e-3
