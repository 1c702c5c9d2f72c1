"""Networks in model files: a recipe, and parameters or the name of published ones."""

from ..networks._cache import weights_digest
from ..networks._recipe import build_from_state, build_network
from ._archive import ModelFileError


def as_stored(network, dtype):
    """A network on the CPU, in its arithmetic and its layout of memory."""
    import torch

    return network.to(dtype=dtype, memory_format=torch.channels_last).eval()


class NetworkParts:
    """Networks of a file, as they are written.

    Parameters
    ----------
    references : bool
        Whether networks with published weights are named instead of stored.
    """

    def __init__(self, references):
        self.references, self.states, self.told = references, {}, []

    def add(self, fitted, network):
        """Take note of a network; what names it."""
        name = f"n{len(self.told)}"
        digest = weights_digest(network)
        backbone = describe_backbone(fitted.backbone)
        licence = licence_of(fitted.backbone)
        told = {"name": name, "backbone": backbone, "digest": digest, "licence": licence}
        if self.references and self._is_published(fitted, digest):
            self.told.append(told | {"weights": "reference"})
            return name
        self.states[name] = {
            key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
        }
        self.told.append(told | {"weights": "stored"})
        return name

    def _is_published(self, fitted, digest):
        if not isinstance(fitted.backbone, str):
            return False
        published = build_network(fitted.backbone, image_size=fitted.views.seen_size)
        return weights_digest(published) == digest


def describe_backbone(backbone):
    """What people call a recipe."""
    name = getattr(getattr(backbone, "func", backbone), "__name__", backbone)
    return str(name)


def licence_of(backbone):
    """What is known of the terms of a network's published weights; None for other networks."""
    if backbone in ("tiny", "tiny-dense"):
        return "trained on pictures given out for research, see skad/weights/README.rst"
    if not isinstance(backbone, str):
        return None
    import timm

    library, _, name = backbone.rpartition("/")
    known = library in ("", "timm") and timm.is_model(name)
    config = timm.get_pretrained_cfg(name) if known else None
    return None if config is None else config.license


class StoredNetworks:
    """Networks of a file, to be made again.

    Parameters
    ----------
    path : path
        Named in errors.
    told : list of dict
        What :class:`NetworkParts` says of each.
    states : dict of str to callable
        Gives the parameters of each that is stored.
    """

    def __init__(self, path, told, states):
        self.path, self.states = path, states
        self.told = {one["name"]: one for one in told}

    def read(self, name, state):
        """A network, by its recipe in the state of its FittedNetwork."""
        told, backbone = self.told[name], state["backbone"]
        tiles = state.get("tiles")
        image_size = state["preprocessing"].image_size if tiles is None else tiles[0]
        if told["weights"] == "stored":
            return build_from_state(backbone, self.states[name](), image_size, str(self.path))
        network = build_network(backbone, image_size=image_size)
        if weights_digest(network) != told["digest"]:
            raise ModelFileError(
                f"{self.path}: names the published weights of {told['backbone']!r}, but those here "
                "are others; save the model with its weights."
            )
        return network
