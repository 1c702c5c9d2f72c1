"""Batches on their way to a device, while it computes what came before."""

from ..images._batches import Batch


class Sender:
    """Send batches ahead, on a stream of their own, from the thread that reads them.

    Parameters
    ----------
    device : torch.device
        For the CPU, and devices without streams, batches stay where they are.
    """

    def __init__(self, device):
        import torch

        self.device, self._stream = device, None
        module = None if device.type == "cpu" else torch.get_device_module(device)
        if hasattr(module, "Stream") and hasattr(module, "current_stream"):
            self._module, self._stream = module, module.Stream(device)

    def send(self, batch):
        """The batch on its way; `received` waits for it.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        batch : Batch
        """
        if self._stream is None:
            return batch
        with self._module.stream(self._stream):
            if isinstance(batch.pixels, list):
                pixels = [self._moved(image) for image in batch.pixels]
            else:
                pixels = self._moved(batch.pixels)
            event = self._stream.record_event()
        sent = Batch(pixels, batch.origins)
        sent.sender, sent.event = self, event
        return sent

    def _moved(self, pixels):
        # From pinned memory the device fetches it by itself, while this thread goes on.
        pixels = pixels.pin_memory() if self.device.type == "cuda" else pixels
        return pixels.to(self.device, non_blocking=True)

    def wait_for(self, batch):
        """Let the device's computing wait for a batch, which this thread does not."""
        stream = self._module.current_stream(self.device)
        stream.wait_event(batch.event)
        for pixels in batch.pixels if isinstance(batch.pixels, list) else [batch.pixels]:
            pixels.record_stream(stream)  # its memory is not given to others before


def received(batch):
    """A batch that may be computed with, whether it was sent or not."""
    sender = getattr(batch, "sender", None)
    if sender is not None:
        sender.wait_for(batch)
        batch.sender = None
    return batch
