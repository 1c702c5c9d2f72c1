"""Networks by recipe: a name or a factory, and weights."""

import copy
import difflib
import pickle
from functools import partial
from pathlib import Path

from .._random import local_seed
from ._dense import tiny_dense
from ._download import timm_weights, torchvision_weights
from ._input_size import create_sized, resize_input
from ._tiny import tiny

_WEIGHTS = Path(__file__).parents[1] / "weights"

# The networks inside the package: architecture, and weights.
EMBEDDED = {
    "tiny": (tiny, _WEIGHTS / "tiny.safetensors"),
    "tiny-dense": (tiny_dense, _WEIGHTS / "tiny_dense.safetensors"),
}


def build_network(backbone, weights="pretrained", random_state=0, image_size=None):
    """Build a network from its recipe.

    Parameters
    ----------
    backbone : str or callable
        "tiny" or "tiny-dense" (embedded), a timm name, a torchvision name, or a factory. A name
        that timm and torchvision share is timm's; the prefixes "timm/" and "torchvision/" choose.
    weights : "pretrained", None or path
        Published weights, random ones, or a file (safetensors, or a state dict of torch).
    random_state : int
        Seed of random weights.
    image_size : int, optional
        Side of its images, for networks by name that are made for one size; by default that of
        their metadata.

    Returns
    -------
    network : torch.nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    TypeError
        If `backbone` is a network instead of a recipe.
    ValueError
        If the name is unknown or the weights do not fit.
    OSError
        If weights are neither there nor to be had.
    """
    with local_seed(random_state):
        if not isinstance(backbone, str):
            network = _from_factory(backbone)
        elif weights is None or weights == "pretrained":
            network = _from_name(backbone, weights, image_size)
        else:
            state = read_weights(weights)
            return build_from_state(backbone, state, image_size, f"weights file {str(weights)!r}")
    if weights is not None and weights != "pretrained":
        load_weights(network, weights)
    return network.eval()


def build_from_state(backbone, state, image_size, source):
    """Build a network from its recipe and its parameters.

    Parameters
    ----------
    backbone : str or callable
    state : dict of str to tensor
        They fit the network of its own size, or one that was made for `image_size`.
    image_size : int or None
    source : str
        Where they come from, for errors.

    Returns
    -------
    network : torch.nn.Module
        In evaluation mode, on the CPU.
    """
    with local_seed(0):
        if not isinstance(backbone, str):
            network = _from_factory(backbone)
            load_state(network, state, source)
            return network.eval()
        network = _from_name(backbone, state, None)
        own = network.state_dict()
        if image_size is not None and any(
            n in own and own[n].shape != value.shape for n, value in state.items()
        ):
            network = _from_name(backbone, state, image_size)
    load_state(network, state, source)
    return resize_input(network, image_size).eval()


def _from_factory(backbone):
    import torch

    if isinstance(backbone, torch.nn.Module):
        raise TypeError(
            f"backbone is a network ({type(backbone).__name__}); give the recipe for one instead, "
            "so that each fit can build its own: a name, or a picklable function without arguments "
            "that returns the network (a module-level function or functools.partial). Trained "
            "parameters come through weights='file.safetensors'."
        )
    if not callable(backbone):
        raise TypeError(f"backbone must be a name or a callable, got {backbone!r}.")
    try:
        pickle.dumps(backbone)
    except Exception as error:
        raise TypeError(
            f"backbone {backbone!r} can't be pickled, which copies and saved detectors need; use a "
            "module-level function or functools.partial."
        ) from error
    # A copy, as a factory may give the same network twice, and adapters train theirs.
    network = copy.deepcopy(backbone())
    if not isinstance(network, torch.nn.Module):
        raise TypeError(f"backbone() must return a torch.nn.Module, got {type(network).__name__}.")
    return network


def _from_name(name, weights, image_size):
    if name in EMBEDDED:
        create, path = EMBEDDED[name]
        network = create()
        if isinstance(weights, str):
            load_weights(network, path)
        return network
    import timm

    library, _, bare = name.rpartition("/")
    if library in ("", "timm") and timm.is_model(bare):
        return _from_timm(bare, weights, image_size)
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if library in ("", "torchvision") and bare in names:
        return resize_input(_from_torchvision(bare, weights), image_size)
    known = [*EMBEDDED, *timm.list_models(), *names]
    near = difflib.get_close_matches(bare, known, n=4)
    hint = f"Did you mean {', '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    raise ValueError(
        f"backbone {name!r} is unknown: it is neither 'tiny' nor 'tiny-dense', and no name of timm "
        "or torchvision. "
        f"{hint or 'timm.list_models() lists names.'}"
    )


def _from_timm(name, weights, image_size):
    import timm

    config = timm.get_pretrained_cfg(name)
    if isinstance(weights, str):
        if config is None or not config.has_weights:
            raise ValueError(
                f"no pretrained weights are published for backbone {name!r}; give weights=None for "
                "random ones or weights='file.safetensors' for your own."
            )

        def create(**overlay):
            create = partial(timm.create_model, name, pretrained=True, **overlay)
            return create_sized(create, config, image_size)

        return timm_weights(create, name, config)
    if weights is None:
        return create_sized(partial(timm.create_model, name), config, image_size)
    # Given parameters may be of another head than the published one, or of none at all.
    classifiers = config.classifier if config is not None else None
    first = classifiers if isinstance(classifiers, str) else next(iter(classifiers or ()), None)
    head = weights.get(f"{first}.weight")
    n_classes = 0 if head is None else head.shape[0]
    return create_sized(partial(timm.create_model, name, num_classes=n_classes), config, image_size)


def _from_torchvision(name, weights):
    import torchvision

    if isinstance(weights, str):
        published = torchvision.models.get_model_weights(name).DEFAULT
        build = partial(torchvision.models.get_model, name, weights=published)
        network = torchvision_weights(build, name, published.url)
        transforms = published.transforms()
        network.pretrained_cfg = {
            "mean": transforms.mean,
            "std": transforms.std,
            "input_size": (3, *transforms.crop_size * 2)[:3],
        }
        return network
    import warnings

    with warnings.catch_warnings():
        # Some of its networks announce a slower initialisation to come.
        warnings.simplefilter("ignore", FutureWarning)
        return torchvision.models.get_model(name, weights=None)


def read_weights(path):
    """Read a state dict from a file, without running code that it may hold."""
    import torch
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {str(path)!r} does not exist.")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"weights file {str(path)!r} could not be read: {error} It must be a safetensors file, "
            "or a state dict that torch.load(..., weights_only=True) takes."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ValueError(f"weights file {str(path)!r} holds no state dict, names and tensors.")
    if all(name.startswith("module.") for name in state):  # of a network trained in parallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def load_weights(network, path):
    """Load a file of weights that must fit the network key by key."""
    load_state(network, read_weights(path), f"weights file {str(path)!r}")


def load_state(network, state, source):
    """Load parameters that must fit the network key by key; `source` is named in errors."""
    own = network.state_dict()
    wrong = {
        "missing": [name for name in own if name not in state],
        "not in the network": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    # Weights with folded BatchNorm may lack the counters, which evaluation does not use.
    wrong["missing"] = [n for n in wrong["missing"] if not n.endswith("num_batches_tracked")]
    if any(wrong.values()):
        details = "; ".join(
            f"{len(names)} {what} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
            for what, names in wrong.items()
            if names
        )
        raise ValueError(f"{source} does not fit {type(network).__name__}: {details}.")
    network.load_state_dict(state, strict=False)
