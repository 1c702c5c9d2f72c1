"""What is not needed is not imported: a first answer waits for nothing else."""

import subprocess
import sys

import pytest

import skad

PROGRAM = """
import sys
from skad import DN2
loaded = [name for name in sys.modules if name.startswith("skad.")]
import numpy as np
images = np.random.RandomState(0).randint(0, 256, (5, 32, 32, 3)).astype(np.uint8)
DN2().fit(images).decision_function(images)
print(*loaded, "|", *sys.modules)
"""


def test_the_first_prediction_imports_no_more_than_it_needs():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    loaded, everything = (part.split() for part in done.stdout.split("|"))
    detectors = {name for name in loaded if name.startswith("skad.detectors.")}
    assert detectors == {"skad.detectors._base", "skad.detectors._dn2"}
    rooms = {name.split(".")[1] for name in loaded if not name.split(".")[1].startswith("_")}
    pictures = {"images", "networks", "parallel", "streams"}
    assert rooms <= {"detectors", "features", "scorers", "training"} | pictures
    unneeded = {"timm", "torchvision", "torch._dynamo", "matplotlib", "sklearn.cluster", "onnx"}
    assert not unneeded & set(everything)


@pytest.mark.parametrize("room", ["adapters", "detectors", "losses", "maps", "metrics", "scorers"])
def test_rooms_name_what_they_have(room):
    module = getattr(skad, room)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"'skad.{room}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
