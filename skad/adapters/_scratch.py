"""What adapters share that train a whole network, from random weights."""

from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ._base import BaseAdapter
from ._plans import epochs_of_few, from_scratch, steps_of_epochs


class ScratchAdapter(BaseAdapter):
    """Train a whole network, BatchNorm in training mode, by Adam."""

    def _default_extractor(self):
        return FeatureExtractor(cifar_resnet18, weights=None)

    def _plan(self, n_images, network):
        return from_scratch(self, self._n_steps(n_images))

    def _n_steps(self, n_images):
        """Steps of the optimiser."""
        n_epochs = self.n_epochs
        if n_epochs is None:
            n_epochs = epochs_of_few(self._published_epochs, n_images)
        return self.n_steps or steps_of_epochs(n_epochs, n_images, self.batch_size, fewest=2)
