"""What every factory does: check its numbers, say what images the network takes."""

from numbers import Integral


def check_numbers(owner, **numbers):
    """Refuse what is no positive whole number."""
    for name, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{owner}: {name} must be a positive whole number; got {value!r}.")


def check_size(owner, image_size, least=8):
    """Refuse images that are too small for the poolings."""
    check_numbers(owner, image_size=image_size)
    if image_size < least:
        raise ValueError(f"{owner}: image_size must be at least {least}; got {image_size}.")


def with_metadata(network, n_channels, image_size, std=0.25):
    """A network that says what images it takes; by default nearly CIFAR-10's mean and deviation."""
    network.pretrained_cfg = {
        "input_size": (n_channels, image_size, image_size),
        "mean": (0.5,) * n_channels,
        "std": (std,) * n_channels,
        "crop_pct": 1.0,  # the whole image
    }
    return network
