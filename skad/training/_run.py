"""Training: a task taken through its plan, watched and kept."""

from dataclasses import dataclass

import numpy as np
import torch

from .._random import local_seed, numpy_stream, torch_seed
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
    """

    curve: dict
    stopped_at: int
    collapsed_at: int | None
    snapshots: dict


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
        watch = self.watch
        return Outcome(watch.as_arrays, self.stopped_at, watch.collapsed_at, self.snapshots)

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
        return CollapseWatch(
            self._watched_features(),
            self.start.features.mean(0).cpu().double().numpy(),
            spread_limit=self.plan.collapse_limit,
            from_widest=self.plan.from_scratch,
            every=max(FEWEST_STEPS, self.plan.n_steps // N_LOOKS),
            monitor=self.task.measures,
            owner=self.owner,
        )

    def _watched_features(self):
        """Features of the images that are watched, as the network stands."""
        images, cut, size = self.start.images, self.start.cut, self.start.extractor.batch_size
        indices = numpy_stream(self.start.seed, "watched").permutation(len(images))[:N_WATCHED]
        hidden = images.hidden(np.sort(indices))

        def features_of():
            cut.network.eval()
            with torch.no_grad():
                # Copies, as the first layer of the trained part may work in place.
                parts = [cut.trained_part(part.clone()) for part in hidden.split(size)]
            return torch.cat(parts).cpu().numpy()

        return features_of

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
        name = self.plan.selected_by
        if name is not None:
            values = [record[name] for record in self.watch.curve if record["step"]]
            if values and values.index(min(values)) == len(values) - 1:
                self._best = (step, self.task.state())

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
        if self.watch.collapsed_at is not None and self.plan.stop_at_collapse:
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
        told = self.plan.warns_of_collapse and not self.plan.stop_at_collapse
        if told and self.watch.collapsed_at is not None:
            self.watch.warn()
