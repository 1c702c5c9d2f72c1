"""Checks of parameters and batches; what is done to some of the images of a batch."""

from numbers import Integral, Real

from ..images._batches import same_shape

# Pixels of an image to one of a view, that larger images may be reduced to: views are resized by an
# antialiased triangle, to which more hardly matter.
PIXELS_TO_ONE = 2


def _are_numbers(values, n):
    return (
        isinstance(values, (tuple, list))
        and len(values) == n
        and all(isinstance(v, Real) and abs(v) < float("inf") for v in values)
    )


def _check_integer(name, value, least):
    if not (isinstance(value, Integral) and not isinstance(value, bool) and value >= least):
        kind = {0: "an integer of at least 0", 1: "a positive integer"}[least]
        raise ValueError(f"{name} must be {kind}; got {value!r}.")


def _check_share(name, value):
    if not (_are_numbers([value], 1) and 0 <= value <= 1):
        raise ValueError(f"{name} must be a number in [0, 1]; got {value!r}.")


def _check_batch(batch):
    import torch

    images = batch
    if not isinstance(batch, list):
        # One image of a tensor stands for all.
        images = list(batch[:1]) if getattr(batch, "ndim", 0) else []
    if all(isinstance(i, torch.Tensor) and i.ndim == 3 and i.numel() for i in images):
        kinds = {i.dtype == torch.uint8 or i.is_floating_point() for i in images}
        if kinds == {True} and {i.shape[0] for i in images} in ({1}, {3}):
            return
    got = [f"{tuple(i.shape)} of {i.dtype}" if hasattr(i, "shape") else type(i) for i in images]
    raise ValueError(
        "the batch must be a tensor (n, channels, height, width) or a list of tensors (channels, "
        "height, width), not empty, of uint8 or floating point, all of one channel or all of "
        f"three; got {type(batch).__name__} with images {sorted(map(str, set(got)))}."
    )


def _uniform_numbers(n, n_numbers, generator):
    """Numbers in [0, 1) for each of n images, on the CPU: a table of n rows for each purpose."""
    import torch

    # Every image takes as many numbers, used or not, so its draws depend on its place alone.
    shape = (n, sum(n_numbers))
    table = torch.rand(shape, generator=generator, device=generator.device).cpu().double()
    return table.split(n_numbers, dim=1)


def _by_shape(batch, image_size, function, *parameters):
    """What a function makes of the images of each shape, in one tensor.

    Parameters
    ----------
    batch : tensor or list of tensors
    image_size : int
        Side of the images that the function returns.
    function : callable
        Takes a tensor (n, channels, height, width) and the parameters of these images.
    *parameters : tensors of shape (n, ...)
    """
    import torch

    if not isinstance(batch, list):
        return function(batch, *parameters)
    shape = (len(batch), batch[0].shape[0], image_size, image_size)
    images = torch.empty(shape, device=batch[0].device)
    for indices in same_shape(batch):
        group = torch.stack([batch[i] for i in indices])
        images[indices] = function(group, *(values[indices] for values in parameters))
    return images


def _as_floats(images):
    """Bytes scaled to [0, 1]; numbers as they are."""
    import torch

    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def _replace(images, chosen, function, *parameters):
    """Put the results of a function in the place of some of the images."""
    import torch

    indices = torch.nonzero(chosen)[:, 0]
    if len(indices):
        parameters = [values[indices] for values in parameters]  # while both are on the CPU
        indices = indices.to(images.device)
        images[indices] = function(images.index_select(0, indices), *parameters)


def _per_sample(values, images):
    """Numbers that broadcast over the pixels of their images."""
    return values.to(images.device, images.dtype)[:, None, None, None]
