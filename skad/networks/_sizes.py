"""Networks for images of one size, such as vision transformers, made ready for another."""

import warnings
from contextlib import contextmanager


def set_image_size(network, image_size):
    """Make a network ready for images of another size, where it is made for one.

    Embeddings of positions are interpolated, by the library that the network is of.

    Parameters
    ----------
    network : torch.nn.Module
    image_size : int
        Side in pixels.

    Raises
    ------
    ValueError
        If patches do not divide the image.
    """
    patch = _patch_size(network)
    if patch is not None and image_size % patch:
        below = image_size // patch * patch
        raise ValueError(
            f"image_size={image_size}: {type(network).__name__} takes images in patches {patch} "
            f"pixels wide, which must divide it; give {below or patch} or {below + patch}."
        )
    if _is_torchvision_transformer(network):
        _interpolate(network, image_size)
    elif hasattr(network, "set_input_size"):
        with refused(network, image_size), warnings.catch_warnings():
            # torch warns of how timm interpolates the positions of a Swin.
            warnings.simplefilter("ignore", UserWarning)
            network.set_input_size((image_size, image_size))


@contextmanager
def refused(network, image_size):
    """Tell which size a network refuses, whatever its own error says."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError) as error:
        config = getattr(network, "pretrained_cfg", None) or {}
        config = config if isinstance(config, dict) else config.to_dict()
        if not config.get("input_size") or config["input_size"][-1] == image_size:
            raise
        raise ValueError(
            f"image_size={image_size}: {type(network).__name__} does not take images of this size: "
            f"{error} It was made for {config['input_size'][-1]} pixels a side; leave image_size "
            "None, or try a multiple of 32."
        ) from error


def _patch_size(network):
    """Side of the patches that an image is cut into, if it is."""
    if _is_torchvision_transformer(network):
        return network.patch_size
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return patch[0] if isinstance(patch, tuple) else patch


def _is_torchvision_transformer(network):
    return type(network).__module__ == "torchvision.models.vision_transformer"


def _interpolate(network, image_size):
    """Positions of torchvision's vision transformers, for another number of patches."""
    import torch
    from torchvision.models.vision_transformer import interpolate_embeddings

    if image_size == network.image_size:
        return
    state = interpolate_embeddings(image_size, network.patch_size, network.state_dict())
    positions = state["encoder.pos_embedding"]
    network.encoder.pos_embedding = torch.nn.Parameter(positions)
    network.image_size, network.seq_length = image_size, positions.shape[1]
