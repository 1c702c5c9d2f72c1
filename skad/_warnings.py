"""Warnings that point at the user's line, not into the package."""

import os
import sys
import warnings

import joblib
import sklearn

# Folders of what stands between the user's line and the cause: skad, what wraps its methods, and
# what calls them in a search.
_PASSED_THROUGH = tuple(
    os.path.join(os.path.dirname(file), "")
    for file in (__file__, sklearn.__file__, joblib.__file__)
)


def warn(message, category=UserWarning):
    """Warn of something, in the name of the first line outside of skad that led here.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename.startswith(_PASSED_THROUGH) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
