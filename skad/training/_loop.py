"""train(): the only training loop."""

import numpy as np


class TrainingError(ArithmeticError):
    """Training went out of bounds: a loss or a gradient is not finite."""


def train(
    loss_of,
    parameters,
    *,
    optimizer,
    n_steps,
    after_step,
    first_step=0,
    clip_norm=None,
    owner="",
):
    """Take steps of an optimiser.

    Parameters
    ----------
    loss_of : callable
        Maps the number of a step, from 0, to its loss, a scalar tensor, or None to leave it out.
    parameters : list of torch.nn.Parameter
        What the optimiser holds.
    optimizer : torch.optim.Optimizer
    n_steps : int
        Number of the step before which training ends.
    first_step : int
        Where to begin; more than 0 where a run is resumed.
    clip_norm : float, optional
        Largest norm of the gradient of all parameters together; longer ones are shortened.
    after_step : callable
        Called with the number of steps done and the loss, or None; training ends when it returns
        True.
    owner : str
        Named in errors.

    Returns
    -------
    n_steps : int
        The number of steps done, `first_step` included.

    Raises
    ------
    TrainingError
        If a loss or a gradient is not finite. The parameters are then those of the last step.
    """
    import torch

    for step in range(first_step, n_steps):
        optimizer.zero_grad(set_to_none=True)
        loss, value = loss_of(step), None
        if loss is not None:
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(
                parameters, float("inf") if clip_norm is None else clip_norm
            )
            # Both at once: each transfer waits until the device has done all it was told.
            value, norm = torch.stack([loss.detach(), norm]).tolist()
            _check_finite("loss", value, step, n_steps, owner)
            _check_finite("gradient", norm, step, n_steps, owner)
            optimizer.step()
        if after_step(step + 1, value):
            return step + 1
    return n_steps


def _check_finite(what, value, step, n_steps, owner):
    if not np.isfinite(value):
        raise TrainingError(
            f"{owner}: the {what} is {value} at step {step + 1} of {n_steps}; nothing was fitted. "
            "Try a smaller learning_rate, and look for images of one colour throughout."
        )
