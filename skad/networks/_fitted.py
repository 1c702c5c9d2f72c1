"""FittedNetwork: a network with all that is needed to use it."""

import copy

from ..images._batches import count_threads, iterate_batches
from ._cache import network_fingerprint
from ._device import computes_bfloat16, move_loaded, name_of_devices, resolve_devices
from ._input_size import check_patches, own_size, size_error
from ._one_image import same_arithmetic
from ._passes import few_at_once
from ._preprocessing import preprocess
from ._replicas import dealt_out
from ._taps import (
    last_map,
    layer_outputs,
    outputs_on_the_way,
    pooled_output,
    to_vector,
    without_summary,
)
from ._tokens import to_map
from ._transfer import Sender, received
from ._views import Views


class FittedNetwork:
    """A network, what it does to images, and which of its outputs are features.

    It is what extractors, adapters and map detectors compute by. What decides the features is taken
    when it is made; parameters that an estimator is given later change nothing.

    Parameters
    ----------
    network : torch.nn.Module
    preprocessing : Preprocessing
    backbone : str or callable
        Its recipe, which tells features kept on disk apart.
    layers, flattened_layers : list of str, optional
        Layers whose outputs are features, pooled or as they are; by default the pooled output.
    precision : {"float32", "bfloat16"}
    device : str or list of str
        As the user names it, or several.
    tiles : tuple of int, optional
        Size and overlap of the squares of an image that the network sees; by default all of it.
    scales : tuple of float
        Shares of the image's size at which maps are taken; features are those of the first.

    Attributes
    ----------
    network : torch.nn.Module
        On its device, in its precision.
    device : torch.device
        The first of its `devices`, on which it is trained.
    devices : list of torch.device
        Those that batches are dealt out to.
    dtype : torch.dtype
        Of what enters the network.
    widths : list of int
        Number of features of each layer.
    in_training : bool
        Whether its weights change, so that its fingerprint does.
    to_the_end : bool
        Whether the network runs on behind the last of the layers, for what follows how it computes.
    """

    to_the_end, _replicas = False, None

    def __init__(
        self,
        network,
        preprocessing,
        *,
        backbone,
        layers=None,
        flattened_layers=None,
        precision="float32",
        device="auto",
        tiles=None,
        scales=(1.0,),
    ):
        import torch

        for name, given in (("layers", layers), ("flattened_layers", flattened_layers)):
            if given is not None and not len(given):
                raise ValueError(f"{name} is empty; name at least one, or give None.")
        self.backbone, self.preprocessing = backbone, preprocessing
        given = ([] if names is None else names for names in (layers, flattened_layers))
        self.layers, self.flattened_layers = ([str(name) for name in names] for names in given)
        self.device_name = name_of_devices(device)
        self.devices = resolve_devices(self.device_name)
        self.device = self.devices[0]
        self.precision = precision if computes_bfloat16(self.device) else "float32"
        self.dtype = getattr(torch, self.precision)
        network = network.to(self.device, memory_format=torch.channels_last)
        self.network = network.to(self.dtype)
        self.in_training, self._fingerprint = False, None
        self.views = Views(self.network, preprocessing.image_size, tiles, scales)
        self.widths = self._try()

    def _try(self):
        """Number of features of each layer, by a trial that shows what comes out of them."""
        import torch

        network, size = self.network, self.views.seen_size
        check_patches(network, size)
        trial = torch.zeros((1, self.preprocessing.n_channels, size, size), device=self.device)
        try:
            with torch.inference_mode(), same_arithmetic(trial):
                outputs = self._taps(self._as_input(trial))
        except AssertionError as error:
            raise size_error(network, size, error) from error
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if own_size(network) in (None, (size, size)):
                raise
            raise size_error(network, size, error) from error
        check_one_each(self.tap_names, outputs, 1)
        return [output.shape[1] for output in outputs]

    @property
    def map_taps(self):
        """Indices of the flattened layers among all layers."""
        n_taps = len(self.widths)
        return list(range(n_taps - len(self.flattened_layers), n_taps))

    @property
    def tap_names(self):
        """Names of the layers, as features are named by them."""
        return [*self.layers, *(f"{name}_flat" for name in self.flattened_layers)] or ["features"]

    @property
    def map_names(self):
        """Names of the layers whose maps there are."""
        return list(dict.fromkeys(self.layers + self.flattened_layers)) or ["features"]

    def prepare(self, batch):
        """Images as they enter the network, (n, channels, image_size, image_size), float32."""
        return preprocess(received(batch), self.preprocessing, self.device)

    @property
    def _send(self):
        """What sends batches ahead, where there is one device to send them to."""
        far = self.device.type != "cpu" and len(self.devices) == 1
        return Sender(self.device).send if far else None

    def batches(self, source, batch_size, n_jobs=-1, verbose=False, sends=True):
        """Batches of images as they come, decoded ahead, no larger than is of use.

        Parameters
        ----------
        source : ImageSource
            Images, already validated.
        batch_size : int
        n_jobs : int, optional
            Threads that decode, as scikit-learn counts them.
        verbose : bool
            Show a progress bar.
        sends : bool
            Send them to the device ahead.

        Yields
        ------
        start : int
            Index of the first image of the batch.
        batch : Batch
            For `prepare`.
        """
        from tqdm import tqdm

        n_threads, detail = count_threads(n_jobs), self.preprocessing.detail
        batch_size = max(1, batch_size // self.views.n_tiles)
        with tqdm(
            total=len(source), desc="Extracting features", unit="image", disable=not verbose
        ) as progress:
            send = self._send if sends else None
            read = iterate_batches(source, batch_size, n_threads, detail, send)
            for start, batch in read:
                yield start, batch
                progress.update(len(batch))

    def each(self, batches, function):
        """What a function gives for each batch, in order, computed by all devices.

        Parameters
        ----------
        batches : iterable of (int, Batch)
        function : callable
            Maps a FittedNetwork, on any of the devices, and a batch to what is wanted.

        Yields
        ------
        start : int
        batch : Batch
        result : object
        """
        if len(self.devices) == 1 or self.in_training:
            for start, batch in batches:
                yield start, batch, function(self, batch)
            return
        yield from dealt_out(self.replicas, batches, function)

    @property
    def replicas(self):
        """One of these on each device, this one on the first."""
        if self._replicas is None:
            self._replicas = [self, *map(self._replica, self.devices[1:])]
        return self._replicas

    def _replica(self, device):
        other = self.copy()
        other.device, other.devices = device, [device]
        other.network = other.network.to(device)
        return other

    def features(self, images):
        """Features of prepared images, tensor of float32, shape (n, n_features)."""
        import torch

        parts = []
        for few in few_at_once(images):
            with torch.inference_mode(), same_arithmetic(few, self.network):
                parts.append(self.outputs(self._as_input(few)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def outputs(self, images):
        """Features of images that are in the network's `dtype`, in whatever mode torch is."""
        return self.views.first(images, lambda seen: (self._features(seen), []))[0]

    def maps(self, images):
        """Maps of the layers of prepared images, without averaging; see `map_names`.

        Returns
        -------
        maps : list of tensors of float32, shape (n, channels, height, width)
        """
        import torch

        with torch.inference_mode(), same_arithmetic(images, self.network):
            images = self._as_input(images)
            _, maps = self.views.all(images, lambda seen: (None, self._own_maps(seen)))
        check_one_each(self.map_names, maps, len(images))
        return maps

    def _own_maps(self, images):
        names = self.map_names
        if self.layers or self.flattened_layers:
            found = layer_outputs(self.network, images, names)
        else:
            whole = hasattr(self.network, "forward_features")
            found = [(last_map if whole else pooled_output)(self.network, images)]
        return [self._map_of(name, output) for name, output in zip(names, found)]

    def features_and_maps(self, images, layers):
        """Features of prepared images and maps of other layers, in one pass; float32 tensors.

        Only without layers of its own, which would end the pass too early.
        """
        import torch

        parts = []
        for few in few_at_once(images):
            with torch.inference_mode(), same_arithmetic(few, self.network):
                features, maps = self.outputs_and_maps(self._as_input(few), layers)
            check_one_each(layers, maps, len(few))
            parts.append((features, *maps))
        features, *maps = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts))
        return features, maps

    def outputs_and_maps(self, images, layers):
        """The same of images that are in the network's `dtype`, in whatever mode torch is."""
        return self.views.all(images, lambda seen: self._in_one_pass(seen, layers))

    def _in_one_pass(self, images, layers):
        with outputs_on_the_way(self.network, layers) as outputs:
            features = self._features(images)
        maps = [self._map_of(name, output) for name, output in zip(layers, outputs)]
        return features, [without_summary(one, self.network) for one in maps]

    @property
    def fingerprint(self):
        """All that decides the features of an image, as a string."""
        if self.in_training or self._fingerprint is None:
            self._fingerprint = network_fingerprint(self.network, self.backbone)
        layers = (self.layers or None, self.flattened_layers or None)
        recipe = (self._fingerprint, self.preprocessing, *layers, self.precision)
        if self.views.tiles:
            recipe += (self.views.tiles,)
        # The trained part of a network computes in float32 even where the rest does not.
        dtypes = [str(parameter.dtype) for parameter in self.network.parameters()]
        return repr(recipe if len(set(dtypes)) < 2 else (*recipe, dtypes))

    def copy(self):
        """A copy whose weights are its own, on the same device."""
        copied = copy.copy(self)
        copied.network, copied._fingerprint = copy.deepcopy(self.network), None
        copied._replicas = None
        return copied

    def _as_input(self, images):
        import torch

        return images.to(self.dtype, memory_format=torch.channels_last)

    def _features(self, images):
        import torch

        return torch.cat(self._taps(images), dim=1)

    def _taps(self, images):
        """Outputs of the layers, one float32 tensor of shape (n, width) for each."""
        names = list(dict.fromkeys(self.layers + self.flattened_layers))
        if not names:
            pooled = pooled_output(self.network, images, self.to_the_end)
            return [to_vector(pooled, self.network).float()]
        found = dict(zip(names, layer_outputs(self.network, images, names, self.to_the_end)))
        vectors = [to_vector(found[name], self.network) for name in self.layers]
        vectors += [found[name].flatten(1) for name in self.flattened_layers]
        return [vector.float() for vector in vectors]

    def _map_of(self, name, output):
        if name.endswith(":class_token") and output.ndim == 2:
            layer = name.removesuffix(":class_token")
            raise ValueError(
                f"layers: {name!r} is of the image as a whole and so has no map; {layer!r} gives "
                "that of the patch tokens."
            )
        try:
            return to_map(output, self.network).float()
        except ValueError as error:
            raise ValueError(f"layers: {name!r}: {error}") from error

    def __getstate__(self):
        """State with the network on the CPU, so that it can be loaded without its device."""
        state = vars(self).copy()
        views = state.pop("views")
        state.pop("_replicas", None)
        state.pop("devices", None)
        state |= {"tiles": views.tiles, "scales": views.scales}
        if state.pop("device").type != "cpu":
            state["network"] = copy.deepcopy(self.network).cpu()
        return state

    def __setstate__(self, state):
        # An earlier skad knew neither tiles nor scales.
        given = state.pop("tiles", None), state.pop("scales", (1.0,))
        vars(self).update(state)
        self.views = Views(self.network, self.preprocessing.image_size, *given)
        self.devices = move_loaded(self.network, str(self.device_name), "FeatureExtractor")
        self.device = self.devices[0]
        if str(self.device_name).partition(":")[0] not in ("auto", self.device.type):
            self.device_name = "auto"  # the device is missing here, which was told


def check_one_each(names, outputs, n_images):
    """Refuse layers that do not give one output for each image."""
    for name, output in zip(names, outputs):
        if len(output) != n_images:
            raise ValueError(
                f"layers: {name!r} gives {len(output)} outputs for {n_images} images (of windows, "
                "perhaps); name a layer that gives one for each."
            )
