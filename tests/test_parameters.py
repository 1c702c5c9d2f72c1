"""Parameters: written once, true in signatures, limits and docstrings."""

import inspect
import pickle
import re
from dataclasses import fields, is_dataclass

import pytest
from sklearn.base import BaseEstimator, clone

import skad
from skad import adapters, clusterers, detectors
from skad._parameters import POSITIVE, ParameterGroup, changed, parameter

PUBLIC = [getattr(skad, name) for name in skad.__all__]
ESTIMATORS = [one for one in PUBLIC if inspect.isclass(one) and issubclass(one, BaseEstimator)]
DECLARED = [one for one in ESTIMATORS if is_dataclass(one)]


def entries_of(doc, section):
    """Entries of a section of a docstring: name to what follows its colon."""
    text = re.search(rf"^{section}\n-+\n(.*?)(?=^[A-Z][A-Za-z ]+\n---|\Z)", doc, re.M | re.S)[1]
    return dict(re.findall(r"^(\w[\w, ]*) : (.*)$", text, re.M))


def test_detectors_adapters_and_clusterers_declare_theirs():
    rooms = (adapters, clusterers, detectors)
    expected = {
        one
        for room in rooms
        for one in vars(room).values()
        if inspect.isclass(one) and issubclass(one, BaseEstimator)
    }
    assert expected <= set(DECLARED)


def test_a_name_has_one_wording():
    wordings = {}
    for one in DECLARED:
        for field in fields(one):
            wordings.setdefault(field.name, set()).add(field.metadata["text"])
    assert {name: found for name, found in wordings.items() if len(found) > 1} == {}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: one.__name__)
def test_signature_limits_and_docstring_agree(estimator):
    signature = list(inspect.signature(estimator).parameters.values())
    documented = entries_of(inspect.getdoc(estimator), "Parameters")
    assert list(documented) == [one.name for one in signature]
    assert list(estimator._get_param_names()) == sorted(documented)
    assert set(documented) == set(estimator._parameter_constraints)
    for one in signature:
        told = documented[one.name]
        if one.default is inspect.Parameter.empty:
            continue
        if one.default is None:
            assert told.endswith(", optional") or "default=None" in told, told
        else:
            assert "default=" in told, told


@pytest.mark.parametrize("name", skad.__all__)
def test_docstrings_are_laid_out(name):
    doc = inspect.getdoc(getattr(skad, name))
    lines = doc.splitlines()
    assert not any(line.endswith("\\") and not line.endswith("\\\\") for line in lines)
    assert not lines[0].startswith(" ")
    for section in ("Parameters", "Attributes", "See Also", "References", "Examples"):
        found = [i for i, line in enumerate(lines) if line.strip() == section]
        assert all(lines[i] == section and lines[i + 1] == "-" * len(section) for i in found)


def test_what_is_learned_is_told_once():
    doc = inspect.getdoc(skad.PANDA)
    found = entries_of(doc, "Attributes")
    assert {"pipeline_", "offset_", "training_curve_", "pixel_range_"} <= found.keys()
    assert doc.count("\npipeline_ :") == 1
    assert "CollapseWarning" in doc


class Epochs(ParameterGroup):
    """How long."""

    n_epochs: int = parameter(default=50, limits=[POSITIVE], text="Passes over the images.")


class Method(Epochs, BaseEstimator):
    """A method.

    Examples
    --------
    >>> 1
    1
    """

    first: int = parameter(default=1, limits=[POSITIVE], text="The first.", kw_only=False)
    n_epochs: int = changed(default=25, note="(Paper.)")


class Plain(Method):
    """A method with another default."""

    n_epochs: int = 3


class WithInit(Method):
    """A user's own."""

    def __init__(self, first=1, *, n_epochs=2, extra=None):
        super().__init__(first, n_epochs=n_epochs)
        self.extra = extra


def test_groups_make_estimators():
    assert str(inspect.signature(Method)) == "(first: int = 1, *, n_epochs: int = 25) -> None"
    assert Method().get_params() == {"first": 1, "n_epochs": 25}
    assert Plain(4).get_params() == {"first": 4, "n_epochs": 3}
    assert "n_epochs : int, default=25\n    Passes over the images. (Paper.)" in Method.__doc__
    assert Method.__doc__.index("Parameters") < Method.__doc__.index("Examples")
    assert Method._parameter_constraints == {"first": [POSITIVE], "n_epochs": [POSITIVE]}
    with pytest.raises(TypeError, match="positional"):
        Method(1, 2)
    assert clone(Method(7)).first == pickle.loads(pickle.dumps(Method(7))).first == 7
    assert Method() != Method()


def test_what_few_need_stands_last():
    names = list(inspect.signature(skad.DN2).parameters)
    assert names[0] == "backbone"
    assert names.index("n_neighbors") < names.index("mean") < names.index("n_jobs")
    assert names[-2:] == ["random_state", "verbose"]


def test_a_user_may_write_an_init():
    assert str(inspect.signature(WithInit)) == "(first=1, *, n_epochs=2, extra=None)"
    assert WithInit(n_epochs=9, extra="x").get_params() == {
        "extra": "x",
        "first": 1,
        "n_epochs": 9,
    }


def test_what_no_group_has_cannot_be_changed():
    with pytest.raises(TypeError, match="Lost: .*'n_steps'.*parameter"):

        class Lost(Epochs):
            n_steps: int = changed(default=1)
