"""The cut of a network before the first of its stages that is trained."""

from contextlib import nullcontext
from functools import partial

from ._device import multiplies_bfloat16
from ._folding import folded
from ._stages import network_stages, quoted, trained_parameters
from ._taps import answered, captured, finished_before, passed_on

# In the place of stages: none is trained, but the head behind them.
HEAD = "head"

# A network that goes on from its cut must give what it gives as a whole, but for rounding.
_SAME = {"float32": 1e-4, "bfloat16": 2e-2}


class CutNetwork:
    """A fitted network, cut before its first trained module.

    What lies before the cut is frozen, so what comes out of it for an image never changes;
    ``frozen_part`` computes it, ``trained_part`` goes on from there, with gradients. The trained
    part is float32 whatever the extractor's precision, as bfloat16 would round the small steps of
    training away; where that is bfloat16 and the device is faster by it, its products are computed
    so (mixed precision).

    Parameters
    ----------
    fitted : FittedNetwork
        Its network is changed: parameters freeze, and the trained part becomes float32.
    trainable : str, int or list of str
        See `trained_parameters`.
    owner : str
        Named in errors.
    """

    def __init__(self, fitted, trainable, owner):
        import torch

        self.fitted, self.network = fitted, fitted.network
        self.names = trained_parameters(self.network, trainable, owner)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in self.names)
        size = fitted.preprocessing.image_size
        shape = (2, fitted.preprocessing.n_channels, size, size)
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        noise[1] = noise[1] / 2 + 0.5  # brighter than the first
        self._trial = noise.sub(0.5).div_(0.25).to(fitted.device)
        self._answers = {}
        half = fitted.precision == "bfloat16" and multiplies_bfloat16(fitted.device)
        mixed = partial(torch.autocast, fitted.device.type, torch.bfloat16)
        self._arithmetic = mixed if half else nullcontext
        self.entry = self._find_entry()
        if self.entry is not None and not self._goes_on_from_the_cut():
            self.entry = None
        self._widen()
        if self.entry is not None:
            self._answers = self._frozen_answers()
        self._check_gradients(owner, trainable)

    @property
    def parameters(self):
        """Trained parameters by name."""
        every = dict(self.network.named_parameters())
        return {name: every[name] for name in self.names}

    @property
    def frozen_names(self):
        """Names of the other parameters."""
        return {name for name, _ in self.network.named_parameters()} - set(self.names)

    def _find_entry(self):
        """Name of the largest module that starts with the first trained parameter."""
        import torch

        containers = (torch.nn.ModuleList, torch.nn.ModuleDict)  # which are not called themselves
        frozen = [n for n, p in self.network.named_parameters() if not p.requires_grad]
        if next(iter(self.network.named_parameters()))[1].requires_grad:
            return None  # nothing lies before it
        parts = self.names[0].split(".")[:-1]
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if any(parameter.startswith(name + ".") for parameter in frozen):
                continue
            if type(self.network.get_submodule(name)) not in containers:
                return name
        return None

    def _goes_on_from_the_cut(self):
        """Try whether the trained part depends on the images through the cut alone."""
        import torch

        images = self._trial.to(self.fitted.dtype)
        with torch.no_grad():
            whole = self.fitted.outputs(images)
            try:
                parts = self.trained_part(self.frozen_part(images))
            except torch.OutOfMemoryError:
                raise
            except (KeyError, RuntimeError, ValueError):  # passes the cut in another way
                return False
        return bool((whole - parts).norm() <= _SAME[self.fitted.precision] * whole.norm())

    def _frozen_answers(self):
        """What frozen modules give for the one image that the trained part runs on.

        With it they need not compute it at every step. None where that would change anything.
        """
        import torch

        with torch.no_grad():
            hidden = self.frozen_part(self._trial)
            entry = self.network.get_submodule(self.entry)
            with finished_before(entry, self.network) as outputs:
                before = self.trained_part(hidden.clone())
            try:
                with answered(outputs):
                    same = torch.equal(self.trained_part(hidden), before)
            except torch.OutOfMemoryError:
                raise
            except (KeyError, RuntimeError, ValueError):  # a layer inside one of them is asked for
                same = False
        return outputs if same else {}

    def _widen(self):
        """Make the part from the cut on float32."""
        import torch

        if self.fitted.dtype == torch.float32:
            return
        if self.entry is None:
            self.network.float()
            self.fitted.dtype = torch.float32
            return
        modules = [name for name, _ in self.network.named_modules()]
        start = modules.index(self.entry)
        for index, (_, module) in enumerate(self.network.named_modules()):
            if index >= start:
                for value in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                    if value.is_floating_point():
                        value.data = value.data.float()
        self.network.get_submodule(self.entry).register_forward_pre_hook(to_float32)

    def _check_gradients(self, owner, trainable):
        """Refuse stages that the features do not come from."""
        import torch

        features = self.trained_part(self.frozen_part(self._trial))
        gradients = [None] * len(self.names)
        if features.requires_grad:
            gradients = torch.autograd.grad(
                features.sum(), list(self.parameters.values()), allow_unused=True
            )
        self.names = [n for n, gradient in zip(self.names, gradients) if gradient is not None]
        for name, value in self.network.named_parameters():
            value.requires_grad_(name in self.names)
        if not self.names:
            raise ValueError(
                f"{owner}: no trainable parameter is left: the features (layers="
                f"{self.fitted.layers or None}) do not depend on the stages that trainable="
                f"{trainable!r} names. Choose others of {quoted(network_stages(self.network))}."
            )

    def folded(self):
        """Context in which BatchNorms, which are fixed, are parts of convolutions."""
        return folded(self.network, self._trial, lambda x: self.trained_part(self.frozen_part(x)))

    def trained_modules(self):
        """The largest modules in which all is trained and inside of which no layer is asked for."""
        kept = [*self.frozen_names, *self.fitted.layers, *self.fitted.flattened_layers]
        return list(_largest(self.network, "", kept))

    def frozen_part(self, images):
        """What enters the first trained module; the images themselves where nothing is frozen."""
        import torch

        images = images.to(self.fitted.dtype, memory_format=torch.channels_last)
        if self.entry is None:
            return images
        entry = {self.entry: self.network.get_submodule(self.entry)}
        with torch.no_grad(), captured(entry, of_input=True) as found:
            self.fitted.outputs(images)
        return found[self.entry]

    def trained_part(self, hidden):
        """Features (n, n_features) of images, from what `frozen_part` gave for them."""
        with self._arithmetic():
            return self._from_the_cut(hidden)

    def _from_the_cut(self, hidden):
        if self.entry is None:
            return self.fitted.outputs(hidden)
        # The frozen part sees one image, whose output the others' take the place of. What it gives
        # is known already, unless it may change.
        entry = self.network.get_submodule(self.entry)
        fixed = {m: output for m, output in self._answers.items() if not m.training}
        with passed_on(entry, hidden), answered(fixed):
            return self.fitted.outputs(self._trial[:1].to(self.fitted.dtype))


def _largest(module, prefix, kept):
    """Modules below one, as large as may be, that hold parameters but nothing that is kept."""
    import torch

    for name, child in module.named_children():
        inside = f"{prefix}{name}."
        is_list = type(child).forward is torch.nn.Module.forward  # which is not called itself
        if is_list or any(other.startswith(inside) for other in kept):
            yield from _largest(child, inside, kept)
        elif next(child.parameters(), None) is not None:
            yield child


class FrozenNetwork:
    """A fitted network, cut behind all of it: nothing is trained but a head.

    Parameters
    ----------
    fitted : FittedNetwork
    """

    def __init__(self, fitted):
        self.fitted, self.network, self.parameters = fitted, fitted.network, {}
        fitted.network.requires_grad_(False)

    @property
    def frozen_names(self):
        """Names of all parameters of the network."""
        return {name for name, _ in self.network.named_parameters()}

    def frozen_part(self, images):
        """Features (n, n_features) of images."""
        import torch

        images = images.to(self.fitted.dtype, memory_format=torch.channels_last)
        with torch.no_grad():
            return self.fitted.outputs(images)

    def trained_part(self, hidden):
        """The features themselves."""
        return hidden


def to_float32(module, inputs):
    """Forward hook: give a module its first input as float32."""
    return (inputs[0].float(), *inputs[1:])
