"""What adapters share that train a whole network, from random weights."""

from ..backbones import cifar_resnet18
from ..features import FeatureExtractor
from ._base import BaseAdapter
from ._plans import from_scratch, steps_of_epochs


class ScratchAdapter(BaseAdapter):
    """Train a whole network, BatchNorm in training mode, by Adam."""

    def _default_extractor(self):
        return FeatureExtractor(cifar_resnet18, weights=None)

    def _plan(self, n_images):
        return from_scratch(self, self._n_steps(n_images))

    def _n_steps(self, n_images):
        """Steps of the optimiser."""
        epochs = steps_of_epochs(self.n_epochs, n_images, self.batch_size, fewest=2)
        return self.n_steps or epochs
