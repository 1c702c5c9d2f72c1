"""Imports point one way, and `import skad` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skad

ROOT = Path(skad.__file__).parent

# All rooms of the package, from the ground up: each imports of the floors below its own.
FLOORS = [
    {
        "__version__",
        "_compat",
        "_fitting",
        "_lazy",
        "_random",
        "_regions",
        "_rows",
        "_types",
        "_warnings",
        "_whole",
    },
    {
        "_callbacks",
        "_decision",
        "_labels",
        "_parameters",
        "backbones",
        "diagnostics",
        "losses",
        "parallel",
    },
    {"images", "metrics", "scorers"},
    {
        "_verdicts",
        "augment",
        "datasets",
        "displays",
        "model_selection",
        "networks",
        "streams",
    },
    {"conformal", "features"},
    {"training"},
    {"adapters", "maps"},
    {"clusterers"},
    {"detectors"},
    {"persistence"},
    {"export", "report"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What scorers see: no image, no network.
FOR_SCORERS = {
    *(
        "_callbacks",
        "_compat",
        "_decision",
        "_fitting",
        "_labels",
        "_parameters",
        "_rows",
        "_types",
        "_warnings",
        "parallel",
    ),
}


def imports_of(path):
    """Dotted names, relative to the package, of what a module imports of it."""
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            if node.module:
                yield (*base, *node.module.split("."))
            else:
                yield from ((*base, alias.name) for alias in node.names)


MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    here = path.relative_to(ROOT).with_suffix("").parts
    room = here[0]
    for target in imports_of(path):
        if target[0] == room:
            continue
        assert FLOOR_OF[target[0]] < FLOOR_OF[room], f"{path} imports {'.'.join(target)}"
        if room == "scorers":
            assert target[0] in FOR_SCORERS, f"{path} imports {'.'.join(target)}"


def test_every_room_has_its_floor():
    rooms = {path.relative_to(ROOT).with_suffix("").parts[0] for path in MODULES}
    assert rooms == FLOOR_OF.keys() - {"__version__"}


def test_tests_mirror_the_package():
    """Each folder of tests is of a room; what is of a module or of the whole is above them."""
    tests = Path(__file__).parent
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    folders = {path.name for path in tests.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert folders - {"devices", "files"} <= rooms
    assert {path.stem for path in ROOT.glob("[a-z]*.py")} <= {
        path.stem.removeprefix("test_") for path in tests.glob("test_*.py")
    }
    for path in tests.rglob("*.py"):
        assert len(path.read_text().splitlines()) < 500, f"{path} is too long"


def test_there_is_one_door_for_images():
    users = {str(p.relative_to(ROOT)) for p in MODULES if "validate_data" in p.read_text()}
    assert users == {"images/_door.py", "scorers/_base.py"}, "validated by check_images alone"


def test_private_names_of_scikit_learn_are_in_one_place():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn"):
                names = [node.module, *(alias.name for alias in node.names)]
                private = [n for n in names if any(p.startswith("_") for p in n.split("."))]
                assert not private or path.name == "_compat.py", f"{path}: {private}"


def test_modules_and_functions_are_short():
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = 0
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and ast.get_docstring(
                node
            ):
                docstrings += node.body[0].end_lineno - node.body[0].lineno + 1
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 40, f"{path.name}: {node.name} has {length} lines"
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) - docstrings <= 250, f"{path.name} has {len(lines) - docstrings} lines"


def test_import_is_light_and_fast():
    code = (
        "import sys, time; start = time.perf_counter(); import skad;"
        "took = time.perf_counter() - start; dir(skad);"
        "heavy = {'torch', 'torchvision', 'timm', 'faiss'} & set(sys.modules);"
        "print(took, sorted(heavy))"
    )
    took = []
    for _ in range(3):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        seconds, heavy = out.stdout.split(" ", 1)
        assert heavy.strip() == "[]"
        took.append(float(seconds))
    assert min(took) < 0.5


def test_scorers_work_without_torch():
    code = (
        "import sys, numpy as np; from skad import KNNScorer\n"
        "KNNScorer().fit(np.eye(5)).predict(np.eye(5))\n"
        "print('torch' in sys.modules, 'faiss' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False True"


def test_every_public_name_is_there():
    for name in skad.__all__:
        assert getattr(skad, name).__doc__, name
    assert set(skad.__all__) <= set(dir(skad))
    with pytest.raises(AttributeError, match="has no attribute 'DN3'"):
        _ = skad.DN3
