"""Which layers' maps are compared."""

from ..networks._stages import network_stages
from ..networks._tokens import author


def map_layers(fitted, asked, n_layers, owner):
    """Names of the layers whose maps a detector compares.

    Parameters
    ----------
    fitted : FittedNetwork
    asked : list of str or None
        By default those that the network tells of itself; of others, the ends of so many
        resolutions before the last.
    n_layers : int
    owner : str
        Named in errors.

    Returns
    -------
    names : list of str
    """
    if asked is not None:
        if not len(asked):
            raise ValueError(f"{owner}: layers is empty; name at least one, or give None.")
        return list(dict.fromkeys(map(str, asked)))
    if fitted.layers or fitted.flattened_layers:
        return fitted.map_names
    told = getattr(author(fitted.network), "map_layers", None)
    if told is not None:
        return list(told)
    stages, ends = stages_with_maps(fitted)
    if not stages:
        network = type(fitted.network).__name__
        raise ValueError(f"{owner}: no stage of {network} gives a map; name layers=['...'].")
    names = list(ends.values()) if len(ends) > 1 else stages
    return names[-1 - n_layers : -1] or names


def stages_with_maps(fitted):
    """Stages of a network that give maps, and the last of each resolution.

    Parameters
    ----------
    fitted : FittedNetwork

    Returns
    -------
    stages : list of str
    ends : dict of tuple of int to str
    """
    import torch

    stages, ends, size = [], {}, fitted.preprocessing.image_size
    trial = torch.zeros((1, fitted.preprocessing.n_channels, size, size), device=fitted.device)
    for name in network_stages(fitted.network):
        try:
            _, (one, *_) = fitted.features_and_maps(trial, [name])
        except ValueError:  # no map
            continue
        stages.append(name)
        ends[tuple(one.shape[-2:])] = name
    return stages, ends
