"""scikit-learn's own contract, with no expected failure."""

import functools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from skad import FeatureExtractor

from .instances import EXPECTED_FAILURES, INSTANCES, SMALL, SMALLEST, with_device


def one_by_one(method, X):
    return np.concatenate([method(X[i : i + 1]) for i in range(len(X))])


def in_other_order(method, X):
    return method(X[::-1])[::-1]


# These checks compare what the same images give in one company and in another.
COMPANIES = {
    "check_methods_subset_invariance": one_by_one,
    "check_methods_sample_order_invariance": in_other_order,
}


@functools.cache
def bits_depend_on(company):
    """Whether this processor computes an image otherwise in other company in a batch."""
    digits = load_digits().data[:20]
    for network in (SMALL, SMALLEST):
        transform = FeatureExtractor(**network).fit(digits).transform
        features, found = transform(digits), company(transform, digits)
        if not np.array_equal(found, features):
            return True
    # Logits are products of rows; those of one row alone agree within what the checks allow.
    head = np.random.RandomState(0).normal(size=(features.shape[1], 10)).astype(np.float32)
    logits = in_other_order(lambda X: X @ head, features)
    return company is in_other_order and not np.array_equal(logits, features @ head)


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
    company = COMPANIES.get(check.func.__name__) if has_network else None
    if company and (device != "cpu" or bits_depend_on(company)):
        pytest.skip("asks for the same bits in other company, which float32 may not give")
    check(estimator)


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda e: type(e).__name__)
def test_company_does_not_matter(instance):
    digits, labels = load_digits(return_X_y=True)
    estimator = clone(instance).fit(digits[labels == 0][:30])
    new = digits[100:120]
    for name in ("decision_function", "transform", "predict_proba"):
        if hasattr(estimator, name):
            method = getattr(estimator, name)
            together = method(new)
            scale = np.abs(together).max()
            for company in COMPANIES.values():
                found = company(method, new)
                np.testing.assert_allclose(found, together, rtol=1e-4, atol=1e-4 * scale)
