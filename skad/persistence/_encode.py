"""Fitted objects as trees of JSON, beside arrays and networks."""

import os
from functools import partial
from types import SimpleNamespace

import numpy as np

from ._classes import LAYERS, name_of_class, name_of_factory
from ._networks import NetworkParts


class Encoder:
    """Turn a fitted object into a tree, arrays and networks.

    Each object is written once: where it stands again, the tree refers to the first.

    Parameters
    ----------
    owner : str
        Named in errors.
    references : bool
        Whether published networks may be named instead of stored.
    """

    def __init__(self, owner, references=False):
        self.owner, self.arrays, self.others = owner, {}, {}
        self.networks = NetworkParts(references)
        self._known, self._alive = {}, []

    def encode(self, value, where):
        """The tree of a value; `where` it stands is named in errors."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            plain = np.isfinite(value)
            return value if plain else {"float": str(value)}
        if id(value) in self._known:
            return {"same": self._known[id(value)]}
        return self._encode(value, where)

    def _number(self, value):
        """A number for an object, by which the tree may refer to it."""
        self._known[id(value)] = number = len(self._known)
        self._alive.append(value)  # so that no other gets its id
        return number

    def _encode(self, value, where):
        import torch

        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), where)}
        if isinstance(value, torch.Tensor):
            return {"tensor": self._array(value.detach().cpu().numpy(), where)}
        if type(value) in (list, tuple, dict, slice, SimpleNamespace):
            return self._container(value, where)
        if isinstance(value, (torch.dtype, np.dtype)):
            return {"dtype": str(value)}
        if isinstance(value, torch.nn.Module):
            return self._module(value, where)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, partial):
            function = self._encode(value.func, where)
            given = [self.encode(one, where) for one in value.args]
            named = {key: self.encode(one, where) for key, one in value.keywords.items()}
            return {"partial": function, "args": given, "keywords": named}
        if callable(value) and not hasattr(value, "get_params"):
            return self._factory(value, where)
        return self._object(value, where)

    def _array(self, value, where):
        if value.dtype.kind in "OUS":
            items = [self.encode(one, where) for one in value.ravel().tolist()]
            return {"items": items, "shape": list(value.shape), "dtype": value.dtype.str}
        if value.dtype.kind not in "biuf":
            raise TypeError(f"save: {self.owner}: {where} is an array of {value.dtype}.")
        number = self._number(value)
        name = f"a{number}"
        fortran = value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous
        self.arrays[name] = np.ascontiguousarray(value.T if fortran else value)
        tree = {"array": name, "number": number, "shape": list(value.shape)}
        return tree | {"fortran": True} if fortran else tree

    def _container(self, value, where):
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if isinstance(value, SimpleNamespace):
            value, kind = vars(value), "namespace"
        elif isinstance(value, dict):
            kind = "dict"
        else:
            items = [self.encode(one, f"{where}[{i}]") for i, one in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        pairs = [
            [self.encode(key, where), self.encode(one, f"{where}.{key}")]
            for key, one in value.items()
        ]
        return {kind: pairs}

    def _factory(self, value, where):
        name = name_of_factory(value)
        if name is not None:
            return {"factory": name}
        raise TypeError(
            f"save: {self.owner}: {where} is {getattr(value, '__qualname__', value)}, code of your "
            "own, which a model file does not hold. Give a network by name, or a factory of "
            "skad.backbones; set what is not needed after the fit to None."
        )

    def _module(self, value, where):
        from torch import nn

        number = self._number(value)
        if isinstance(value, nn.Sequential):
            layers = [self._encode(layer, where) for layer in value]
            return {"layers": layers, "number": number}
        kind = type(value).__name__
        if type(value) is not getattr(nn, kind, None) or kind not in LAYERS:
            raise TypeError(
                f"save: {self.owner}: {where} is a {kind}, a network that no recipe is known of."
            )
        given = {name: getattr(value, name) for name in LAYERS[kind]}
        if kind == "Linear":
            given["bias"] = value.bias is not None
        state = {key: self.encode(one, where) for key, one in value.state_dict().items()}
        return {"layer": kind, "given": given, "state": state, "training": value.training}

    def _object(self, value, where):
        kind, module = type(value), type(value).__module__
        name = name_of_class(kind)
        if name is None and module.partition(".")[0] == "sklearn":
            return {"scikit-learn": self._scikit_learn(value, where)}
        if name is None:
            raise TypeError(
                f"save: {self.owner}: {where} is a {module}.{kind.__qualname__}, which model files "
                "do not hold. They hold what skad makes, Pipelines of it, and scikit-learn's "
                "estimators; pickle holds anything, but must be trusted."
            )
        number, state = self._number(value), value.__getstate__() or {}
        state = dict(state)
        state.pop("_skl_callbacks", None)  # which are of a fit, not of what was fitted
        tree = {"class": name, "number": number}
        network = state.get("network")
        if name == "FittedNetwork":
            del state["network"]
            tree["network"] = self._network(value, network, where)
        tree["state"] = [[key, self.encode(one, f"{where}.{key}")] for key, one in state.items()]
        return tree

    def _network(self, fitted, network, where):
        """The network of a FittedNetwork: its recipe and its parameters."""
        if id(network) in self._known:
            return {"same": self._known[id(network)]}
        number = self._number(network)
        tree = {"number": number}
        head = getattr(network, "projector", None)
        if type(network).__name__ == "ProjectedNetwork":
            tree |= {"projector": self._encode(head, where), "normalize": network.normalize}
            network = network.encoder
        return tree | {"part": self.networks.add(fitted, network)}

    def _scikit_learn(self, value, where):
        try:
            import skops.io
        except ImportError as error:
            raise ImportError(
                f"save: {self.owner}: {where} is scikit-learn's {type(value).__name__}, which "
                'model files hold by skops: pip install "skad[files]".'
            ) from error
        name = f"sklearn/s{self._number(value)}.skops"
        self.others[name] = skops.io.dumps(value)
        unknown = skops.io.get_untrusted_types(data=self.others[name])
        if unknown:
            raise TypeError(
                f"save: {self.owner}: {where} is scikit-learn's {type(value).__name__}, which "
                f"holds {', '.join(unknown)}: skops reads it only from files that are trusted. Use "
                "another estimator, or pickle."
            )
        return name
