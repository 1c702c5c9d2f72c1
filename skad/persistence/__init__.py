"""Model files: fitted estimators without pickle and without code."""

from ._archive import ModelFileError
from ._files import describe, load, save

__all__ = ["ModelFileError", "describe", "load", "save"]
