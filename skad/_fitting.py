"""Fit wholly or not at all, and by the parameters of the time."""

import copy
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


def twin(estimator):
    """Another estimator of the same state, which may learn more while the first stays as it is.

    Ours replace attributes when they learn, and so may share them until then; those of others may
    write into their arrays.
    """
    if not type(estimator).__module__.startswith("skad."):
        return copy.deepcopy(estimator)
    other = object.__new__(type(estimator))
    vars(other).update(vars(estimator))
    return other


def parameters_of(estimator):
    """The parameters of an estimator as they are now, which `set_params` will not change.

    What a fitted estimator computes follows those of its fit, whatever it was given since.
    """
    return SimpleNamespace(**estimator.get_params(deep=False))
