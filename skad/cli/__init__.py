"""The command ``skad``; modules that verbs need are imported when they run."""

from ._main import main

__all__ = ["main"]
