"""What a wheel holds: the weights among it."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_embedded_backbone(tmp_path):
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "skad", tmp_path / "skad")
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "bdist_wheel"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        sizes = {entry.filename: entry.file_size for entry in content.infolist()}
    for name in ("tiny", "tiny_dense"):
        assert 1e6 < sizes[f"skad/weights/{name}.safetensors"] <= 8e6
    assert sizes["skad/weights/README.rst"] > 0
    assert {"skad/report/page.css", "skad/report/page.js"} <= set(sizes)
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "skad").rglob("*.py*")}
    assert "skad/py.typed" in sizes
    assert {name for name in modules if name.endswith((".py", ".pyi"))} <= set(sizes)


def test_one_faiss_is_required_and_no_extra_brings_another():
    """Two distributions of it overwrite each other; pip adds what an extra requires to the rest."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    wanted = settings["options"]["install_requires"].splitlines()
    assert [line.split()[0] for line in wanted if line.startswith("faiss")] == ["faiss-cpu"]
    for name, lines in settings["options.extras_require"].items():
        assert "faiss" not in lines, name
