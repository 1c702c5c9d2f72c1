"""scikit-learn's own contract, with no expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from .instances import EXPECTED_FAILURES, INSTANCES, with_device


# The checks pass classes and numbers as y, which skad says it ignores, and noise to be clustered.
@pytest.mark.filterwarnings("ignore:.*so y is ignored:UserWarning")
@pytest.mark.filterwarnings("ignore:.*images ended in one of:UserWarning")
@pytest.mark.filterwarnings("ignore:.*clusters have no images:UserWarning")
@parametrize_with_checks(
    INSTANCES, expected_failed_checks=lambda e: EXPECTED_FAILURES.get(type(e).__name__, {})
)
def test_scikit_learn_contract(estimator, check, request):
    device = request.config.getoption("--device")
    alone = check.func.__name__ == "check_methods_subset_invariance"
    if alone and device != "cpu" and with_device(estimator, device) is not None:
        pytest.skip(f"asks for seven digits alone and in a batch, which {device} does not promise")
    check(estimator)
