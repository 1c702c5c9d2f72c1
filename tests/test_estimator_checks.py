"""scikit-learn's own contract, with no expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from .instances import EXPECTED_FAILURES, INSTANCES


# The checks pass classes and numbers as y, which skad says it ignores.
@pytest.mark.filterwarnings("ignore:.*so y is ignored:UserWarning")
@parametrize_with_checks(
    INSTANCES, expected_failed_checks=lambda e: EXPECTED_FAILURES.get(type(e).__name__, {})
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)
