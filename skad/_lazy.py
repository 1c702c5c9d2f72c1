"""Names of a room that are there when they are asked for, so that nobody waits for the others."""

import importlib
import sys


def lazy_names(package, homes):
    """What a package takes for its own ``__getattr__``, ``__dir__`` and ``__all__`` (PEP 562).

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : dict of str to str or None
        Public names, and the modules below the package that hold them; None for a module of that
        name itself.

    Returns
    -------
    getattr, dir : callable
    all : list of str
    """

    def lazy_getattr(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f".{homes[name] or name}", package)
        return module if homes[name] is None else getattr(module, name)

    def lazy_dir():
        return sorted({*vars(sys.modules[package]), *homes})

    return lazy_getattr, lazy_dir, list(homes)
