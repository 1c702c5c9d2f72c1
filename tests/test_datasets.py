"""Image folders as arrays of paths."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skad import DN2
from skad.datasets import image_folder


@pytest.fixture
def folder(tiles, tmp_path):
    for i, tile in enumerate(tiles[::4]):
        path = tmp_path / ("good" if i < 6 else "bad/deep") / f"{i:02}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(path)
    (tmp_path / "good" / "notes.txt").write_text("no image")
    (tmp_path / "good" / ".hidden.png").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    Image.fromarray(tiles[0]).save(tmp_path / ".hidden" / "x.png")
    return tmp_path


def test_sub_folders_are_labels(folder):
    paths, labels = image_folder(folder)
    assert len(paths) == 12
    assert labels.tolist() == ["bad"] * 6 + ["good"] * 6
    assert [Path(path).name for path in paths[6:]] == [f"{i:02}.PNG" for i in range(6)]
    assert paths.dtype.kind == "U", "an array that scikit-learn slices"


def test_images_directly_in_the_folder_have_no_label(tiles, tmp_path):
    Image.fromarray(tiles[0]).save(tmp_path / "a.jpg")
    assert image_folder(tmp_path)[1].tolist() == [""]


def test_detectors_take_the_paths(folder, tiles):
    paths, labels = image_folder(str(folder))
    detector = DN2().fit(paths[labels == "good"])
    expected = DN2().fit(tiles[::4][:6]).score_samples(tiles[::4][6:])
    np.testing.assert_array_equal(detector.score_samples(paths[labels == "bad"]), expected)


def test_sub_folders_may_be_left_out(folder, tiles):
    with pytest.raises(ValueError, match="holds no images; files ending"):
        image_folder(folder, recursive=False)
    paths, labels = image_folder(folder / "good", recursive=False)
    assert len(paths) == 6
    assert set(labels) == {""}


def test_patterns_choose_by_the_path_below(folder):
    _, labels = image_folder(folder, pattern="good/*")
    assert labels.tolist() == ["good"] * 6
    assert [Path(path).name for path in image_folder(folder, pattern="*/deep/*7.PNG")[0]] == [
        "07.PNG"
    ]
    with pytest.raises(ValueError, match="holds no images that match '\\*.png'; files"):
        image_folder(folder, pattern="*.png")


def test_no_link_leads_out_of_the_folder(folder, tiles, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    Image.fromarray(tiles[0]).save(outside / "secret.png")
    (folder / "good" / "out.png").symlink_to(outside / "secret.png")
    (folder / "good" / "folder").symlink_to(outside)
    (folder / "good" / "gone.png").symlink_to(outside / "gone.png")
    (folder / "good" / "within.png").symlink_to(folder / "bad" / "deep" / "06.PNG")
    (folder / "good" / "folder.png").mkdir()
    paths, _ = image_folder(folder, pattern="good/*")
    assert [Path(path).name for path in paths[6:]] == ["within.png"]
    beside = tmp_path_factory.mktemp("links") / "link"
    beside.symlink_to(folder)
    assert len(image_folder(beside)[0]) == 13, "the folder itself may be a link"


def test_endings_can_be_chosen(folder):
    with pytest.raises(ValueError, match=r"holds no images; files ending in .xyz count"):
        image_folder(folder, extensions=[".xyz"])


def test_folders_that_are_none(folder):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        image_folder(folder / "nowhere")
    with pytest.raises(NotADirectoryError, match="is a file"):
        image_folder(folder / "good" / "notes.txt")
