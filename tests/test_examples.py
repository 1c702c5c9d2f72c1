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
    "plot_displays.py": r"AUROC 0\.(8[89]|9)\d+, 95 % interval 0\.8\d+ to 0\.9\d+",
    "plot_diagnostics.py": r"(?s)frozen +0\.9\d+ .*mean-shifted +0\.9\d+ .*compactness +0\.9\d+ ",
    "plot_adaptation.py": r"(?s)MSC +10 steps, AUROC 0\.9.*too far +40 .*CollapseWarning\nstopped",
    "plot_from_scratch.py": r"(?s)NSA +AUROC 0\.[89].*DeepSVDD +AUROC 0\.9.*OC-SVM, pixels ",
    "plot_many_classes.py": r"(?s)DN2, no.* 0\.8[01].*DeepClustering +AUROC 0\.9.*CLAD, .*\.8",
    "plot_quickstart.py": r"AUROC 0\.(8[89]|9)\d+",
    "plot_solar_cells.py": r"(?s)AUROC: (9\d|100).*sound cells flagged: [0-3]?\d%.*p_value\n\d",
    "plot_spade.py": r"(?s)flower.*pixel AUROC 0\.9.*PRO 0\.[89]|tiles.*pixel AUROC 0\.[89]",
    "plot_grid_search.py": r"fitted on 174 of \d+ images",
    "plot_isolation_forest.py": r"DN2\(image_size=32\): mean AUROC 0\.9[89]\d+",
}


# Each runs in a copy of a process that has imported what takes long, without sockets, so that a
# download would fail.
SERVER = """
import os, runpy, signal, socket, sys, traceback
import faiss, matplotlib, sklearn.datasets, torch
matplotlib.use("Agg")
import matplotlib.pyplot
import skad
for name in skad.__all__:
    getattr(skad, name)
socket.getaddrinfo = socket.socket.connect = None
for line in sys.stdin:
    script, folder = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    signal.alarm(300)
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    try:
        runpy.run_path(script)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def run():
    """Function of a script and a folder, which gives what the script prints there."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER], env=env, **pipes) as server:

        def runs(script, folder):
            print(script, folder, sep="\t", file=server.stdin, flush=True)
            code = server.stdout.readline().strip()
            assert code == "0", (folder / "err").read_text()
            return (folder / "out").read_text()

        yield runs
        server.stdin.close()


def test_every_example_is_expected():
    elsewhere = {"run_onnx.py"}  # which takes arguments: tests/export runs it
    assert {p.name for p in (ROOT / "examples").glob("*.py")} == EXPECTED.keys() | elsewhere


@pytest.mark.parametrize("name", EXPECTED)
def test_example_runs_offline(name, run, tmp_path):
    printed = run(ROOT / "examples" / name, tmp_path)
    assert re.search(EXPECTED[name], printed), printed
    if name == "plot_quickstart.py":
        assert (tmp_path / "quickstart.png").stat().st_size > 20_000


def test_readme_shows_code_that_runs(run, tmp_path):
    blocks = re.findall(
        r"\.\. code:: python\n\n((?:    .*\n|\n)+)", (ROOT / "README.rst").read_text()
    )
    assert blocks
    code = ["\n".join(line[4:] for line in block.splitlines()) for block in blocks]
    script = tmp_path / "readme.py"  # where each block has names of its own
    script.write_text("\n".join(f"exec({block!r}, {{}})" for block in code))
    run(script, tmp_path)
