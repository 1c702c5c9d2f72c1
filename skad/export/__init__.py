"""Detectors as one graph that runs without skad, and without Python if need be."""

from ._formats import to_onnx, to_torch
from ._parts import ExportError

__all__ = ["ExportError", "to_onnx", "to_torch"]
