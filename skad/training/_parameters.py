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
        text="What gives the features; a copy is fitted, and trained by adapters.",
    )


class AdapterParameters(ParameterGroup):
    """What trains the network of a detector."""

    adapter: object = parameter(
        default=None,
        limits=[HasMethods(["fit", "transform"]), None],
        kind="adapter",
        kw_only=False,
        text="Trains the network first, such as ``MeanShiftedContrastive(n_epochs=3)``; its own "
        "`extractor` is left None, to this detector.",
    )


class TimeParameters(ParameterGroup):
    """How long, by the clock."""

    max_minutes: float | None = parameter(
        default=None,
        limits=[ABOVE_ZERO, None],
        text="Minutes that it may take, by default as many as it takes; what comes out then "
        "depends on the machine.",
    )


class TrainingParameters(TimeParameters, ImagesTogether):
    """What every training has.

    Attributes
    ----------
    training_curve_ : dict of str to ndarray of shape (n_looks,)
        Of at most 256 training images, before training and about twenty times during it: "step",
        "loss" (mean since the last look), "center_distance", "spread" (1 minus the mean pairwise
        cosine), "concentration" (of a von Mises-Fisher distribution), "effective_rank" and "mmd"
        (discrepancy from the uniform distribution on the sphere).
    stopped_at_ : int
        Steps that the network was trained.
    collapsed_at_ : int or None
        Step at which collapse was seen.
    """

    learning_rate: float = parameter(default=1e-4, limits=[ABOVE_ZERO], text="Of the optimiser.")
    checkpoint: str | os.PathLike | None = parameter(
        default=None,
        limits=[str, os.PathLike, None],
        text="Folder that keeps the state of trainings while they last. A fit that was broken off "
        "goes on from there, if parameters and images are the same and `random_state` is an "
        "integer.",
    )
    max_minutes: float | None = changed(
        default=None,
        note="A training ends with the step that it is at, `stopped_at_`, whatever is left (of "
        "several trainings, each).",
    )
    compile: bool | str = parameter(
        default=False,
        limits=["boolean", str],
        text="Compile the stages that are trained by ``torch.compile`` (True, or the name of a "
        "backend): the first steps take a minute or more, the others less time, on a GPU above "
        "all. The last bits of the result change.",
    )


class MemoryLimitParameters(ParameterGroup):
    """How much is kept."""

    memory_limit: float = parameter(
        default=2048,
        limits=[NOT_NEGATIVE],
        text="Most MiB of memory for what is kept of training images: in training, the outputs of "
        "frozen stages or, where each step sees other views, what files hold once decoded. What "
        "is beyond is computed, or read, anew in each epoch; that of the 256 images that are "
        "watched comes in addition.",
    )


class EpochParameters(ParameterGroup):
    """How long, by epochs."""

    n_epochs: int | None = parameter(default=50, limits=[POSITIVE], text="Passes over the images.")


class StepParameters(ParameterGroup):
    """How long, by steps."""

    n_steps: int | None = parameter(
        default=None, limits=[POSITIVE, None], text="Steps of the optimiser, instead of epochs."
    )


# Limits of `trainable` where it may be left open.
OPEN_STAGES = [str, Integral, "array-like", None]


class StageParameters(ParameterGroup):
    """What of a network is trained."""

    trainable: object = parameter(
        default="last_two",
        limits=[str, Integral, "array-like"],
        kind="str, int or list of str",
        text='Stages to train: "last", "last_two" (paper: of a ResNet\'s four), '
        '"last_three", "all", a number of last stages, or their names. Stages are those of '
        "timm's metadata; of a vision transformer each block is one. Of other networks, "
        "torchvision's too, each part counts, which may be less: a block of a MobileNet, say.",
    )


class DecayParameters(ParameterGroup):
    """Weight decay."""

    weight_decay: float = parameter(default=0.0, limits=[NOT_NEGATIVE], text="Of the optimiser.")


class MomentumParameters(ParameterGroup):
    """Momentum."""

    momentum: float = parameter(
        default=0.9, limits=[SHARE_BELOW_ONE], text="Of stochastic gradient descent."
    )


class ClippingParameters(ParameterGroup):
    """Clipped gradients."""

    clip_norm: float | None = parameter(
        default=None,
        limits=[ABOVE_ZERO, None],
        text="Largest norm of the gradient of all parameters together; weight decay is not held "
        "back by it.",
    )


class RateDecayParameters(ParameterGroup):
    """A learning rate that falls once."""

    decay_at: float = parameter(
        default=1 / 3,
        limits=[SHARE],
        text="Share of the training after which the learning rate is a tenth.",
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
        text="Collapse is an angular spread of the features below this share of that before "
        "training, or, from random weights, of the widest one so far; 0 looks for none.",
    )
    stop_at_collapse: bool = parameter(
        default=False,
        limits=["boolean"],
        text="Stop there, and keep the network of the last look before it.",
    )


class AcceptanceParameters(ParameterGroup):
    """Whether a training has to prove itself.

    Attributes
    ----------
    accepted_at_ : int
        Only for ``accept="if_better"``: step of the network that is kept, 0 for the frozen one.
    acceptance_ : dict
        Only for ``accept="if_better"``: why. "accepted", "reason" (in words), "step", "best_step"
        (of the best look, accepted or not), its "gain" and "margin", "frozen_auroc" (before
        training), "kinds" (AUROC for each kind of synthetic anomalies, by the network that is
        kept) and "n_held_out". Along the training, `training_curve_` has "synthetic_auroc",
        "synthetic_gain" and "margin".
    """

    accept: str = parameter(
        default="always",
        limits=[StrOptions({"always", "if_better"})],
        text='"always": the trained network is kept (papers). "if_better": a fifth of the images, '
        "at most 200, is held out of the training, and at each look along it those are told from "
        "anomalies made of them (:class:`~skad.model_selection.SyntheticAnomalies`, shifts) by the "
        "distance to the nearest image that is trained with (the cosine; where losses are "
        "euclidean, that distance too); kept is the network whose AUROC gained most over the "
        "frozen one's, by 0.3 points beyond what chance explains, else the frozen one. (Ours.)",
    )


class TemperatureParameters(ParameterGroup):
    """Of a softmax."""

    temperature: float = parameter(
        default=1.0,
        limits=[ABOVE_ZERO],
        text="What similarities or logits are divided by before the softmax.",
    )


class ObjectiveParameters(ParameterGroup):
    """Which of several losses."""

    objective: str = parameter(default=None, limits=[str], text="What training minimises.")


class AugmentationParameters(ParameterGroup):
    """What images look like in training."""

    augmentation: object = parameter(
        default=None,
        limits=[callable, None],
        text="What images look like in training: a name, or a map of a batch and a "
        "``torch.Generator`` to views.",
    )


class OutputParameters(ParameterGroup):
    """Features, or what is made of them."""

    output: str = parameter(default="features", limits=[str], text="What `transform` gives.")


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
