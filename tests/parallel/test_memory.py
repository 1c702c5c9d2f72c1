"""Workers that were told to return freed memory at once keep it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from skad.parallel._memory import keep_freed_memory
import numpy as np
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
changed = keep_freed_memory() if "keep" in sys.argv else False
blocks = [np.ones(2**22, dtype=np.uint8) for _ in range(8)]
full = resident()
del blocks
print(changed, (full - resident()) / 2**20)
"""


def changed_and_returned(*argv, **environ):
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC")} | environ
    command, root = [sys.executable, "-c", CODE, *argv], Path(__file__).parents[2]
    done = subprocess.run(command, env=environ, cwd=root, capture_output=True, check=True)
    changed, returned = done.stdout.split()
    return changed == b"True", float(returned)


@pytest.mark.skipif(
    not hasattr(os, "confstr") or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""),
    reason="the setting is glibc's",
)
def test_a_worker_of_dask_keeps_what_it_frees():
    dasks = {"MALLOC_TRIM_THRESHOLD_": "65536"}
    assert changed_and_returned(**dasks)[1] == pytest.approx(32, abs=2)
    changed, returned = changed_and_returned("keep", **dasks)
    assert changed
    assert returned < 2
    for chosen in ({}, {"MALLOC_TRIM_THRESHOLD_": str(2**29)}):
        assert not changed_and_returned("keep", **chosen)[0]
