"""What AutoDetector chooses from where nothing is said."""

from ._dn2 import DN2

# Parameters that candidates take from the search.
_SHARED = (
    *("device", "image_shape", "orientation", "decode", "value_range", "n_jobs", "random_state"),
)


def fast(search):
    """Frozen networks."""
    return _makers(search, {"DN2()": DN2()})


PRESETS = {"fast": fast, "thorough": fast}


def _makers(search, detectors):
    """What gives each of some detectors, with parameters of the search."""
    shared = {name: getattr(search, name) for name in _SHARED}

    def make(detector):
        own = detector.get_params(deep=False)
        given = {name: value for name, value in shared.items() if name in own}
        return type(detector)(**own | given)

    return {name: (lambda d=detector: make(d)) for name, detector in detectors.items()}
