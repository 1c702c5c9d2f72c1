"""train(): the only training loop."""

import math


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
    check_every=1,
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
        Called with the number of steps done and the loss, a scalar tensor or None; training ends
        when it returns True.
    check_every : int
        Steps between two looks at whether all is finite, each of which waits for the device.
    owner : str
        Named in errors.

    Returns
    -------
    n_steps : int
        The number of steps done, `first_step` included.

    Raises
    ------
    TrainingError
        If a loss or a gradient is not finite; it tells at which step. Where every step is looked
        at, the parameters are then those of the last step.
    """
    import torch

    checks = _FiniteChecks(n_steps, owner)
    for step in range(first_step, n_steps):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(step)
        if loss is not None:
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(
                parameters, float("inf") if clip_norm is None else clip_norm
            )
            loss = loss.detach()
            checks.add(step, loss, norm)
        is_due = (step + 1) % check_every == 0 or step + 1 == n_steps
        if is_due:
            checks.look()
        if loss is not None:
            optimizer.step()
        if after_step(step + 1, loss):
            checks.look()
            return step + 1
    return n_steps


class _FiniteChecks:
    """Losses and norms of gradients that are looked at together.

    Each look is one transfer, which waits until the device has done all that it was told.
    """

    def __init__(self, n_steps, owner):
        self.n_steps, self.owner = n_steps, owner
        self._steps, self._values = [], []

    def add(self, step, loss, norm):
        """Keep the loss of a step and the norm of its gradient, where they are."""
        self._steps.append(step)
        self._values += [loss, norm]

    def look(self):
        """Raise for the first of them that is not finite."""
        import torch

        if not self._steps:
            return
        values = torch.stack(self._values).view(-1, 2).tolist()
        for step, pair in zip(self._steps, values):
            for what, value in zip(("loss", "gradient"), pair):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{self.owner}: the {what} is {value} at step {step + 1} of "
                        f"{self.n_steps}; nothing was fitted. Try a smaller learning_rate, and "
                        "look for images of one colour throughout."
                    )
        self._steps, self._values = [], []
