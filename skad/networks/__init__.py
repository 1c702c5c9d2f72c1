"""Networks: recipes, what each expects of images, its features, maps and stages."""

from ._device import DeviceWarning

__all__ = ["DeviceWarning"]
