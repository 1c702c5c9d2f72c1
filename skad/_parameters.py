"""Parameters of estimators, each written once: its default, its limits and what it is.

A group is a class whose annotated names are parameters. An estimator derives from the groups that
it takes its parameters from, and states only what differs::

    class Epochs(ParameterGroup):
        n_epochs: int = parameter(default=50, limits=[POSITIVE], text="Passes over the images.")

    class Method(Epochs, BaseEstimator):
        n_epochs: int = changed(default=25, note="(Paper.)")

Signature, `_parameter_constraints` and the section "Parameters" of the docstring come from these.
Sections "Attributes" and "Warns" go on with the entries of the classes that are derived from.
"""

import dataclasses
import inspect
import textwrap
from numbers import Integral, Real
from typing import dataclass_transform

from ._compat import HasMethods, Interval, StrOptions

POSITIVE = Interval(Integral, 1, None, closed="left")
AT_LEAST_TWO = Interval(Integral, 2, None, closed="left")
ABOVE_ZERO = Interval(Real, 0, None, closed="neither")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
SHARE_BELOW_ONE = Interval(Real, 0, 1, closed="left")
SHARE = Interval(Real, 0, 1, closed="both")

# Parameters that stand last in signatures and docstrings, as few need them: they say how pictures
# are read, where the work is done, and in what portions.
_LAST = (
    *("mean", "std", "image_shape", "orientation", "decode", "value_range", "on_error"),
    *("device", "precision", "compile", "batch_size", "n_jobs", "index", "n_shards"),
    *("memory", "memory_limit", "checkpoint", "max_minutes", "random_state", "verbose"),
)

_SECTIONS = (
    *("Parameters", "Attributes", "Raises", "Warns", "See Also", "Notes", "References"),
    "Examples",
)
# Sections whose entries are handed down to derived classes.
_INHERITED = ("Attributes", "Warns")

_WORDS = {
    "boolean": "bool",
    "verbose": "bool",
    "random_state": "int, RandomState instance or None",
    "array-like": "list",
    callable: "callable",
    str: "str",
    Integral: "int",
    Real: "float",
}


def parameter(*, default, limits, text, kind=None, kw_only=True):
    """Declare a parameter of a group.

    Parameters
    ----------
    default : object
    limits : list or str
        Constraints in scikit-learn's form, as in `_parameter_constraints`.
    text : str
        What it is, for every estimator that has it.
    kind : str, optional
        Its type in words; by default told by the limits.
    kw_only : bool, default=True
        False where it may be given by place.
    """
    told = {"limits": limits, "text": text, "kind": kind, "note": None}
    return dataclasses.field(default=default, kw_only=kw_only, metadata=told)


def changed(*, default, note=None, limits=None, kind=None, kw_only=None):
    """Give a parameter of a group another default, a further sentence, or other limits."""
    told = {"note": note, "limits": limits, "kind": kind, "kw_only": kw_only}
    given = {name: value for name, value in told.items() if value is not None}
    return dataclasses.field(default=default, metadata=given)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(parameter, changed))
class ParameterGroup:
    """What groups of parameters, and estimators made of them, derive from."""

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        for name in inspect.get_annotations(cls):
            setattr(cls, name, _completed(cls, name))
        has_own_init = "__init__" in vars(cls)
        dataclasses.dataclass(eq=False, repr=False, kw_only=True)(cls)
        fields = sorted(dataclasses.fields(cls), key=_place)
        if not has_own_init:
            signature = inspect.signature(cls.__init__)
            in_order = ["self", *(field.name for field in fields)]
            parameters = [signature.parameters[name] for name in in_order]
            cls.__init__.__signature__ = signature.replace(parameters=parameters)
        if "_parameter_constraints" not in vars(cls):
            limits = {field.name: field.metadata["limits"] for field in fields}
            cls._parameter_constraints = limits
        if vars(cls).get("__doc__"):
            cls.__doc__ = _composed(cls, fields)


def _completed(cls, name):
    """The declaration of a parameter, with what it leaves out taken from that of a base."""
    own, known = vars(cls)[name], cls.__mro__[1:]
    if not isinstance(own, dataclasses.Field):
        own = changed(default=own)
    if "text" in own.metadata:
        return own
    told = next(
        (
            base.__dataclass_fields__[name]
            for base in known
            if name in getattr(base, "__dataclass_fields__", {})
        ),
        None,
    )
    if told is None:
        raise TypeError(
            f"{cls.__name__}: no group has a parameter {name!r} to change; declare it by "
            "parameter(default=..., limits=..., text=...)."
        )
    metadata = {**told.metadata, **own.metadata}
    kw_only = metadata.pop("kw_only", told.kw_only)
    return dataclasses.field(default=own.default, kw_only=kw_only, metadata=metadata)


def _place(field):
    """Where a parameter stands: what may be given by place, then its group's order, some last."""
    is_last = field.kw_only and field.name in _LAST
    return field.kw_only, _LAST.index(field.name) + 1 if is_last else 0


def _composed(cls, fields):
    """The docstring of a class, with what its groups and bases say; fields as in the signature."""
    sections = _split(cls.__doc__)
    if fields:
        sections["Parameters"] = "\n".join(map(_entry, fields))
    for name in _INHERITED:
        entries = _entries(sections.get(name, ""))
        for base in cls.__mro__[1:]:
            entries = _entries(_told_by(base).get(name, "")) | entries
        if entries:
            sections[name] = "\n".join(entries.values())
    parts = [sections.pop("")]
    for name in _SECTIONS:
        if name in sections:
            parts.append(f"{name}\n{'-' * len(name)}\n{sections[name]}")
    return "\n\n".join(parts) + "\n"


def _told_by(base):
    """Sections of the docstring of a base that is one of ours."""
    return _split(base.__doc__) if base.__module__.startswith("skad.") and base.__doc__ else {}


def _split(doc):
    """Text of each section of a docstring, and of what stands before them, under ""."""
    lines, sections, name = inspect.cleandoc(doc).splitlines(), {"": []}, ""
    for line, following in zip(lines, [*lines[1:], ""]):
        if line in _SECTIONS and following == "-" * len(line):
            name = line
            sections[name] = []
        elif not (name and line == "-" * len(name) and not sections[name]):
            sections[name].append(line)
    return {name: "\n".join(text).strip("\n") for name, text in sections.items()}


def _entries(text):
    """Entries of a section by what stands before their colon, first to last."""
    found, name = {}, None
    for line in text.splitlines():
        if line and not line.startswith(" "):
            name = line.partition(" : ")[0]
            found[name] = line
        elif name is not None:
            found[name] += "\n" + line
    return {name: entry.rstrip() for name, entry in found.items()}


def _entry(field):
    """Entry of a parameter in the docstring."""
    told = field.metadata
    words = told["kind"] or _words(told["limits"])
    if field.default is None and "None" not in words:
        head = f"{field.name} : {words}, optional"
    else:
        default = field.default
        module = getattr(default, "__module__", None)
        shown = f"{module}.{default.__name__}" if callable(default) and module else repr(default)
        if None in list(told["limits"]) and "None" not in words:
            words += " or None"
        head = f"{field.name} : {words}, default={shown.replace(chr(39), chr(34))}"
    text = " ".join(filter(None, (told["text"], told["note"])))
    wrapped = textwrap.fill(
        text,
        96,
        break_on_hyphens=False,
        break_long_words=False,
        initial_indent="    ",
        subsequent_indent="    ",
    )
    return f"{head}\n{wrapped}" if text else head


def _words(limits):
    """Allowed values in words."""
    found = []
    for limit in limits:
        if limit is None:
            continue
        if isinstance(limit, StrOptions):
            shown = ", ".join(f'"{option}"' for option in sorted(limit.options))
            found.append(f"{{{shown}}}" if len(limit.options) > 1 else shown)
        elif isinstance(limit, Interval):
            found.append(_range(limit))
        elif isinstance(limit, HasMethods):
            found.append("object")
        else:
            found.append(_WORDS.get(limit, "path"))
    found = [words for words in dict.fromkeys(found) if words != "str" or "path" not in found]
    return " or ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _range(limit):
    kind = _WORDS[limit.type]
    if limit.left is None or (limit.right is None and limit.type is Integral):
        return kind
    if limit.right is None:
        return f"{kind} {'>=' if limit.closed == 'left' else '>'} {limit.left}"
    opens = "[" if limit.closed in ("left", "both") else "("
    closes = "]" if limit.closed in ("right", "both") else ")"
    return f"{kind} in {opens}{limit.left}, {limit.right}{closes}"


class RandomStateParameters(ParameterGroup):
    """What is drawn."""

    random_state: object = parameter(
        default=0,
        limits=["random_state"],
        text="Seeds everything that is drawn at random: initial weights, the order of images, "
        "their views, and the starts of k-means.",
    )
