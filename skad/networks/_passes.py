"""How many images pass through a network together."""

# Pixels that do on a CPU: 64 images of 64 x 64, 16 of 128 x 128. More take no less time there, but
# memory by the image.
_ON_CPU = 2**18

# Pixels of tiles that do on another device; whole images go there as many as a user asks for.
_TILES = 2**21


def few_at_once(images, are_tiles=False):
    """Images in parts that pass through a network together.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
    are_tiles : bool

    Returns
    -------
    parts : sequence of tensors
    """
    import torch

    on_cpu = images.device.type == "cpu"
    # A graph is of any number of images.
    if torch.compiler.is_compiling() or not (on_cpu or are_tiles):
        return [images]
    most = _ON_CPU if on_cpu else _TILES
    return images.split(max(1, most // (images.shape[-2] * images.shape[-1])))
