"""Task: what is trained, what is carried along, and the loss of a step."""

from contextlib import contextmanager

import torch


class Task(torch.nn.Module):
    """One training. Its parameters that need a gradient are trained, its buffers carried along.

    A subclass adds modules, parameters and buffers, and gives `loss`. Everything of torch's own
    holds for it: ``to``, ``train``, ``eval``; the state of a training is its ``state_dict``, less
    what is frozen. What a subclass takes beside `start` as `settings` is its adapter, whose
    parameters it reads.

    Parameters
    ----------
    start : Start
        What the training begins with.

    Attributes
    ----------
    network : torch.nn.Module
        The network of `start`, whose frozen stages need no gradient.
    images : TrainingImages
    metrics : tuple of {"cosine", "euclidean"}
        By which its features are compared, first of all the first.
    """

    metrics = ("cosine",)

    def __init__(self, start):
        super().__init__()
        self.start, self.cut, self.images = start, start.cut, start.images
        self.network = start.cut.network

    def loss(self, step):
        """Loss of a step, a scalar tensor; None for a step that there is nothing to learn in."""
        raise NotImplementedError

    def after_step(self, step):
        """What is to be done when the optimiser has taken a step, their number being `step`.

        Training ends if this gives True.
        """

    @contextmanager
    def kept(self):
        """Context in which the network is what it would be if training ended here."""
        yield

    def measures(self):
        """Further measures for `training_curve_`, a dict of str to float."""
        return {}

    def identity(self):
        """What decides the training beside parameters, weights and images; has a short repr."""
        return []

    def features(self, images):
        """Features (n, n_features) of images ready for the network, with gradients."""
        return self.cut.trained_part(self.cut.frozen_part(images))

    def full_precision(self):
        """Context without mixed precision, for what is no network: views, products of a loss."""
        return torch.autocast(self.start.device.type, enabled=False)

    @property
    def trained(self):
        """Parameters that are trained, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def state(self):
        """A copy of all values that change."""
        return {name: value.detach().clone() for name, value in self._changing().items()}

    def restore(self, state):
        """Give them other values."""
        changing = self._changing()
        with torch.no_grad():
            for name, value in changing.items():
                value.copy_(state[name])

    def _changing(self):
        """Values of ``state_dict`` but for frozen parameters of the network and copies of it."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.partition("network.")[2] not in self.cut.frozen_names
        }
