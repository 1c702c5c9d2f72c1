"""Fits as tasks of scikit-learn's callbacks: its ProgressBar, say, over searches and trainings."""

from contextlib import contextmanager, nullcontext

from ._compat import CallbackSupportMixin, callback_management_context

__all__ = ["CallbackSupportMixin", "fit_task"]


@contextmanager
def fit_task(estimator, n_subtasks=0):
    """Context of a whole fit, whose begin and end callbacks are told of.

    Parameters
    ----------
    estimator : estimator
        With `CallbackSupportMixin`.
    n_subtasks : int or None
        Subtasks that there will be, None if that is not known.

    Yields
    ------
    task : FitTask
    """
    if not ({"_skl_callbacks", "_parent_callback_ctx"} & vars(estimator).keys()):
        yield FitTask(estimator, None)
        return
    with callback_management_context(estimator):
        context = estimator._init_callback_context(max_subtasks=n_subtasks)
        context.call_on_fit_task_begin(estimator=estimator)
        yield FitTask(estimator, context)
        context.call_on_fit_task_end(estimator=estimator)


class FitTask:
    """A fit that is under way.

    Parameters
    ----------
    estimator : estimator
    context : sklearn.callback.CallbackContext or None
        None where nobody wants to know.
    """

    def __init__(self, estimator, context):
        self.estimator, self._context, self._step = estimator, context, None

    def part(self, name, estimator):
        """Context in which another estimator is fitted as a subtask, callbacks handed down."""
        if self._context is None or not hasattr(estimator, "set_callbacks"):
            return nullcontext()
        return self._context.subcontext(task_name=name).propagate_callback_context(estimator)

    def begin_step(self):
        """A step begins."""
        if self._context is not None:
            self._step = self._context.subcontext(task_name="step")
            self._step.call_on_fit_task_begin(estimator=self.estimator)

    def end_step(self, loss):
        """The step has ended, with this loss (a tensor or None); True to end the training."""
        if self._step is None:
            return False
        step, self._step = self._step, None
        return step.call_on_fit_task_end(
            estimator=self.estimator,
            metadata=lambda: {"loss": None if loss is None else float(loss)},
        )
