"""train(): the only training loop, and the order in which it takes images."""

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


def n_batches(n_images, batch_size, fewest=1):
    """Number of batches of an epoch."""
    return max(1, min(-(-n_images // batch_size), n_images // fewest))


class BatchSampler:
    """Which images make up the batch of a step: epochs of shuffled images, in even batches.

    A batch follows from the seed and the number of the step alone, so that training can go on from
    any step. Batches of an epoch differ in size by one at most, so that none is left with a few
    images.

    Parameters
    ----------
    n_images : int
    batch_size : int
        Largest number of images in a batch.
    seed : int
    fewest : int, default=1
        Least number of images in a batch, where there are as many; one batch may be larger for it.
    """

    def __init__(self, n_images, batch_size, seed, fewest=1):
        self.n_images, self.seed = n_images, seed
        self.n_batches = n_batches(n_images, batch_size, fewest)  # in an epoch
        self._epoch = None

    def __call__(self, step):
        """Places of the images of a step, ndarray of int."""
        epoch, batch = divmod(step, self.n_batches)
        if epoch != self._epoch:
            order = np.random.RandomState([self.seed, epoch]).permutation(self.n_images)
            self._epoch, self._batches = epoch, np.array_split(order, self.n_batches)
        return self._batches[batch]
