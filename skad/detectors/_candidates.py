"""What AutoDetector chooses from where nothing is said."""

from ..features import FeatureExtractor
from ..scorers import GaussianScorer
from ._dn2 import DN2
from ._image import ImageDetector
from ._msc import MSC
from ._padim import PaDiM
from ._panda import PANDA
from ._patch_core import PatchCore
from ._spade import SPADE

# Parameters that candidates take from the search.
_SHARED = (
    *("device", "image_shape", "orientation", "decode", "value_range", "n_jobs", "random_state"),
)


def fast(search):
    """Frozen networks: layers, metrics, sizes, Gaussians, maps.

    Parameters
    ----------
    search : AutoDetector
        Gives what is shared: device, reading, seed.

    Returns
    -------
    makers : dict of str to callable
        What gives each candidate, by name; the first is the one to fall back on.
    """
    late, all_late = ["layer3", "layer4"], ["layer2", "layer3", "layer4"]
    whitened = {"metric": "mahalanobis_cosine"}
    return {
        **_of(search, DN2),
        **_of(search, DN2, metric="cosine"),
        **_of(search, DN2, metric="euclidean"),
        **_of(search, DN2, **whitened, layers=["layer3"]),
        **_of(search, DN2, **whitened, layers=late),
        **_of(search, DN2, **whitened, layers=all_late),
        **_gaussian(search),
        **_gaussian(search, layers=all_late),
        **_of(search, DN2, **whitened, image_size=96),
        **_of(search, DN2, **whitened, image_size=96, layers=late),
        **_of(search, PaDiM, backbone="tiny-dense", image_size=64),
        **_of(search, PatchCore, backbone="tiny-dense", image_size=64),
        **_of(search, PaDiM, backbone="tiny-dense", image_size=128),
        **_of(search, PatchCore, backbone="tiny-dense", image_size=128),
    }


def thorough(search):
    """What `fast` tries, larger galleries of maps, and trained networks.

    Parameters
    ----------
    search : AutoDetector

    Returns
    -------
    makers : dict of str to callable
    """
    return {
        **fast(search),
        **_of(search, PatchCore, backbone="tiny-dense", image_size=128, coreset_share=0.1),
        **_of(search, PatchCore, backbone="tiny-dense", image_size=192),
        **_of(search, PaDiM, backbone="tiny-dense", image_size=192, n_dimensions=200),
        **_of(search, SPADE, backbone="tiny-dense", image_size=128, coreset_share=0.25),
        **_of(search, PANDA),
        **_of(search, MSC),
    }


PRESETS = {"fast": fast, "thorough": thorough}


def _of(search, detector, **parameters):
    """A detector of some parameters, named as one writes it."""
    given = ", ".join(f"{name}={value!r}" for name, value in parameters.items())

    def make():
        return detector(**_shared(search, detector), **parameters)

    return {f"{detector.__name__}({given})": make}


def _gaussian(search, layers=None):
    """A Gaussian of the features of some layers."""
    given = "" if layers is None else f"layers={layers!r}"

    def make():
        extractor = FeatureExtractor(layers=layers, **_shared(search, FeatureExtractor))
        return ImageDetector(extractor, scorer=GaussianScorer(normalize=layers is not None))

    return {f"ImageDetector(FeatureExtractor({given}), GaussianScorer)": make}


def _shared(search, estimator):
    """Those parameters of the search that an estimator has."""
    own = estimator().get_params(deep=False)
    return {name: getattr(search, name) for name in _SHARED if name in own}
