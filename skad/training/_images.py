"""The images of a training: batches by step, what enters the trained part for each, views."""

import hashlib
from functools import partial

import numpy as np

from .._random import torch_stream
from ..images._batches import Batch, count_threads, iterate_batches, read_all
from ..networks._preprocessing import normalize
from ..networks._transfer import Sender, received
from ._order import BatchSampler


class TrainingImages:
    """Images for training, and the features of each batch, with gradients.

    What enters the trained part of the network never changes for an image that is not augmented. It
    is kept, as far as the memory limit goes, and computed again for the images beyond.

    Parameters
    ----------
    cut : CutNetwork
    source : ImageSource
        Images, already validated.
    batch_size : int
    n_steps : int
        Those of the training; no images are read for later ones.
    seed : int
        Decides the order of the images, and their augmentation.
    held_out : sequence of int
        Images that are not trained with.
    memory_limit : float
        Most MiB for what is kept.
    reader : concurrent.futures.Executor
        The one thread that reads images, as data sets may hold state that two would share.
    fewest : int
        Least number of images in a batch.
    together : int
        Images that go through the network together where it is not a step that asks for them.
    n_jobs : int, optional
        Threads that decode files.
    digests : bool
        Whether the digests of the images will be asked for.
    """

    def __init__(
        self,
        cut,
        source,
        *,
        batch_size,
        n_steps,
        seed,
        memory_limit,
        reader,
        held_out=(),
        fewest=1,
        together=64,
        n_jobs=-1,
        digests=False,
    ):
        self.cut, self.source, self.seed = cut, source, seed
        self.fitted, self.together, self.n_steps = cut.fitted, together, n_steps
        self.sampler = BatchSampler(len(source), batch_size, seed, fewest, held_out)
        self.memory_limit = memory_limit
        self.n_threads = count_threads(n_jobs)
        self.detail, self._augmentation = cut.fitted.preprocessing.detail, None
        self._kept, self._ahead, self._spans = None, None, []
        self._decoded, self._decoded_bytes = {}, 0
        self._digests, self._keys, self._augments = digests, None, False
        self._reader, self._sender = reader, Sender(cut.fitted.device)

    def __len__(self):
        return len(self.source)

    @property
    def kept_memory(self):
        """MiB of what is kept."""
        kept = self._kept
        n_bytes = 0 if kept is None else kept.numel() * kept.element_size()
        return (n_bytes + self._decoded_bytes) / 2**20

    @property
    def keys(self):
        """A digest of the pixels of each image."""
        if self._keys is None:
            self._keys = [_key(image) for _, batch in self._batches() for image in batch]
        return self._keys

    def first_features(self, *, keep=True):
        """Features (n, n_features) of all images before training; to be called first.

        Parameters
        ----------
        keep : bool
            Keep what enters the trained part; else, of images that were decoded, their pixels.
        """
        import torch

        keys, found, self._augments = [], [], not keep
        for start, batch in self._batches():
            if self._digests:
                keys += [_key(image) for image in batch]
            hidden = self._frozen_part(batch)
            self._keep(start, hidden, keep)
            if not keep:
                self._keep_decoded(np.arange(start, start + len(batch)), batch)
            with torch.no_grad():
                found.append(self.cut.trained_part(hidden))
        self._keys = keys if self._digests else None
        return torch.cat(found)

    def _batches(self):
        return iterate_batches(self.source, self.together, self.n_threads, self.detail)

    def see_views(self, augmentation):
        """Read images from now on in all the detail that their views can use, and no more.

        An augmentation says by a method `detail` what height and width do for an image of some
        height and width; without one, its images are whole.
        """
        if augmentation is None or augmentation is self._augmentation:
            return
        of_images = self.fitted.preprocessing.detail
        of_views = getattr(augmentation, "detail", None)

        def detail(height, width):
            return tuple(map(max, of_views(height, width), of_images(height, width)))

        self.detail, self._augmentation = detail if of_views else None, augmentation
        self._ahead = None

    def _keep(self, start, hidden, keep):
        if self._kept is None:
            of_each = hidden[0].numel() * hidden.element_size()
            most = min(len(self), int(self.memory_limit * 2**20 / of_each)) if keep else 0
            self._kept = hidden.new_empty((most, *hidden.shape[1:]))
        room = max(0, min(len(hidden), len(self._kept) - start))
        self._kept[start : start + room] = hidden[:room]

    def _frozen_part(self, batch):
        return self.cut.frozen_part(self.fitted.prepare(batch))

    def batch(self, step):
        """Features of the images of a step, with gradients."""
        return self.cut.trained_part(self.hidden_batch(step))

    def hidden_batch(self, step):
        """What enters the trained part for the images of a step: the images, if all is trained."""
        import torch

        indices = self.sampler(step)
        is_kept = indices < len(self._kept)
        kept = self._kept[self._on_device(indices[is_kept])]
        if is_kept.all():
            return kept
        new = self._frozen_part(self._read_ahead(step, self._not_kept))
        # In the order of the step: labels and dropout go by indices in the batch.
        order = np.argsort(~is_kept, kind="stable").argsort()
        return torch.cat([kept, new])[self._on_device(order)]

    def order(self, step):
        """Places of the images of a step in the order of `batch`, tensor of int."""
        return self._on_device(self.sampler(step))

    def _on_device(self, indices):
        """Indices as a tensor, which the device need not be waited for."""
        import torch

        return torch.from_numpy(indices).to(self._kept.device, non_blocking=True)

    def hidden(self, indices):
        """What enters the trained part for the images at these indices."""
        import torch

        if indices.max() < len(self._kept):
            return self._kept[self._on_device(indices)]
        size = self.together
        starts = range(0, len(indices), size)
        read = partial(self._reader.submit, self._read)
        return torch.cat([self._frozen_part(read(indices[i : i + size]).result()) for i in starts])

    def _not_kept(self, step):
        indices = self.sampler(step)
        return indices[indices >= len(self._kept)]

    def views(self, step, augmentation):
        """Features of two random views of each image of a step, with gradients."""
        images = self.view_images(step, augmentation)
        return self.cut.trained_part(self.cut.frozen_part(images)).chunk(2)

    def view_images(self, step, augmentation, n_turns=1):
        """Two random views of each image of a step, ready for the network, (2 n, ...).

        With `n_turns` of four, each image also stands in the batch turned by 90, 180 and 270
        degrees, as an image of its own with views of its own.
        """
        self.see_views(augmentation)
        return self._views(self._read_ahead(step, self.sampler), step, augmentation, n_turns, 2)

    def view_of_each(self, step, augmentation):
        """One random view of each image of a step, ready for the network."""
        self.see_views(augmentation)
        return self._views(self._read_ahead(step, self.sampler), step, augmentation)

    def image_and_view(self, step, augmentation):
        """The images of a step as they are, and a random view of each, ready for the network."""
        self.see_views(augmentation)
        batch = self._read_ahead(step, self.sampler)
        return self.fitted.prepare(batch), self._views(batch, step, augmentation)

    def paired_views(self, step, augmentation, partners):
        """A random view of each image of a step and one of its partner's, (2 n, ...).

        `partners` maps a step and the indices of its images to those of their partners.
        """
        self.see_views(augmentation)
        batch = self._read_ahead(step, lambda number: self._with_partners(number, partners))
        return self._views(batch, step, augmentation)

    def paired_hidden(self, step, partners):
        """What enters the trained part for the images of a step and their partners, (2 n, ...)."""
        return self.hidden(self._with_partners(step, partners))

    def _with_partners(self, step, partners):
        indices = self.sampler(step)
        return np.concatenate([indices, partners(step, indices)])

    def _views(self, batch, step, augmentation, n_turns=1, n_views=1):
        import torch

        batch = received(batch).pixels
        generator = torch_stream(self.seed, "views", step)
        device = self.fitted.device
        if n_turns > 1 and not isinstance(batch, list) and batch.shape[-1] != batch.shape[-2]:
            batch = list(batch)  # turned, they have another shape
        if isinstance(batch, list):
            colors = max(len(image) for image in batch)
            batch = [image.to(device).expand(colors, -1, -1) for image in batch]
            batch = [image.rot90(k, (1, 2)) for k in range(n_turns) for image in batch]
            batch *= n_views
        else:
            batch = batch.to(device, non_blocking=True)
            batch = torch.cat([batch.rot90(k, (2, 3)) for k in range(n_turns)] * n_views)
        views = augmentation(batch, generator)
        self._check_views(views, len(batch))
        return normalize(views, self.fitted.preprocessing)

    def _check_views(self, views, n_images):
        """Refuse views of another form; values are looked at when the device is waited for."""
        size = self.fitted.preprocessing.image_size
        shape = tuple(getattr(views, "shape", ()))
        if not (len(shape) == 4 and shape[0] == n_images and shape[2:] == (size, size)):
            raise self._wrong_views(n_images, type(views).__name__, shape)
        self._spans.append((shape, views.amin(), views.amax()))
        if views.device.type == "cpu":
            self.check_views()

    def check_views(self):
        """Refuse views since the last look whose values are out of bounds."""
        import torch

        spans, self._spans = self._spans, []
        if not spans:
            return
        values = torch.stack([value for _, *span in spans for value in span]).view(-1, 2)
        for (shape, *_), (low, high) in zip(spans, values.tolist()):
            if low < -1e-3 or high > 1 + 1e-3:
                raise self._wrong_views(shape[0], "Tensor", shape, f" from {low:g} to {high:g}")

    def _wrong_views(self, n_images, kind, shape, span=""):
        size = self.fitted.preprocessing.image_size
        return ValueError(
            f"augmentation must give one view of each of {n_images} images, ({n_images}, "
            f"channels, {size}, {size}), with values in [0, 1]; got {kind} of shape {shape}{span}."
        )

    def _read_ahead(self, step, indices_of):
        """Images of a step, while those of the next one are read in the background."""
        number, ahead = self._ahead or (None, None)
        if number != step:
            ahead = self._reader.submit(self._read_and_send, indices_of(step))
        batch = ahead.result()
        following = indices_of(step + 1) if step + 1 < self.n_steps else ()
        if len(following):
            self._ahead = (step + 1, self._reader.submit(self._read_and_send, following))
        return batch

    def _read_and_send(self, indices):
        return self._sender.send(self._read(indices))

    def _read(self, indices):
        new = np.array([index for index in indices if index not in self._decoded], dtype=int)
        if len(new) == len(indices):
            read = read_all(self.source.take(indices), self.n_threads, self.detail)
            self._keep_decoded(indices, read)
            return read
        found = dict(self._decoded)
        if len(new):
            read = read_all(self.source.take(new), self.n_threads, self.detail)
            self._keep_decoded(new, read)
            found |= zip(new.tolist(), zip(read.pixels, read.origins))
        return Batch(*map(list, zip(*(found[index] for index in indices.tolist()))))

    def _keep_decoded(self, indices, batch):
        """Keep pixels that had to be decoded, of images that are augmented, as far as may be."""
        if not isinstance(batch.pixels, list):
            return
        for index, image, origin in zip(indices.tolist(), batch.pixels, batch.origins):
            if self._augmentation is None and (not self._augments or origin is not None):
                continue  # reduced to less than views may want
            if self._decoded_bytes + image.nbytes > self.memory_limit * 2**20:
                return
            if index not in self._decoded:
                self._decoded[index] = (image, origin)
                self._decoded_bytes += image.nbytes


def _key(image):
    """Digest of an image's pixels, whatever type they have."""
    import torch

    steps = 257 if image.dtype == torch.uint8 else 65535  # of 16 bits, for all
    image = image.to(torch.float32).mul(steps).round_().to(torch.int32)
    shape = repr(tuple(image.shape)).encode()
    return hashlib.blake2b(image.contiguous().numpy(), digest_size=16, key=shape).digest()
