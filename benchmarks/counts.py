"""How much of the package is parameters, and how much of it one fit takes.

    python -m benchmarks.counts
    PYTHONPATH=/another/checkout python benchmarks/counts.py

Lines of parameters are, of the rooms of estimators: signatures of `__init__`, its statements
`self.x = x`, dicts of limits, and the sections "Parameters" of classes and of their `fit`. Of the
whole package but for the scorers: fields of classes that declare parameters, by `parameter(...)` or
`changed(...)`, and of those that derive from them.
"""

import ast
import sys
import threading
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np

import skad

ROOT = Path(skad.__file__).parent

# Rooms of estimators whose parameters are counted.
ROOMS = ("adapters", "clusterers", "detectors")

# Calls whose result stands for a parameter in the body of a class.
DECLARING = {"parameter", "changed"}

# Functions whose calls are validations of parameters or of data.
VALIDATIONS = ("check_images", "validate_data", "_validate_params")

Class = namedtuple("Class", ["node", "path", "bases"])


def trees(folder):
    """Path and syntax tree of each module below a folder."""
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def n_lines(node):
    """Lines of a node, its decorators left out."""
    return node.end_lineno - node.lineno + 1


def name_of(node):
    """Last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def signature_lines(function):
    """Lines of a function before its body."""
    return function.body[0].lineno - function.lineno


def assignment_lines(function):
    """Lines of the statements `self.x = x`."""
    return sum(
        n_lines(node)
        for node in function.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Name)
        and isinstance(node.targets[0], ast.Attribute)
        and node.targets[0].attr == node.value.id
    )


def constraint_lines(body):
    """Lines of the dicts of limits in the body of a class or a module."""
    return sum(
        n_lines(node)
        for node in body
        if isinstance(node, ast.Assign)
        and name_of(node.targets[0]).endswith(("_parameter_constraints", "CONSTRAINTS"))
    )


def text_lines(node):
    """Lines of the section "Parameters" of a docstring, with its heading."""
    lines = (ast.get_docstring(node) or "").splitlines()
    headings = [i for i, line in enumerate(lines[1:]) if line and not line.strip("-")]
    starts = [i for i in headings if lines[i] == "Parameters"]
    if not starts:
        return 0
    end = min((i for i in headings if i > starts[0]), default=len(lines))
    return end - starts[0]


def declaring_classes():
    """Classes that declare parameters in their bodies, or derive from one that does."""
    classes = [
        Class(node, path, {name_of(base) for base in node.bases})
        for path, tree in trees(ROOT)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    found = {one.node.name for one in classes if any(map(calls_for_parameter, one.node.body))}
    while True:
        more = {one.node.name for one in classes if one.bases & found} - found
        if not more:
            return [one for one in classes if one.node.name in found]
        found |= more


def calls_for_parameter(statement):
    """Whether a statement declares a parameter by a call."""
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Call) and name_of(value.func) in DECLARING


def declaration_lines(node):
    """Lines of the fields of a class: annotated, or declared by a call."""
    return sum(
        n_lines(statement)
        for statement in node.body
        if calls_for_parameter(statement)
        or (
            isinstance(statement, ast.AnnAssign)
            and not name_of(statement.target).startswith("_")
            and "ClassVar" not in ast.unparse(statement.annotation)
        )
    )


def parameter_lines():
    """Lines that say something of parameters, by what they are."""
    found = Counter()
    for room in ROOMS:
        for _, tree in trees(ROOT / room):
            found["limits"] += constraint_lines(tree.body)
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    found.update(lines_of_class(node))
    for one in declaring_classes():
        if one.path.relative_to(ROOT).parts[0] != "scorers":
            found["declarations"] += declaration_lines(one.node)
    return found


def lines_of_class(node):
    """Lines of the parameters of a class that has them written out."""
    found = Counter(limits=constraint_lines(node.body), texts=text_lines(node))
    for function in node.body:
        if getattr(function, "name", "") == "__init__":
            found["signatures"] = signature_lines(function)
            found["assignments"] = assignment_lines(function)
        if getattr(function, "name", "") == "fit":
            found["texts of fit"] = text_lines(function)
    return found


def file_lines(path):
    """Lines of a file."""
    return len(path.read_text().splitlines())


class Watch:
    """Profiler that notes the package's files whose functions run, and validations."""

    def __init__(self):
        self.files, self.calls = set(), Counter()

    def __call__(self, frame, event, _):
        if event != "call":
            return
        code = frame.f_code
        path = Path(code.co_filename)
        if ROOT in path.parents and code.co_name != "<module>":
            self.files.add(path)
        if code.co_name in VALIDATIONS:
            self.calls[code.co_name] += 1


def watched(estimator, images):
    """What a fit goes through, once it has been warmed up."""
    estimator.fit(images)
    watch = Watch()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        estimator.fit(images)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return watch


def fits():
    """What fits of three detectors go through, by their names."""
    images = np.random.RandomState(0).randint(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    small = {"backbone": "test_resnet", "weights": None, "image_size": 32}
    return {
        "DN2": watched(skad.DN2(**small), images),
        "MSC": watched(skad.MSC(**small, n_steps=2), images),
        "SPADE": watched(skad.SPADE(**small, n_neighbors=3), images),
    }


def main():
    """Print the table."""
    kinds = parameter_lines()
    room_lines = sum(file_lines(path) for room in ROOMS for path, _ in trees(ROOT / room))
    print(f"lines of parameters: {kinds.total()} (of {room_lines} in {', '.join(ROOMS)})")
    for kind, count in sorted(kinds.items()):
        print(f"  {kind}: {count}")
    detectors = {
        p.stem: file_lines(p) for p, _ in trees(ROOT / "detectors") if p.stem != "__init__"
    }
    print("lines of the files of detectors:")
    for name, count in sorted(detectors.items(), key=lambda item: -item[1]):
        print(f"  {name}: {count}")
    for name, watch in fits().items():
        calls = ", ".join(f"{watch.calls[one]} {one}" for one in VALIDATIONS)
        print(f"{name}.fit: {len(watch.files)} files, {watch.calls.total()} validations ({calls})")
    print(f"files directly in skad: {len(list(ROOT.glob('*.py')))}")
    print(f"folders of code in skad: {len(list(ROOT.glob('*/__init__.py')))}")


if __name__ == "__main__":
    main()
