"""Tokens of vision transformers: which are of the image as a whole, and how the others lie."""

from math import isqrt

# What a layer's name may end with, behind a colon.
PARTS = ("class_token", "patch_tokens")


def split_name(name, modules):
    """Module and part of its output that a layer's name tells; the part may be None.

    Parameters
    ----------
    name : str
        Name of a module; behind it a colon and one of `PARTS`, if only that part is meant.
    modules : container of str
        Names of modules.
    """
    module, colon, part = name.rpartition(":")
    if name in modules or not colon or module not in modules:
        return name, None
    if part not in PARTS:
        raise ValueError(
            f"layers: {name!r} asks for {part!r} of {module!r}; allowed behind the colon are "
            f"{' and '.join(map(repr, PARTS))}."
        )
    return module, part


def author(network):
    """The network that says how outputs of layers are laid out: itself, or what it wraps."""
    return getattr(network, "taps_like", network)


def is_torchvision_vit(network):
    return type(network).__module__ == "torchvision.models.vision_transformer"


def part_of(output, part, network, name):
    """A part of a layer's output: its class token (n, width), or its patch tokens as a map.

    Parameters
    ----------
    output : tensor
    part : {"class_token", "patch_tokens"} or None
        None for the output as it is.
    network : torch.nn.Module
    name : str
        Of the layer, for errors.
    """
    if part is None:
        return output
    if output.ndim != 3:
        raise ValueError(
            f"layers: {name!r}: the layer gives {tuple(output.shape)} and no tokens (n, tokens, "
            f"width), so it has no {part}."
        )
    if part == "patch_tokens":
        return to_map(output, network)
    if not (_has_class_token(author(network)) and _n_prefix(output, network)):
        raise ValueError(
            f"layers: {name!r}: among the tokens that {type(author(network)).__name__} has there, "
            f"none is a class token; leave ':{part}' out, which averages the patch tokens."
        )
    return output[:, 0]  # before registers, and the token of a distillation


def to_map(output, network):
    """Output of a layer as a map (n, channels, height, width); tokens are laid out on a grid."""
    if output.ndim == 4:
        return output
    if output.ndim == 3:
        n_prefix, grid = _layout(output.shape[1], author(network))
        if grid is not None:
            return output[:, n_prefix:].transpose(1, 2).unflatten(2, grid)
    raise ValueError(
        f"the output of shape {tuple(output.shape)} is no map; name a layer with layers=['...'] "
        "that gives (n, channels, height, width) or a grid of tokens."
    )


def by_windows(network):
    """Whether tokens are sorted by windows instead of by place, as those of Hiera."""
    return getattr(author(network), "reroll", None) is not None


def _has_class_token(network):
    if is_torchvision_vit(network):
        return True
    token = getattr(network, "cls_token", None) is not None
    return getattr(network, "has_class_token", token)


def _n_prefix(output, network):
    n_prefix, grid = _layout(output.shape[1], author(network))
    return n_prefix if grid is not None else _told_prefix(author(network))


def _told_prefix(network):
    """Tokens before those of the patches: class token, registers."""
    return getattr(network, "num_prefix_tokens", 1 if is_torchvision_vit(network) else 0)


def _layout(n_tokens, network):
    """How many tokens come before those of the patches, and the grid of these, or None."""
    told = _told_prefix(network)
    if by_windows(network):
        return told, None
    # The class token of some (CaiT, XCiT) joins the patches at the end.
    choices = [(n_prefix, n_tokens - n_prefix) for n_prefix in dict.fromkeys((told, 0))]
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    for n_prefix, n_patches in choices:
        if grid is not None and grid[0] * grid[1] == n_patches:
            return n_prefix, tuple(grid)
    # Where images are of another size than the grid is for, or none is known, it is square.
    for n_prefix, n_patches in choices:
        side = isqrt(max(n_patches, 0))
        if side and side**2 == n_patches and (grid is None or grid[0] == grid[1]):
            return n_prefix, (side, side)
    return told, None
