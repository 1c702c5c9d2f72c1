"""Fit wholly or not at all, and by the parameters of the time."""

import copy
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

from sklearn import get_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator


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


def fitted_copy(estimator, source, task=None, **auxiliary):
    """A clone, fitted to a source; of a frozen estimator, which is fitted, a copy to go on from.

    Parameters
    ----------
    estimator : FeatureExtractor, adapter or FrozenEstimator
    source : ImageSource
        Images, already validated.
    task : FitTask, optional
        The fit that this is a part of.
    **auxiliary
        What its `fit_source` takes besides.
    """
    if isinstance(estimator, FrozenEstimator):
        return copy.deepcopy(estimator.estimator)
    estimator = clone(estimator)
    if not get_config()["skip_parameter_validation"]:
        estimator._validate_params()
    with nullcontext() if task is None else task.part("features", estimator):
        return estimator.fit_source(source, **auxiliary)
