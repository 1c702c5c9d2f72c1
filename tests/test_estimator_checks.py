"""scikit-learn's own contract, with no expected failure."""

import functools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from skad import FeatureExtractor

from .instances import EXPECTED_FAILURES, INSTANCES, SMALL, SMALLEST, with_device

# Checks that compare to seven digits, or without a tolerance for scores near zero, what an image
# gives in other company.
OF_COMPANY = {"check_methods_subset_invariance", "check_methods_sample_order_invariance"}


@functools.cache
def bits_depend_on_company():
    """Whether this processor computes an image otherwise alone, or at another place of a batch."""
    digits = load_digits().data[:20]
    for network in (SMALL, SMALLEST):
        extractor = FeatureExtractor(**network).fit(digits)
        together = extractor.transform(digits)
        alone = np.concatenate([extractor.transform(digits[i : i + 1]) for i in range(20)])
        turned = extractor.transform(digits[::-1])[::-1]
        if not (np.array_equal(alone, together) and np.array_equal(turned, together)):
            return True
    return False


# The checks pass classes and numbers as y, which skad says it ignores, and noise to be clustered.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*so y is ignored:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*images ended in one of:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*clusters have no images:UserWarning"),
    pytest.mark.filterwarnings("ignore:The covariance matrix associated:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*features of normal images collapsed:UserWarning"),
]


@parametrize_with_checks(
    INSTANCES, expected_failed_checks=lambda e: EXPECTED_FAILURES.get(type(e).__name__, {})
)
def test_scikit_learn_contract(estimator, check, request):
    device = request.config.getoption("--device")
    has_network = with_device(estimator, device) is not None
    of_company = check.func.__name__ in OF_COMPANY
    if of_company and has_network and (device != "cpu" or bits_depend_on_company()):
        pytest.skip("asks for seven digits in other company, which float32 may not give")
    check(estimator)


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda e: type(e).__name__)
def test_company_does_not_matter(instance):
    digits, labels = load_digits(return_X_y=True)
    estimator = clone(instance).fit(digits[labels == 0][:30])
    new = digits[100:120]
    for method in ("decision_function", "transform", "predict_proba"):
        if hasattr(estimator, method):
            together = getattr(estimator, method)(new)
            alone = np.concatenate([getattr(estimator, method)(new[i : i + 1]) for i in range(20)])
            turned = getattr(estimator, method)(new[::-1])[::-1]
            close = {"rtol": 1e-4, "atol": 1e-4 * np.abs(together).max()}
            np.testing.assert_allclose(alone, together, **close)
            np.testing.assert_allclose(turned, together, **close)
