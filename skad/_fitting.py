"""Fit wholly or not at all."""

from contextlib import contextmanager


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
