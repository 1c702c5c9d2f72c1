"""Reports: one HTML file that shows scored pictures to whoever decides on them."""

from ._write import write_report

__all__ = ["write_report"]
