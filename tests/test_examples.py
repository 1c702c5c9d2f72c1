"""The examples run, offline, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

EXPECTED = {
    "plot_conformal.py": r"(?s)false alarms: [2-7]\.\d%.*split: asked .* measured .*predict_fdr",
    "plot_scorers.py": r"0\.99\d+  two layers, EnsembleScorer\('ens'\)",
    "plot_displays.py": r"AUROC 0\.9\d+, 95 % interval 0\.8\d+ to 0\.9\d+",
    "plot_diagnostics.py": r"(?s)frozen +0\.9\d+ .*mean-shifted +0\.9\d+ .*compactness +0\.9\d+ ",
    "plot_adaptation.py": r"(?s)MSC +20 steps, AUROC 0\.9.*too far +40 .*CollapseWarning\nstopped",
    "plot_from_scratch.py": r"(?s)NSA +AUROC 0\.[89].*DeepSVDD +AUROC 0\.9.*OC-SVM, pixels ",
    "plot_many_classes.py": r"(?s)DN2.* 0\.8[01].*DeepClustering +AUROC 0\.8[2-9].*CLAD, .*\.[78]",
    "plot_quickstart.py": r"AUROC 0\.9\d+",
    "plot_solar_cells.py": r"(?s)AUROC: (9\d|100).*sound cells flagged: [0-3]?\d%.*p_value\n\d",
    "plot_spade.py": r"(?s)flower.*pixel AUROC 0\.9.*PRO 0\.[89]|tiles.*pixel AUROC 0\.[89]",
    "plot_grid_search.py": r"fitted on 174 of \d+ images",
    "plot_isolation_forest.py": r"DN2\(image_size=32\): mean AUROC 0\.9[78]\d+",
}


def run(code, folder):
    # Sockets are taken away, so that a download would fail.
    guard = "import socket; socket.getaddrinfo = socket.socket.connect = None\n"
    return subprocess.run(
        [sys.executable, "-c", guard + code],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


def test_every_example_is_expected():
    elsewhere = {"run_onnx.py"}  # which takes arguments: tests/export runs it
    assert {p.name for p in (ROOT / "examples").glob("*.py")} == EXPECTED.keys() | elsewhere


@pytest.mark.parametrize("name", EXPECTED)
def test_example_runs_offline(name, tmp_path):
    done = run(f"import runpy; runpy.run_path({str(ROOT / 'examples' / name)!r})", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(EXPECTED[name], done.stdout), done.stdout
    if name == "plot_quickstart.py":
        assert (tmp_path / "quickstart.png").stat().st_size > 20_000


def test_readme_shows_code_that_runs(tmp_path):
    blocks = re.findall(
        r"\.\. code:: python\n\n((?:    .*\n|\n)+)", (ROOT / "README.rst").read_text()
    )
    assert blocks
    code = ["\n".join(line[4:] for line in block.splitlines()) for block in blocks]
    # One process, as most of the time goes into imports, but names of their own for each.
    done = run("\n".join(f"exec({block!r}, {{}})" for block in code), tmp_path)
    assert done.returncode == 0, done.stderr
