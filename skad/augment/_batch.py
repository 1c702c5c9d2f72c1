"""Batches of images: what is one, and how a part of one is changed."""

from numbers import Real


def are_numbers(values, n):
    return (
        isinstance(values, (tuple, list))
        and len(values) == n
        and all(isinstance(v, Real) and abs(v) < float("inf") for v in values)
    )


def check_batch(batch):
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


def replace(images, chosen, function, *parameters):
    """Put the results of a function in the place of some of the images."""
    import torch

    places = torch.nonzero(chosen)[:, 0]
    if len(places):
        parameters = (values[places] for values in parameters)
        places = places.to(images.device)
        images[places] = function(images.index_select(0, places), *parameters)


def per_sample(values, images):
    """Numbers that broadcast over the pixels of their images."""
    return values.to(images.device, images.dtype)[:, None, None, None]
