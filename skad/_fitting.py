"""Fit wholly or not at all, and to parameters that stay as they were."""

from contextlib import contextmanager
from types import SimpleNamespace


def parameters_of(estimator):
    """Parameters of an estimator by name, as they are now.

    What is fitted goes by these; parameters that are given later are for the next fit.
    """
    return SimpleNamespace(**estimator.get_params(deep=False))


@contextmanager
def unchanged_on_error(estimator):
    """Give an estimator the state back that it had, should what is done with it fail.

    A fit that breaks off, by an error or by the user, leaves an estimator unfitted, or fitted to
    what it was fitted to before; never in between.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
