"""What every display shares: axes to draw into, and the colours of the two kinds."""

# Blue and red that differ in lightness too, so that they can be told apart without colour vision.
NORMAL, ANOMALY, NEUTRAL = "tab:blue", "tab:red", "0.65"


def require_matplotlib(owner):
    """Say early and clearly that matplotlib is missing.

    Parameters
    ----------
    owner : str
        Named in the error.

    Raises
    ------
    ImportError
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{owner} draws with matplotlib, which is not installed; "
            'install it: pip install "skad[plot]"'
        ) from error


class AxesMixin:
    """`ax_` and `figure_` of a display."""

    def _set_axes(self, ax, size=None):
        """Take the axes given, else those of a new figure of `size` inches."""
        owner = f"{type(self).__name__}.plot"
        require_matplotlib(owner)
        from matplotlib.axes import Axes

        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=size, layout="constrained")
        elif not isinstance(ax, Axes):
            raise TypeError(
                f"{owner}: ax must be one matplotlib Axes or None; got {type(ax).__name__}. "
                "Pick one of several, for example axes[0]."
            )
        self.ax_, self.figure_ = ax, ax.figure


def two_kinds(outlier, neutral_name):
    """Name, colour and rows of what is drawn alike: the two kinds, or all without labels.

    Parameters
    ----------
    outlier : ndarray of bool, shape (n_samples,), or None
    neutral_name : str
        What to call samples without labels.

    Returns
    -------
    kinds : list of (str, str, index)
    """
    if outlier is None:
        return [(neutral_name, NORMAL, slice(None))]
    return [("normal", NORMAL, ~outlier), ("anomaly", ANOMALY, outlier)]
