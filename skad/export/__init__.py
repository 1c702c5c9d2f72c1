"""Detectors as one graph, for ONNX Runtime or torch: it runs without skad."""

from ._formats import to_onnx, to_torch
from ._parts import ExportError

__all__ = ["ExportError", "to_onnx", "to_torch"]
