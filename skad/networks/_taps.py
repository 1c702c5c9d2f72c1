"""Read a network's features: its pooled output, or any layer by name."""

import difflib
import threading
from contextlib import contextmanager

from ._tokens import author, by_windows, part_of, split_name, to_map


class _Reached(Exception):
    """The last tap was reached; what lies behind it need not be computed."""


def pooled_output(network, images, to_the_end=False):
    """Feature before the classifier, pooled over places.

    Networks of timm give theirs; of those of torchvision it is what enters the last linear layer;
    any other network's own output is taken. The network is stopped where it is known, unless it
    shall run `to_the_end`.
    """
    if hasattr(network, "forward_features") and hasattr(network, "forward_head"):
        return network.forward_head(network.forward_features(images), pre_logits=True)
    if type(network).__module__.startswith("torchvision."):
        return _classifier_input(network, images, to_the_end)
    return network(images)


def _classifier_input(network, images, to_the_end):
    import torch

    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(network).__name__} has no linear classifier before which to take the feature; "
            "name a layer with layers=['...']."
        )
    with captured({"classifier": linear[-1]}, of_input=True, to_the_end=to_the_end) as found:
        network(images)
    return found["classifier"]


def layer_outputs(network, images, layers, to_the_end=False):
    """Outputs of the named layers, as they are, computing no further than the last of them.

    Of a layer named with a part, such as "blocks.3:class_token", that part. What follows how a
    network computes needs it to run `to_the_end`.
    """
    modules, parts = _named_modules(network, layers)
    with captured(modules, to_the_end=to_the_end) as found:
        network(images)
    return _in_order(found, network, modules, parts)


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
    modules, parts = _named_modules(network, layers)
    outputs = []
    with captured(modules, to_the_end=True) as found:
        yield outputs
    outputs += _in_order(found, network, modules, parts)


def _named_modules(network, layers):
    """Modules by name, and for each of the layers the name of its module and the part asked for."""
    modules = dict(network.named_modules())
    parts = {name: split_name(name, modules) for name in layers}
    for name, (module, _) in parts.items():
        if module not in modules or not name:
            raise unknown_layer(name, [n for n in modules if n], type(network).__name__)
    return {module: modules[module] for module, _ in parts.values()}, parts


def _in_order(found, network, modules, parts):
    missed = [name for name in modules if name not in found]
    if missed:
        raise ValueError(f"layers: no image passed through {', '.join(map(repr, missed))}.")
    outputs = {n: _channels_first(found[n], network, module) for n, module in modules.items()}
    return [part_of(outputs[n], part, network, name) for name, (n, part) in parts.items()]


def unknown_layer(name, known, network, owner="layers"):
    """Error that lists layers of similar names, or some."""
    near = difflib.get_close_matches(name, known, n=4) or list(known)[:8]
    return ValueError(
        f"{owner}: {network} has no layer {name!r}; there are {', '.join(map(repr, near))}, ..."
    )


def _channels_first(output, network, module=None):
    """Maps of networks that keep channels last (Swin), as (n, channels, height, width).

    Images are square, and so are maps: other networks show it by their shape, where they do so.
    """
    import torch

    network = author(network)
    if output.ndim != 4 or isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d)):
        return output
    swin = type(network).__module__ == "torchvision.models.swin_transformer"
    by_shape = output.shape[1] == output.shape[2] != output.shape[3]
    if swin or by_shape or getattr(network, "output_fmt", "NCHW") == "NHWC":
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


@contextmanager
def finished_before(entry, network):
    """Collect what the modules give that are through before another one is entered.

    Parameters
    ----------
    entry : torch.nn.Module
    network : torch.nn.Module

    Yields
    ------
    outputs : dict of torch.nn.Module to tensor
        Filled while the network runs. Of modules inside each other the outermost; none that is
        called twice, as one answer would not do, and none in training mode, which may learn or
        draw from what it sees.
    """
    import torch

    outputs, begun, n_calls, entered = {}, [], {}, []

    def before(module, _):
        n_calls[module] = n_calls.get(module, 0) + 1
        if n_calls[module] > 1:
            outputs.pop(module, None)
        if module is entry:
            entered.append(module)
        begun.append((module, set(outputs)))

    def after(module, _, output):
        others = begun.pop()[1]
        if entered or not isinstance(output, torch.Tensor) or n_calls[module] > 1:
            return
        if not any(inner.training for inner in module.modules()):
            for inner in outputs.keys() - others:
                del outputs[inner]
            outputs[module] = output.clone()  # others may work on it in place

    handles = []
    for module in network.modules():
        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def answered(outputs):
    """Have modules give what they once gave, in the place of computing it.

    Parameters
    ----------
    outputs : dict of torch.nn.Module to tensor
    """
    own = {module: vars(module).get("forward") for module in outputs}
    for module, output in outputs.items():
        module.forward = lambda *_, output=output, **__: output.clone()
    try:
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def without_summary(maps, network):
    """Maps in which every pixel is of its place.

    "tiny" has learned to keep what it knows of the whole image in the first pixel of its layers,
    whose features are up to 37 times as long as others there. Its neighbours take its place.
    """
    if not getattr(author(network), "summary_pixel", False) or min(maps.shape[-2:]) < 2:
        return maps
    maps = maps.clone()
    maps[..., 0, 0] = (maps[..., 0, 1] + maps[..., 1, 0] + maps[..., 1, 1]) / 3
    return maps


def to_vector(output, network):
    """Output of a layer pooled over places, (n, channels)."""
    if output.ndim == 2:
        return output
    if output.ndim == 3 and by_windows(network):
        return output.mean(1)
    return to_map(output, network).mean((2, 3))
