"""A folder of pictures, and detectors that were fitted on some of them."""

from types import SimpleNamespace

import pytest
from PIL import Image

from skad import DN2, SPADE, ConformalDetector


@pytest.fixture(scope="session")
def place(tiles, tmp_path_factory):
    """Normal flowers; new pictures: temples, flowers, one of a hostile name and one broken."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("normal", "new"):
        (folder / name).mkdir()
    for i in range(24, 40):
        Image.fromarray(tiles[i]).save(folder / "normal" / f"{i}.png")
    for i in (*range(5), *range(40, 46)):
        Image.fromarray(tiles[i]).save(folder / "new" / f"{i}.png")
    (folder / "new" / "broken.png").write_bytes(b"x")
    normal, new = (sorted(map(str, (folder / n).iterdir())) for n in ("normal", "new"))
    return SimpleNamespace(folder=folder, normal=normal, new=new)


@pytest.fixture(scope="session")
def dn2(place):
    return DN2(image_size=32, contamination=0.4).fit(place.normal)


@pytest.fixture(scope="session")
def spade(place):
    return SPADE(n_neighbors=2, n_threshold_images=4).fit(place.normal)


@pytest.fixture(scope="session")
def split(place):
    detector = DN2(image_size=32)
    return ConformalDetector(detector, false_alarm_rate=0.25, random_state=0).fit(place.normal)


@pytest.fixture(scope="session")
def cross(place):
    conformal = {"method": "cross", "n_folds": 2, "false_alarm_rate": 0.2, "random_state": 0}
    return ConformalDetector(DN2(image_size=32), **conformal).fit(place.normal)
