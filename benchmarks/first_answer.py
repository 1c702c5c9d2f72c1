"""From starting Python to the first prediction, over the time of ``import torch`` alone.

    python -m benchmarks.first_answer --out benchmarks/speed.jsonl

Whole processes, in turn; the program is that at the top of README.rst. pandas, where it is
installed, takes a tenth of the time to import, which scikit-learn does; a second figure is without.
"""

import subprocess
import sys
from pathlib import Path

from .timing import paired_times, run_tasks

README = Path(__file__).parents[1] / "README.rst"
REPEATS = 7


def first_program():
    """The first piece of code of the README."""
    after = README.read_text().split(".. code:: python\n", 1)[1].lstrip("\n").splitlines()
    lines = []
    for line in after:
        if line and not line.startswith("    "):
            break
        lines.append(line[4:])
    return "\n".join(lines)


def run(code):
    """Run a program in a process of its own."""
    subprocess.run([sys.executable, "-c", code], check=True)


def first_answer():
    """Ratios of whole processes."""
    found, program = {}, first_program()
    for what, before in {
        "": "",
        ", without pandas": "import sys; sys.modules['pandas'] = None\n",
    }.items():
        alone, ours = paired_times(
            lambda b=before: run(b + "import torch"),
            lambda b=before: run(b + program),
            REPEATS,
        )
        found[f"first prediction / import torch{what} (<= 2.0)"] = ours / alone
        found[f"first prediction{what}, seconds"] = ours
    return found


if __name__ == "__main__":
    run_tasks({"first_answer": first_answer}, __doc__)
