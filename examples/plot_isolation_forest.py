"""
In the place of IsolationForest
===============================

Code written for flat rows stays as it is: `DN2` takes the rows of digits, sees that they are
square images, and is fitted, scored, pickled and searched like `IsolationForest`.

These digits have 8 x 8 pixels, far fewer than the photographs that the network learned from.
Enlarged to its 64 pixels they are a blur, so a smaller `image_size` serves better here.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest

from skad import DN2
from skad.metrics import auroc_score

digits, labels = load_digits(return_X_y=True)
train, test = slice(None, 500), slice(1000, 1100)


def mean_auroc(detector):
    """Each digit is normal in turn, the other nine are anomalies."""
    figures = []
    for digit in range(10):
        normal = digits[train][labels[train] == digit]
        y_test = np.where(labels[test] == digit, 1, -1)
        figures.append(auroc_score(y_test, detector.fit(normal).decision_function(digits[test])))
    return np.mean(figures)


# %%
# The only line that differs
# --------------------------

for detector in (IsolationForest(random_state=0), DN2(), DN2(image_size=32)):
    print(f"{detector!r}: mean AUROC {mean_auroc(detector):.3f}")
