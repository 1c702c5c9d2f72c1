"""What a user reads of a public name: its place on the page "API", its docstring, its types."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skad

ROOT = Path(__file__).parents[1]
ROOMS = {
    name: getattr(skad, name) for name in skad.__all__ if inspect.ismodule(getattr(skad, name))
}


def public_names():
    """Every public name, by where it is imported from: skad itself where it can be."""
    own = {name: getattr(skad, name) for name in skad.__all__ if name not in ROOMS}
    known = {id(one) for one in own.values()}
    named = {f"skad.{name}": one for name, one in own.items()}
    for room, module in ROOMS.items():
        for name in module.__all__:
            if id(getattr(module, name)) not in known:
                named[f"skad.{room}.{name}"] = getattr(module, name)
    return named


def ours(member):
    """The function behind a member of a class, where this library defines it."""
    function = getattr(member, "fget", None) or getattr(member, "fn", None) or member
    function = inspect.unwrap(getattr(function, "__func__", function))
    is_ours = inspect.isfunction(function) and function.__module__.split(".")[0] == "skad"
    # What a decorator of dataclasses writes has no file.
    return function if is_ours and Path(function.__code__.co_filename).exists() else None


def public_functions():
    """Public functions, and methods and properties of public classes, each once."""
    found = {}
    for name, one in NAMES.items():
        if inspect.isfunction(one):
            found[one] = name
        for member, value in inspect.getmembers_static(one) if inspect.isclass(one) else ():
            function = ours(value)
            if function and (member[0] != "_" or member in ("__init__", "__call__")):
                found.setdefault(function, f"{name}.{member}")
    return found


NAMES = public_names()
FUNCTIONS = public_functions()
DOCUMENTED = sorted(
    {name for name, one in NAMES.items() if inspect.isclass(one) or inspect.isfunction(one)}
    | {name for name in FUNCTIONS.values() if not name.endswith("__")}
)
# What numpydoc asks for, and docstrings here do without.
IGNORED = {
    "ES01": "a summary may say all there is to say",
    "SA01": "not every name has another to point to",
    "EX01": "classes and functions have examples where one teaches; their methods do not repeat it",
    "RT02": "what is returned has a name, as a parameter does",
    "PR09": "a default's source ends a description in brackets, full stop within; checked below",
}


def test_the_page_lists_every_public_name_once():
    listed, module = [], None
    for line in (ROOT / "doc" / "api.rst").read_text().splitlines():
        if found := re.match(r"\.\. (?:current|auto)?module:: ([\w.]+)$", line):
            module = found[1]
        elif found := re.match(r"   ([\w.]+)$", line):
            listed.append(f"{module}.{found[1]}")
    assert sorted(listed) == sorted(NAMES)


def test_the_page_introduces_every_room_once():
    page = (ROOT / "doc" / "api.rst").read_text()
    introduced = re.findall(r"^\.\. (?:auto)?module:: ([\w.]+)$", page, re.M)
    assert sorted(introduced) == sorted(["skad", *(f"skad.{room}" for room in ROOMS)])


@pytest.mark.parametrize("name", FUNCTIONS.values())
def test_signatures_have_types(name):
    function = next(one for one, found in FUNCTIONS.items() if found == name)
    parameters = inspect.signature(function).parameters.keys() - {"self", "cls"}
    assert parameters | {"return"} == set(function.__annotations__)


def test_type_checkers_see_what_is_imported_on_first_use():
    stubs = sorted((ROOT / "skad").rglob("*.pyi"))
    lazy = [
        path for path in (ROOT / "skad").rglob("__init__.py") if "lazy_names(" in path.read_text()
    ]
    assert [path.with_suffix(".py") for path in stubs] == sorted(lazy)
    for stub in stubs:
        room = ".".join(stub.parent.relative_to(ROOT).parts)
        module = skad if room == "skad" else ROOMS[room.removeprefix("skad.")]
        homes = {
            alias.asname: node.module and "." * (node.level - 1) + node.module
            for node in ast.walk(ast.parse(stub.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert homes == module._HOMES, stub


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstrings_are_numpydoc(name):
    found = validate(name)["errors"]
    assert [(code, told) for code, told in found if code not in IGNORED] == []
    unfinished = [told for code, told in found if code == "PR09"]
    doc = inspect.getdoc(eval(name, {"skad": skad}))
    for parameter in re.findall(r'Parameter "(\w+)"', " ".join(unfinished)):
        text = re.search(rf"^{parameter} : .*\n((?:    .*\n|\n)+)", doc + "\n", re.M)[1]
        assert text.rstrip().endswith(".)"), parameter


def test_nothing_is_ignored_for_nothing():
    found = {code for name in DOCUMENTED for code, _ in validate(name)["errors"]}
    assert found == set(IGNORED)
