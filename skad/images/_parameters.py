"""Parameters of what reads images."""

from numbers import Integral

from .._compat import Interval, StrOptions
from .._parameters import ParameterGroup, parameter


class ReadingParameters(ParameterGroup):
    """How images are read."""

    image_shape: tuple | None = parameter(
        default=None,
        limits=["array-like", None],
        kind="tuple of int",
        text="Shape of each image where `X` has flat rows: (height, width), (height, width, "
        "channels) or (channels, height, width). By default rows are square images, or strips "
        "one pixel high if they cannot be.",
    )
    orientation: str = parameter(
        default="apply",
        limits=[StrOptions({"apply", "ignore"})],
        text='"apply": turn files and PIL images upright by their EXIF data, as viewers show them. '
        '"ignore": take the pixels as they are in the file, for networks that were trained on '
        "such images.",
    )
    decode: str = parameter(
        default="exact",
        limits=[StrOptions({"exact", "draft"})],
        text='"exact" decodes files in full. "draft" decodes JPEG files that are much larger than '
        "the network's input at a half, a quarter or an eighth of their size, which is "
        "faster. The pixels differ a little, so use the same value to fit and to score.",
    )
    value_range: int | tuple | None = parameter(
        default=None,
        limits=[Interval(Integral, 1, 32, closed="both"), "array-like", None],
        kind="int or tuple of float",
        text="Values that become black and white: a pair, or a number of bits for cameras that "
        "store 10, 12 or 14 bits in 16 (12 means (0, 4095)). By default (0, 255) for 8 bits, "
        "(0, 65535) for 16 bits and (0, 1) for floats.",
    )


class ThreadParameters(ParameterGroup):
    """How many at once."""

    n_jobs: int | None = parameter(
        default=-1,
        limits=[Integral, None],
        text="Threads that decode image files. -1 takes one for each core. None takes one, or as "
        "many as ``joblib.parallel_config`` sets, as in scikit-learn.",
    )
