"""How many threads decode, and that nobody is told of it."""

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score

from skad import DN2, FeatureExtractor, OneClassKFold, auroc_scorer
from skad.images import _decode
from skad.images._batches import Batch, count_threads
from skad.images._door import check_images


def test_n_jobs_is_what_it_is_in_scikit_learn():
    cores = joblib.cpu_count()
    assert FeatureExtractor().n_jobs == -1
    assert [count_threads(n) for n in (None, 1, 3, -1)] == [1, 1, 3, cores]
    assert count_threads(-2) == max(1, cores - 1)
    with joblib.parallel_config("threading", n_jobs=5):
        assert count_threads(None) == 5
        assert count_threads(2) == 2
    with pytest.raises(ValueError, match="n_jobs == 0"):
        count_threads(0)


@pytest.fixture
def paths(tiles, tmp_path):
    paths = [tmp_path / f"{i:02}.png" for i in range(48)]
    for path, tile in zip(paths, tiles):
        Image.fromarray(tile).save(path)
    return np.array(list(map(str, paths)))


@pytest.mark.parametrize(
    ("backend", "n_jobs"),
    [
        ("loky", -1),
        ("loky", 2),
        ("multiprocessing", None),
        ("multiprocessing", 2),
        ("threading", -1),
    ],
)
def test_worker_processes_are_quiet(backend, n_jobs, paths, capfd):
    y = np.repeat([1, -1], 24)
    how = {"cv": OneClassKFold(2), "scoring": auroc_scorer}
    expected = cross_val_score(DN2(), paths, y, **how)
    capfd.readouterr()
    with joblib.parallel_config(backend, n_jobs=2):
        found = cross_val_score(DN2(n_jobs=n_jobs), paths, y, error_score="raise", **how)
    np.testing.assert_array_equal(found, expected)
    assert capfd.readouterr().err == ""


def test_filters_of_warnings_are_given_back(paths, monkeypatch):
    import warnings

    seen, open_one = [], _decode.decode_file

    def warn_below(*arguments):
        seen.append(len(warnings.filters))
        warnings.warn_explicit("of Pillow", UserWarning, "TiffImagePlugin.py", 1, "PIL.Tiff")
        with pytest.warns(UserWarning, match="of others"):
            warnings.warn("of others", UserWarning, stacklevel=1)
        return open_one(*arguments)

    monkeypatch.setattr("skad.images._items.decode_file", warn_below)
    before, blocks = list(warnings.filters), Image.core.get_blocks_max()
    FeatureExtractor(n_jobs=1).fit_transform(paths[:3])
    assert warnings.filters == before
    assert Image.core.get_blocks_max() == blocks
    assert set(seen) == {len(before) + 2}


def test_a_batch_keeps_what_its_images_were(tiles):
    batch = check_images(FeatureExtractor(), list(tiles[:3])).read(0, 3)
    assert isinstance(batch, Batch)
    assert batch.sizes == [(48, 48)] * 3
    assert len(batch.take([2, 0])) == 2
