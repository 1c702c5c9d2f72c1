"""How far a training is: a progress bar, callbacks, and the end of the time that it was given."""

import time

from tqdm import tqdm


class Progress:
    """Tell of the steps of a training; a context.

    Parameters
    ----------
    owner : str
        Shown before the bar.
    n_steps : int
        Those of the whole training.
    verbose : bool
        Show a bar, with an estimate of the time that is left after the first steps.
    max_minutes : float or None
        The time that the training may take.
    task : FitTask
        By which callbacks are told.
    """

    def __init__(self, owner, n_steps, *, verbose, max_minutes, task):
        self.owner, self.n_steps, self.verbose, self.task = owner, n_steps, verbose, task
        self._limit = float("inf") if max_minutes is None else 60 * max_minutes

    def begin(self, first, spent=0.0):
        """Begin, or go on after so many steps that took so many seconds."""
        self._began = time.monotonic() - spent
        bar = {"total": self.n_steps, "initial": first, "desc": self.owner, "unit": "step"}
        self._bar = tqdm(**bar, disable=not self.verbose)
        return self

    @property
    def seconds(self):
        """Seconds that the training has taken."""
        return time.monotonic() - self._began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def begin_step(self):
        """A step begins."""
        self.task.begin_step()

    def end_step(self, loss):
        """A step has ended; True where training is to end for it."""
        self._bar.update()
        stopped = self.task.end_step(loss)
        return stopped or self.seconds >= self._limit
