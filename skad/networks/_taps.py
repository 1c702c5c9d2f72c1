"""Read a network's features: its pooled output, or any layer by name."""

import difflib
import threading
from contextlib import contextmanager

# What of a transformer's layer may be named behind its name, as in "blocks.3:class_token".
PARTS = ("class_token", "patch_tokens")


class _Reached(Exception):
    """The last tap was reached; what lies behind it need not be computed."""


def pooled_output(network, images):
    """Feature before the classifier, pooled over places.

    Networks of timm give theirs; of those of torchvision it is what enters the last linear layer;
    any other network's own output is taken.
    """
    if hasattr(network, "forward_features") and hasattr(network, "forward_head"):
        return network.forward_head(network.forward_features(images), pre_logits=True)
    if type(network).__module__.startswith("torchvision."):
        return _classifier_input(network, images)
    return network(images)


def _classifier_input(network, images):
    import torch

    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(network).__name__} has no linear classifier before which to take the feature; "
            "name a layer with layers=['...']."
        )
    with captured({"classifier": linear[-1]}, of_input=True) as found:
        network(images)
    return found["classifier"]


def layer_outputs(network, images, layers):
    """Outputs of the named layers, as they are, computing no further than the last of them."""
    modules = _named_modules(network, layers)
    with captured(modules) as found:
        network(images)
    return _in_order(found, network, modules)


@contextmanager
def outputs_on_the_way(network, layers):
    """Collect the outputs of layers while something else is computed by a network.

    Parameters
    ----------
    network : torch.nn.Module
    layers : list of str

    Yields
    ------
    outputs : list of tensors
        Filled when the context is left, in the order of `layers`.
    """
    modules, outputs = _named_modules(network, layers), []
    with captured(modules, to_the_end=True) as found:
        yield outputs
    outputs += _in_order(found, network, modules)


def _named_modules(network, layers):
    modules = dict(network.named_modules())
    for name in layers:
        module, _, part = name.partition(":")
        if module not in modules or not module:
            raise unknown_layer(module, [n for n in modules if n], type(network).__name__)
        if part not in ("", *PARTS):
            raise ValueError(
                f"layers: {name!r}: behind the colon stands 'class_token' or 'patch_tokens'; got "
                f"{part!r}."
            )
    return {name: modules[name.partition(":")[0]] for name in layers}


def _in_order(found, network, modules):
    missed = [name for name in modules if name not in found]
    if missed:
        raise ValueError(f"layers: no image passed through {', '.join(map(repr, missed))}.")
    outputs = []
    for name, module in modules.items():
        output = _channels_first(found[name], network, module)
        part = name.partition(":")[2]
        outputs.append(_part_of(output, part, name, network) if part else output)
    return outputs


def _part_of(output, part, name, network):
    """Tokens of one kind: the class token (n, width), or those of the patches as a map."""
    if output.ndim != 3 or not _has_class_token(network):
        raise ValueError(
            f"layers: {name!r}: outputs of shape {tuple(output.shape)} of "
            f"{type(_author(network)).__name__} have no class token; leave out ':{part}'."
        )
    return output[:, 0] if part == "class_token" else to_map(output, network)


def _has_class_token(network):
    network = _author(network)
    return any(getattr(network, name, None) is not None for name in ("cls_token", "class_token"))


def _n_prefix_tokens(network):
    """Tokens before those of the patches: of the class, of registers."""
    network = _author(network)
    if type(network).__module__ == "torchvision.models.vision_transformer":
        return 1
    return getattr(network, "num_prefix_tokens", 0)


def unknown_layer(name, known, network, owner="layers"):
    """Error that lists layers of similar names, or some."""
    near = difflib.get_close_matches(name, known, n=4) or list(known)[:8]
    return ValueError(
        f"{owner}: {network} has no layer {name!r}; there are {', '.join(map(repr, near))}, ..."
    )


def _author(network):
    """The network that says how outputs of layers are laid out: itself, or what it wraps."""
    return getattr(network, "taps_like", network)


def _channels_first(output, network, module=None):
    """Maps of networks that keep channels last (Swin), as (n, channels, height, width)."""
    import torch

    network = _author(network)
    if output.ndim != 4 or isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d)):
        return output
    swin = type(network).__module__ == "torchvision.models.swin_transformer"
    if swin or "NHWC" in (getattr(one, "output_fmt", None) for one in (network, module)):
        return output.permute(0, 3, 1, 2)
    return output


def last_map(network, images):
    """Map before the classifier, of networks in the manner of timm."""
    return _channels_first(network.forward_features(images), network)


@contextmanager
def captured(modules, of_input=False, to_the_end=False):
    """Collect outputs (or first inputs) of modules while a network runs.

    It is stopped at the last of them, unless it shall run `to_the_end`.
    """
    import torch

    found, owner = {}, threading.get_ident()

    def hook(name, _module, inputs, output):
        if threading.get_ident() != owner:  # of another call, on the same network
            return
        found[name] = inputs[0] if of_input else output
        if not isinstance(found[name], torch.Tensor):
            raise ValueError(
                f"layers: {name!r} gives a {type(found[name]).__name__} instead of one tensor; "
                "name a layer inside it."
            )
        if len(found) == len(modules) and not to_the_end:
            raise _Reached(found)
        if not of_input:  # the network goes on, and may overwrite what it gave here
            found[name] = output.clone()

    handles = []
    for name, module in modules.items():
        if of_input:  # before the module runs, which need not be
            attach = module.register_forward_pre_hook
            handles.append(attach(lambda m, inputs, name=name: hook(name, m, inputs, None)))
        else:
            handles.append(module.register_forward_hook(lambda *a, name=name: hook(name, *a)))
    try:
        yield found
    except _Reached as reached:
        if reached.args[0] is not found:  # of a capture around this one
            raise
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def passed_on(module, tensor):
    """Give a module another first input than the one that reaches it."""
    handle = module.register_forward_pre_hook(lambda _, inputs: (tensor, *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def finished_before(network, entry, run):
    """Modules that have all their say before another is reached, and what they give.

    Parameters
    ----------
    network : torch.nn.Module
    entry : torch.nn.Module
    run : callable
        Passes images through the network.

    Returns
    -------
    outputs : dict of torch.nn.Module to tensor
        The outermost modules that are called once, to the end, before `entry`.
    """
    import torch

    calls, reached, handles = {}, [], []
    for module in network.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            handles += [
                module.register_forward_pre_hook(lambda m, _: calls.setdefault(m, []).append(None)),
                module.register_forward_hook(
                    lambda m, _, output: None if reached else calls[m].append(output)
                ),
            ]
    handles.append(entry.register_forward_pre_hook(lambda *_: reached.append(True)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    ended = {
        module: events[1]
        for module, events in calls.items()
        if len(events) == 2 and isinstance(events[1], torch.Tensor)
    }
    inner = {part for module in ended for part in module.modules() if part is not module}
    return {module: output for module, output in ended.items() if module not in inner}


@contextmanager
def answered(outputs):
    """Have modules give what they gave before, without computing it."""

    def answer(output):
        return lambda *_, **__: output.clone()  # which may be worked on in place

    for module, output in outputs.items():
        module.forward = answer(output)
    try:
        yield
    finally:
        for module in outputs:
            del module.forward


def to_map(output, network):
    """Output of a layer as a map (n, channels, height, width); tokens are laid out on a grid."""
    if output.ndim == 4:
        return output
    if output.ndim == 3:
        # Embeddings of patches have no tokens before them yet.
        for tokens in (output[:, _n_prefix_tokens(network) :], output):
            side = round(tokens.shape[1] ** 0.5)
            if side * side == tokens.shape[1]:
                return tokens.transpose(1, 2).unflatten(2, (side, side))
    raise ValueError(
        f"the output of shape {tuple(output.shape)} is no map; name a layer with layers=['...'] "
        "that gives (n, channels, height, width) or a square grid of tokens."
    )


def without_summary(maps, network):
    """Maps in which every pixel is of its place.

    "tiny" has learned to keep what it knows of the whole image in the first pixel of its layers,
    whose features are up to 37 times as long as others there. Its neighbours take its place.
    """
    if not getattr(_author(network), "summary_pixel", False) or min(maps.shape[-2:]) < 2:
        return maps
    maps = maps.clone()
    maps[..., 0, 0] = (maps[..., 0, 1] + maps[..., 1, 0] + maps[..., 1, 1]) / 3
    return maps


def to_vector(output, network):
    """Output of a layer pooled over places, (n, channels)."""
    if output.ndim == 2:
        return output
    return to_map(output, network).mean((2, 3))
