"""Fitted objects from trees of JSON, arrays and networks."""

from functools import partial
from types import SimpleNamespace

import numpy as np

from ._archive import ModelFileError
from ._classes import LAYERS, class_named, factory_named
from ._networks import as_stored

# Numbers that JSON has no sign for.
_NOT_FINITE = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


class Decoder:
    """Make the object again of a tree, arrays and networks.

    Parameters
    ----------
    path : path
        Named in errors.
    arrays : dict of str to ndarray
    networks : dict
        See :class:`NetworkParts`.
    others : dict of str to bytes
    device : str, optional
        Where networks are to compute; by default as they were fitted.
    """

    def __init__(self, path, arrays, networks, others, device=None):
        self.path, self.arrays, self.networks = path, arrays, networks
        self.others, self.device, self._known = others, device, {}
        self._readers = {
            "float": lambda tree: _NOT_FINITE[tree["float"]],
            "same": lambda tree: self._known[tree["same"]],
            "scalar": lambda tree: self._decode(tree["scalar"])[()],
            "slice": lambda tree: slice(*tree["slice"]),
            "tuple": lambda tree: tuple(self._decode(one) for one in tree["tuple"]),
            "dict": lambda tree: self._pairs(tree["dict"]),
            "namespace": lambda tree: SimpleNamespace(**self._pairs(tree["namespace"])),
            "tensor": self._tensor,
            "array": self._array,
            "items": self._items,
            "dtype": self._dtype,
            "layers": self._layers,
            "layer": self._layer,
            "partial": self._partial,
            "factory": self._factory,
            "scikit-learn": self._scikit_learn,
            "class": self._object,
        }

    def decode(self, tree):
        """The value of a tree."""
        try:
            return self._decode(tree)
        except (ModelFileError, ImportError, OSError):
            raise
        except Exception as error:  # whatever a state that was made up leads to
            raise ModelFileError(
                f"{self.path}: does not fit together ({type(error).__name__}: {error}); it was "
                "written by another version of skad, or by something else."
            ) from error

    def _decode(self, tree):
        if tree is None or type(tree) in (bool, int, float, str):
            return tree
        if isinstance(tree, list):
            return [self._decode(one) for one in tree]
        kind = next(iter(tree))  # what an Encoder writes first
        if kind not in self._readers:
            raise ModelFileError(f"{self.path}: holds {kind!r}, which this skad does not know.")
        return self._readers[kind](tree)

    def _pairs(self, pairs):
        return {self._decode(key): self._decode(one) for key, one in pairs}

    def _array(self, tree):
        value = self.arrays[tree["array"]].reshape(
            tree["shape"][::-1] if tree.get("fortran") else tree["shape"]
        )
        value = value.T if tree.get("fortran") else value
        self._known[tree["number"]] = value
        return value

    def _tensor(self, tree):
        import torch

        return torch.from_numpy(self._decode(tree["tensor"]).copy())

    def _items(self, tree):
        values = [self._decode(one) for one in tree["items"]]
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.astype(np.dtype(tree["dtype"])).reshape(tree["shape"])

    def _dtype(self, tree):
        import torch

        name = tree["dtype"]
        return getattr(torch, name[6:]) if name.startswith("torch.") else np.dtype(name)

    def _layers(self, tree):
        from torch import nn

        layers = nn.Sequential(*(self._decode(one) for one in tree["layers"]))
        self._known[tree["number"]] = layers
        return layers

    def _layer(self, tree):
        from torch import nn

        if tree["layer"] not in LAYERS:
            raise ModelFileError(f"{self.path}: holds a layer {tree['layer']!r}, which is unknown.")
        layer = getattr(nn, tree["layer"])(**tree["given"])
        state = {key: self._decode({"tensor": one["tensor"]}) for key, one in tree["state"].items()}
        layer.load_state_dict(state)
        return layer.train(tree["training"])

    def _partial(self, tree):
        named = {key: self._decode(one) for key, one in tree["keywords"].items()}
        return partial(self._decode(tree["partial"]), *self._decode(tree["args"]), **named)

    def _factory(self, tree):
        found = factory_named(tree["factory"])
        if found is None:
            raise ModelFileError(f"{self.path}: names a network {tree['factory']!r}, unknown here.")
        return found

    def _scikit_learn(self, tree):
        try:
            import skops.io
        except ImportError as error:
            raise ImportError(
                f"{self.path}: holds an estimator of scikit-learn, which skops reads: pip install "
                '"skad[files]".'
            ) from error
        name = tree["scikit-learn"]
        content = bytes(self.others[name])
        unknown = skops.io.get_untrusted_types(data=content)
        if unknown:
            raise ModelFileError(f"{self.path}: part {name!r} holds {unknown}, which is not run.")
        value = skops.io.loads(content)
        self._known[int(name.partition("/s")[2].partition(".")[0])] = value
        return value

    def _object(self, tree):
        kind = class_named(tree["class"])
        if kind is None:
            raise ModelFileError(
                f"{self.path}: holds a {tree['class']!r}, which this skad does not know; it may be "
                "of a later version."
            )
        value = kind.__new__(kind)
        self._known[tree["number"]] = value
        state = {key: self._decode(one) for key, one in tree["state"]}
        if "network" in tree:
            state["network"] = self._network(tree["network"], state)
            if self.device is not None:
                state["device_name"] = self.device
        if hasattr(value, "__setstate__"):
            value.__setstate__(state)
        else:
            for key, one in state.items():
                object.__setattr__(value, key, one)
        return value

    def _network(self, tree, state):
        if "same" in tree:
            return self._known[tree["same"]]
        network = self.networks.read(tree["part"], state)
        if "projector" in tree:
            from ..adapters._projection import ProjectedNetwork

            projector = self._decode(tree["projector"])
            network = ProjectedNetwork(network, projector, tree["normalize"]).eval()
        self._known[tree["number"]] = network
        return as_stored(network, state["dtype"])
