"""Model files: fitted estimators without pickle, and without code."""

from ._files import describe, load, save

__all__ = ["describe", "load", "save"]
