"""What galleries are filled with: maps of training images, looked at once or several times."""

from ..augment import rotate
from ..parallel._backend import inside_a_worker


class Looking:
    """Features and maps of training images, by this process or by workers.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted.
    layers : list of str
        Whose maps there are.
    looks : callable
        Gives a list of what is seen of prepared images; it can be pickled.
    """

    def __init__(self, extractor, layers, looks):
        self.extractor, self.layers, self.looks = extractor, layers, looks

    def looks_at_block(self, source):
        """Number of the look, features and maps for each look at each batch, one after another."""
        looks = self._each(source)
        if not inside_a_worker():
            return looks
        return [(i, pooled.cpu(), [one.cpu() for one in maps]) for i, pooled, maps in looks]

    def _each(self, source):
        fitted, batches = self.extractor.fitted_network_, self.extractor.batches(source)
        for *_, found in fitted.each(batches, self._look):
            for index, (pooled, maps) in enumerate(found):
                yield index, pooled, [one.to(fitted.device) for one in maps]

    def _look(self, fitted, batch):
        looks = self.looks(fitted.prepare(batch))
        return [fitted.features_and_maps(images, self.layers) for images in looks]


def features_and_maps(layers, fitted, batch):
    """Features and maps of a batch, by a network on any device."""
    return fitted.features_and_maps(fitted.prepare(batch), layers)


def as_they_are(images):
    """One look."""
    return [images]


def turned(n_rotations, images):
    """So many looks, by equal parts of a full turn."""
    return [rotate(images, 360 * turn / n_rotations) for turn in range(n_rotations)]
