"""Plan: what a training is to be like, said before it begins."""

import os
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training is to be like.

    Parameters
    ----------
    n_steps : int
        Steps of the optimiser.
    batch_size : int
        Largest number of images in a step.
    make_optimizer : callable
        Maps a list of parameters to a ``torch.optim.Optimizer``.
    rate : callable
        Maps the number of a step to its learning rate.
    trainable : str, int or list of str
        Stages that are trained; "all", or "head" for none of the network.
    from_scratch : bool
        The whole network is in training mode for each step: BatchNorm learns its statistics.
    augments : bool
        Each step sees other pictures, so that nothing computed for one is of further use.
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together.
    snapshot_steps : tuple of int
        Steps whose networks are all kept.
    selected_by : str, optional
        Measure whose lowest value says which network is kept; by default the last is.
    accept : {"always", "if_better"}
        Whether the network is kept that the criterion calls best, rather than the last.
    collapse_limit : float
        Share of its first, or widest, angular spread below which features have collapsed.
    stop_at_collapse : bool
    warns_of_collapse : bool
        False where features may draw together without harm.
    memory_limit : float
        Most MiB for what is kept of images between steps.
    checkpoint : path, optional
        Folder for the state of the training.
    max_minutes : float, optional
        The time that it may take.
    compile : bool or str
        Trained stages are compiled; a backend of ``torch.compile``.
    verbose : bool
        Show a progress bar.
    """

    n_steps: int
    batch_size: int
    make_optimizer: Callable
    rate: Callable
    trainable: object = "all"
    from_scratch: bool = False
    augments: bool = False
    clip_norm: float | None = None
    snapshot_steps: tuple = ()
    selected_by: str | None = None
    accept: str = "always"
    collapse_limit: float = 0.0
    stop_at_collapse: bool = False
    warns_of_collapse: bool = True
    memory_limit: float = 0.0
    checkpoint: str | os.PathLike | None = None
    max_minutes: float | None = None
    compile: bool | str = False
    verbose: bool = False

    @property
    def fewest(self):
        """Least number of images in a batch: BatchNorm cannot learn from one."""
        return 2 if self.from_scratch else 1
