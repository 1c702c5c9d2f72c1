"""Model files of every version so far go on loading, and score as they did.

Made once, and never again, by ``python -m tests.persistence.test_kept_files``; a version that
writes another format adds files of its own.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import skad
from skad import DN2, SPADE, ConformalDetector, FeatureExtractor, GaussianScorer, ImageDetector
from skad.backbones import small_cnn

FILES = Path(__file__).parents[1] / "files"
DIGITS, LABELS = load_digits(return_X_y=True)
ZEROS, NEW = DIGITS[LABELS == 0][:40], DIGITS[:30]
SMALL = {"backbone": partial(small_cnn, width=4, image_size=8), "weights": None}

MODELS = {
    "dn2": DN2(image_size=32),
    "conformal": ConformalDetector(DN2(image_size=32), false_alarm_rate=0.1, calibration_share=0.5),
    "gaussian": ImageDetector(FeatureExtractor(**SMALL), scorer=GaussianScorer()),
    "spade": SPADE(**SMALL, n_neighbors=3, n_centroids=5, n_threshold_images=5),
}


@pytest.mark.parametrize("path", sorted(FILES.glob("*/*.skad")), ids=lambda path: path.stem)
def test_kept_files_load_and_score(path):
    loaded = skad.load(path)
    expected = np.load(path.with_suffix(".npy"))
    np.testing.assert_allclose(loaded.score_samples(NEW), expected, rtol=1e-4, atol=1e-6)
    assert set(loaded.predict(NEW)) == {-1, 1}


def test_there_are_files_of_this_format():
    from skad.persistence._files import FORMAT

    names = [path.stem for path in (FILES / f"format-{FORMAT}").glob("*.skad")]
    assert sorted(names) == sorted(MODELS)


if __name__ == "__main__":
    folder = FILES / "format-1"
    folder.mkdir(parents=True)
    for name, model in MODELS.items():
        skad.save(model.fit(ZEROS), folder / f"{name}.skad", weights="reference")
        np.save(folder / f"{name}.npy", model.score_samples(NEW))
