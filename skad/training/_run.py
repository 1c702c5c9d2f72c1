"""Training: a task taken through its plan, watched and kept."""

from dataclasses import dataclass

import numpy as np
import torch

from .._random import local_seed, numpy_stream, torch_seed
from . import _acceptance
from ._acceptance import Acceptance
from ._checkpoint import Checkpoint, recipe_of
from ._loop import TrainingError, train
from ._progress import Progress
from ._watch import FEWEST_STEPS, N_LOOKS, N_WATCHED, CollapseWatch


@dataclass(frozen=True)
class Outcome:
    """What came of a training.

    Parameters
    ----------
    curve : dict of str to ndarray
        Label-free measures along it.
    stopped_at : int
        Steps that the network has been trained that is kept.
    collapsed_at : int or None
        Step at which collapse was seen.
    snapshots : dict of int to dict of str to tensor
        State of the task at each of the plan's `snapshot_steps`.
    acceptance : dict or None
        Why that network is kept; None where it had nothing to prove.
    """

    curve: dict
    stopped_at: int
    collapsed_at: int | None
    snapshots: dict
    acceptance: dict | None


class Training:
    """Take a task through its plan.

    Parameters
    ----------
    task : Task
    plan : Plan
    start : Start
    parameters : dict
        Those of the estimator, which tell its checkpoint from others.
    fit_task : FitTask
        Of the estimator, whose callbacks are told of steps.
    """

    def __init__(self, task, plan, start, parameters, fit_task):
        self.task, self.plan, self.start, self.owner = task, plan, start, start.owner
        task.to(start.device, memory_format=torch.channels_last)
        start.images.see_views(getattr(task, "augmentation", None))
        # One kernel for all parameters, where there are kernels to be launched.
        fused = {"fused": True} if start.device.type == "cuda" else {}
        self.optimizer = plan.make_optimizer(list(task.trained.values()), **fused)
        self.acceptance = Acceptance(start, task) if plan.accept == "if_better" else None
        self.watch = self._make_watch()
        self.snapshots, self._good, self._best, self.stopped_at = {}, None, None, None
        self._progress = Progress(
            self.owner,
            plan.n_steps,
            verbose=plan.verbose,
            max_minutes=plan.max_minutes,
            task=fit_task,
        )
        self.checkpoint = None
        if plan.checkpoint is not None:
            self.checkpoint = Checkpoint(plan.checkpoint, recipe_of(task, plan, start, parameters))

    def run(self, files):
        """Train, or go on with a training that was broken off.

        Parameters
        ----------
        files : list of Checkpoint
            The journal, which the file of this training joins.

        Returns
        -------
        outcome : Outcome
        """
        first = self._resume()
        if self.checkpoint is not None:
            files.append(self.checkpoint)
        if self.stopped_at is None:  # else what was broken off came after this training
            try:
                self._train(first)
            except TrainingError:
                if self.checkpoint is not None:  # going on would end in the same way
                    self.checkpoint.remove()
                    files.remove(self.checkpoint)
                raise
        self._warn()
        self.task.eval().requires_grad_(False)
        self.task.zero_grad(set_to_none=True)
        watch, reason = self.watch, None
        if self.acceptance is not None:
            reason = self.acceptance.record(watch.curve, self.stopped_at)
        return Outcome(watch.as_arrays, self.stopped_at, watch.collapsed_at, self.snapshots, reason)

    def _train(self, first):
        plan = self.plan
        with self._progress.begin(first, self._spent):
            done = train(
                self._loss,
                list(self.task.trained.values()),
                optimizer=self.optimizer,
                n_steps=plan.n_steps,
                first_step=first,
                clip_norm=plan.clip_norm,
                after_step=self._after_step,
                check_every=1 if self.start.device.type == "cpu" else self.watch.every,
                owner=self.owner,
            )
        self._finish(done)

    def _make_watch(self):
        n_looks = N_LOOKS if self.acceptance is None else _acceptance.N_LOOKS
        return CollapseWatch(
            self._watched_features(),
            self.start.features.mean(0).cpu().double().numpy(),
            spread_limit=self.plan.collapse_limit,
            from_widest=self.plan.from_scratch,
            every=max(FEWEST_STEPS, self.plan.n_steps // n_looks),
            monitor=self._monitor,
            owner=self.owner,
        )

    def _watched_features(self):
        """What gives the features of the images that are watched."""
        images = self.start.images
        indices = numpy_stream(self.start.seed, "watched").permutation(len(images))[:N_WATCHED]
        return self.start.features_of(images, np.sort(indices))

    def _monitor(self):
        """Measures of the task, and those of the criterion."""
        own = {} if self.acceptance is None else self.acceptance.measures()
        return self.task.measures() | own

    def _loss(self, step):
        """Loss of a step, in the mode and at the rate that belong to it."""
        self._progress.begin_step()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(step)
        if not self.plan.from_scratch:
            return self.task.loss(step)
        self.task.train()
        half, device = self.start.fitted.precision == "bfloat16", self.start.device
        seed = torch_seed(self.start.seed, "network", step)
        # What a network draws, in dropout say, follows from the step as all else does.
        with local_seed(seed, device), torch.autocast(device.type, torch.bfloat16, enabled=half):
            return self.task.loss(step)

    def _after_step(self, step, loss):
        """Watch, take snapshots, keep the state; True to stop."""
        ends = bool(self.task.after_step(step))
        ends |= self._progress.end_step(loss)
        if step in self.plan.snapshot_steps:
            self.snapshots[step] = self.task.state()
        if loss is not None:
            self.watch.losses.append(loss)
        if step % self.watch.every:
            return ends
        self._look(step)
        if self.plan.stop_at_collapse:
            if self.watch.collapsed_at is not None:
                return True
            self._good = (step, self.task.state())
        if self.checkpoint is not None and not ends:
            self.checkpoint.save(self._state(step))
        return ends

    def _look(self, step):
        """Take the measures, and keep the network if none was better by the plan's."""
        self.start.images.check_views()
        self.watch.look(step)
        values = self._faults()
        if values and values.index(min(values)) == len(values) - 1:
            self._best = (step, self.task.state())

    def _faults(self):
        """What the networks of the looks so far are judged by, low = better."""
        curve, name = self.watch.curve, self.plan.selected_by
        if self.acceptance is not None:
            return [record["margin"] - record["synthetic_gain"] for record in curve]
        return [record[name] for record in curve if record["step"]] if name is not None else []

    def _state(self, step):
        return {
            "step": step,
            "task": self.task.state(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.watch.curve,
            "collapsed_at": self.watch.collapsed_at,
            "snapshots": self.snapshots,
            "good": self._good,
            "best": self._best,
            "seconds": self._progress.seconds,
        }

    def _resume(self):
        """Take the state of a training that was broken off; give the number of its steps."""
        state = None if self.checkpoint is None else self.checkpoint.load("cpu")
        self._spent = 0.0 if state is None else state["seconds"]
        if state is None:
            self._look(0)
            self._good = (0, self.task.state()) if self.plan.stop_at_collapse else None
            if 0 in self.plan.snapshot_steps:
                self.snapshots[0] = self.task.state()
            return 0
        self.task.restore(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.watch.curve, self.watch.collapsed_at = state["curve"], state["collapsed_at"]
        self.snapshots, self._good = state["snapshots"], state["good"]
        self._best, self.stopped_at = state["best"], state.get("stopped_at")
        return state["step"]

    def _finish(self, done):
        """Take the last look, and go back before a collapse where that was asked for."""
        if self.watch.curve[-1]["step"] != done:
            self._look(done)
        self.stopped_at, kept = done, self._best
        stopped = self.watch.collapsed_at is not None and self.plan.stop_at_collapse
        if stopped and self.acceptance is None:
            kept = self._good
        if kept is not None:
            self.stopped_at, state = kept
            self.task.restore(state)
        for step in self.plan.snapshot_steps:
            if step not in self.snapshots or step > self.stopped_at:
                self.snapshots[step] = self.task.state()
        if self.checkpoint is not None:
            self.checkpoint.save(self._state(done) | {"stopped_at": self.stopped_at})

    def _warn(self):
        """Tell of a collapse that the network went into."""
        told, seen_at = self.plan.warns_of_collapse, self.watch.collapsed_at
        if told and seen_at is not None and self.stopped_at >= seen_at:
            self.watch.warn()
