"""Stages of a network by its metadata, and which of them are trained."""

from numbers import Integral

TRAINABLE = {"last": 1, "last_two": 2, "last_three": 3}

# A network of fewer parts than this, without metadata, has its largest part taken apart.
_FEWEST = 4


def network_stages(network):
    """Parameters of each stage of a network, first to last.

    Stages are those of timm's ``feature_info``; each ends with the module named there, and the last
    takes what follows, but for the classifier. A network without such metadata has one stage for
    each of its parts that have parameters, its largest part taken apart where they are few.

    Returns
    -------
    stages : dict of str to list of str
        Name of each stage to the names of its parameters.
    """
    modules = [name for name, _ in network.named_modules()]
    classifier = _classifier_names(network)
    names = _stage_names(network, classifier)
    ends = {n: max(i for i, m in enumerate(modules) if _inside(m, n)) for n in names}
    stages = {name: [] for name in names}
    for parameter, _ in network.named_parameters():
        owner = parameter.rpartition(".")[0]
        if not any(_inside(owner, name) for name in classifier):
            index = modules.index(owner)
            stages[next((n for n in names if index <= ends[n]), names[-1])].append(parameter)
    return stages


def _inside(module, parent):
    return module == parent or module.startswith(parent + ".")


def _classifier_names(network):
    """Names of the modules that only classify."""
    import torch

    if hasattr(network, "get_classifier"):
        heads = network.get_classifier()
        heads = heads if isinstance(heads, (tuple, list)) else [heads]
        return [n for n, m in network.named_modules() if n and any(m is head for head in heads)]
    if type(network).__module__.startswith("torchvision."):
        linear = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)]
        return linear[-1:]
    return []


def _stage_names(network, classifier):
    info = getattr(network, "feature_info", None)
    known = dict(network.named_modules())
    names = [stage["module"] for stage in getattr(info, "info", info) or []]
    if names and all(name in known for name in names):
        return list(dict.fromkeys(names))
    parts = _parts(network, "", classifier)
    while 0 < len(parts) < _FEWEST:
        largest = max(parts, key=lambda name: sum(p.numel() for p in known[name].parameters()))
        inner = _parts(known[largest], f"{largest}.", classifier)
        if not inner:
            break
        index = parts.index(largest)
        parts[index : index + 1] = inner
    return parts or [""]


def _parts(module, path, classifier):
    """Names of the children that hold parameters of more than the classifier.

    Lists of modules are taken apart, as no image passes through a list.
    """
    import torch

    found = []
    for name, child in module.named_children():
        owners = [f"{path}{name}.{p}".rpartition(".")[0] for p, _ in child.named_parameters()]
        if any(not any(_inside(owner, head) for head in classifier) for owner in owners):
            if type(child) in (torch.nn.ModuleList, torch.nn.ModuleDict):
                found += _parts(child, f"{path}{name}.", classifier)
            else:
                found.append(f"{path}{name}")
    return found


def trained_parameters(network, trainable, owner):
    """Names of the parameters to train.

    Parameters
    ----------
    network : torch.nn.Module
    trainable : str, int or list of str
        "last", "last_two", "last_three", "all", a number of last stages, or names of stages.
    owner : str
        Named in errors.

    Raises
    ------
    ValueError
        If a stage does not exist.
    """
    stages = network_stages(network)
    names = list(stages)
    if isinstance(trainable, str) and trainable == "all":
        chosen = names
    elif isinstance(trainable, (str, Integral)) and trainable not in names:
        count = TRAINABLE.get(trainable, trainable)
        if not isinstance(count, Integral) or not 1 <= count <= len(names):
            raise _unknown(owner, network, trainable, names)
        chosen = names[-count:]
    else:
        chosen = [trainable] if isinstance(trainable, str) else list(trainable)
        if not chosen or any(name not in names for name in chosen):
            raise _unknown(owner, network, trainable, names)
    found = [parameter for name in names if name in chosen for parameter in stages[name]]
    if not found:
        raise ValueError(
            f"{owner}: no trainable parameter is left: trainable={trainable!r} names stages of "
            f"{type(network).__name__} without parameters. Choose others of {quoted(names)}."
        )
    return found


def quoted(names):
    return ", ".join(map(repr, names))


def _unknown(owner, network, trainable, names):
    return ValueError(
        f"{owner}: trainable={trainable!r} names no stages of {type(network).__name__}; allowed "
        f"are 'last', 'last_two', 'last_three', 'all', a number from 1 to {len(names)}, or a list "
        f"of {quoted(names)}."
    )
