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
        text="Shape of the image in flat rows: (height, width), (height, width, channels) or "
        "(channels, height, width); by default squares, or strips one pixel high.",
    )
    orientation: str = parameter(
        default="apply",
        limits=[StrOptions({"apply", "ignore"})],
        text='"apply": files and PIL images are turned upright, as their EXIF data say and viewers '
        'show them; "ignore": they are taken as they lie in the file, for networks that were '
        "trained so.",
    )
    decode: str = parameter(
        default="exact",
        limits=[StrOptions({"exact", "draft"})],
        text='"draft": JPEG files much larger than the network sees them are decoded at a half, a '
        "quarter or an eighth of their size, in less time; other pixels, so fit and score by the "
        "same.",
    )
    value_range: int | tuple | None = parameter(
        default=None,
        limits=[Interval(Integral, 1, 32, closed="both"), "array-like", None],
        kind="int or tuple of float",
        text="Values that become black and white: a pair, or a number of bits (12 for (0, 4095)) "
        "for cameras that put 10, 12 or 14 bits into 16. By default 0 and 255 for 8 bits, 0 and "
        "65535 for 16, 0 and 1 for floats.",
    )


class ThreadParameters(ParameterGroup):
    """How many at once."""

    n_jobs: int | None = parameter(
        default=-1,
        limits=[Integral, None],
        text="Threads that decode image files: -1 for one on each core (default), None for one, or "
        "as many as ``joblib.parallel_config`` says, as in scikit-learn.",
    )
