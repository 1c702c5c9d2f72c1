"""A page on pictures, for who has to decide by it: one file, nothing from elsewhere."""

from ._write import write_report

__all__ = ["write_report"]
