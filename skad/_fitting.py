"""Fit wholly or not at all, and by the parameters of the time."""

from contextlib import contextmanager
from types import SimpleNamespace


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


def parameters_of(estimator):
    """The parameters of an estimator as they are now, which `set_params` will not change.

    What a fitted estimator computes follows those of its fit, whatever it was given since.
    """
    return SimpleNamespace(**estimator.get_params(deep=False))
