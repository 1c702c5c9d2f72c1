"""Fine-tuning that is broken off and goes on."""

import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from skad import (
    PANDA,
)
from skad.adapters import _compactness, _joint, _mean_shifted, _outlier_exposure, _vicreg
from skad.training import _run as _run
from skad.training._loop import TrainingError
from tests.adapters.fine_tuning.common import (
    CLASSES,
    assert_same_weights,
    compactness,
    contrastive,
    elastic,
    exposure,
    joint,
    vicreg,
)


def break_off(monkeypatch, module, loss, at):
    """Let a loss fail at its call number `at`, once."""
    calls, done, plain = [], [], getattr(module, loss)

    def failing(*args, **named):
        calls.append(1)
        if len(calls) == at and not done:
            done.append(1)
            raise KeyboardInterrupt
        return plain(*args, **named)

    monkeypatch.setattr(module, loss, failing)
    return calls


BROKEN = {
    "squared": (compactness, _compactness, "compactness_loss", {}),
    "angular": (compactness, _compactness, "angular_center_loss", {"loss": "angular"}),
    "elastic": (compactness, _compactness, "elastic_penalty", {"stopping": "elastic"}),
    "sample_wise": (
        *(compactness, _compactness, "compactness_loss"),
        {"stopping": "sample_wise", "stop_at_collapse": True},
    ),
    "msc": (contrastive, _mean_shifted, "mean_shifted_contrastive_loss", {"momentum": 0.5}),
    "vicreg": (vicreg, _vicreg, "vicreg_loss", {"momentum": 0.5}),
    "if_better": (
        *(contrastive, _mean_shifted, "mean_shifted_contrastive_loss"),
        {"accept": "if_better", "momentum": 0.5},
    ),
    "oe": (exposure, _outlier_exposure, "outlier_exposure_loss", {}),
    "jo": (joint, _joint, "compactness_loss", {}),
}


@pytest.mark.bits
@pytest.mark.parametrize(("case", "at"), [("squared", 2), *((case, 10) for case in BROKEN)])
def test_a_broken_fit_goes_on_to_the_same_end(
    case, at, tiles, normal, auxiliary, monkeypatch, tmp_path
):
    make, module, loss, parameters = BROKEN[case]
    adapter = make(n_steps=12, batch_size=8, learning_rate=1e-3, **parameters)
    monkeypatch.setattr(_run, "FEWEST_STEPS", 2)
    fit = auxiliary(adapter)
    whole = clone(adapter).fit(normal, **fit)
    adapter.set_params(checkpoint=tmp_path / "folder")
    unfitted = dict(vars(adapter))
    calls = break_off(monkeypatch, module, loss, at)
    with pytest.raises(KeyboardInterrupt) as caught:
        adapter.fit(normal, **fit)
    assert vars(adapter) == unfitted
    kept = [str(path) for path in (tmp_path / "folder").iterdir()]
    (note,) = caught.value.__notes__
    if at == 2:
        assert not kept
        assert note.startswith("No state had been kept in")
    else:
        assert kept[0] in note
        assert "fit again with the same parameters and images" in note
        calls.clear()
    adapter.fit(normal, **fit)
    assert len(calls) == (4 if at == 10 else 14)  # from step 8 on, where the last look was
    assert not list((tmp_path / "folder").iterdir()), "nothing is left of a finished training"
    assert_same_weights(adapter, whole)
    for name, values in whole.training_curve_.items():
        np.testing.assert_array_equal(adapter.training_curve_[name], values)
    np.testing.assert_array_equal(adapter.transform(tiles), whole.transform(tiles))


KILLED = """
import os, signal, sys
import numpy as np, torch
torch.set_num_threads(1)
from skad import PANDA
from skad.adapters import _compactness
from skad.training import _run
_run.FEWEST_STEPS = 1
calls, plain = [], _compactness.compactness_loss
def failing(*args):
    calls.append(1)
    if len(calls) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args)
_compactness.compactness_loss = failing
PANDA("test_resnet", weights=None, image_size=32, n_steps=9, batch_size=8, checkpoint=sys.argv[1]
).fit(np.load(sys.argv[2]))
"""


@pytest.mark.bits
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_fit_goes_on(tiles, normal, monkeypatch, tmp_path):
    np.save(tmp_path / "normal.npy", normal)
    folder = tmp_path / "folder"
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "normal.npy")]
    assert subprocess.run(command, timeout=120).returncode == -9
    (kept,) = folder.iterdir()
    assert kept.suffix == ".pt"
    parameters = {"weights": None, "image_size": 32, "n_steps": 9, "batch_size": 8}
    whole = PANDA("test_resnet", **parameters).fit(normal)
    calls = break_off(monkeypatch, _compactness, "compactness_loss", -1)
    detector = PANDA("test_resnet", **parameters, checkpoint=folder).fit(normal)
    assert len(calls) == 3
    np.testing.assert_array_equal(detector.score_samples(tiles), whole.score_samples(tiles))
    assert not list(folder.iterdir())


@pytest.fixture
def broken(normal, monkeypatch, tmp_path):
    """An adapter whose fit broke off at its sixth step of eight, and the counter of its losses."""
    adapter = compactness(n_steps=8, batch_size=8, checkpoint=tmp_path)
    calls = break_off(monkeypatch, _compactness, "compactness_loss", 6)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(normal)
    calls.clear()
    return adapter, calls


@pytest.mark.parametrize(
    ("parameters", "goes_on"),
    [
        ({}, True),
        ({"memory_limit": 1}, True),
        ({"extractor__n_jobs": 1}, True),
        ({"learning_rate": 0.05}, False),
        ({"n_steps": 7}, False),
        ({"random_state": 1}, False),
        ({"trainable": "last"}, False),
        ({"stopping": "l2_sp"}, False),
        ({"extractor__random_state": 1}, False),
        ({"extractor__mean": 0.4}, False),
    ],
)
def test_only_the_same_training_goes_on(parameters, goes_on, broken, normal):
    adapter, calls = broken
    adapter.set_params(**parameters).fit(normal)
    assert len(calls) == (3 if goes_on else adapter.n_steps)


def test_other_images_do_not_go_on(broken, normal):
    adapter, calls = broken
    for images in (normal[1:], normal[::-1].copy(), np.where(normal == 7, 8, normal)):
        calls.clear()
        clone(adapter).fit(images)
        assert len(calls) == 8
    calls.clear()
    adapter.fit(list(normal))  # the same, in another container
    assert len(calls) == 3


def test_other_labels_of_source_images_do_not_go_on(normal, others, monkeypatch, tmp_path):
    adapter = joint(n_steps=8, checkpoint=tmp_path)
    calls = break_off(monkeypatch, _joint, "compactness_loss", 6)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(normal, X_source=others, y_source=CLASSES)
    calls.clear()
    adapter.fit(normal, X_source=others, y_source=CLASSES[::-1])
    assert len(calls) == 8


def test_another_fisher_information_does_not_go_on(normal, others, monkeypatch, tmp_path):
    for name, source in (("one", {}), ("other", {"X_source": others})):
        elastic(n_steps=1).fit(normal, **source).fisher_.save(tmp_path / name)
    adapter = elastic(n_steps=8, fisher=tmp_path / "one", checkpoint=tmp_path / "folder")
    calls = break_off(monkeypatch, _compactness, "compactness_loss", 6)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(normal)
    calls.clear()
    adapter.set_params(fisher=tmp_path / "other").fit(normal)
    assert len(calls) == 8


def test_a_broken_file_is_named(broken, normal, tmp_path):
    adapter, _ = broken
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}.*Remove it to train from"):
        adapter.fit(normal)
    assert not hasattr(adapter, "extractor_")


@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": 1e30},
        {"learning_rate": 1e9, "momentum": 0.0},
        {"learning_rate": 1e30, "loss": "angular"},
        {"learning_rate": 3.0, "stopping": "l2_sp", "penalty": 1e12},
    ],
    ids=["loss", "features", "angular", "penalty"],
)
def test_training_that_is_not_finite_is_one_clear_error(parameters, normal, tmp_path):
    adapter = compactness(clip_norm=None, checkpoint=tmp_path, **parameters)
    unfitted = dict(vars(adapter))
    message = r"CompactnessAdapter: the .* at step [1234]\b.*learning_rate"
    with pytest.raises(TrainingError, match=message):
        adapter.fit(normal)
    assert not list(tmp_path.iterdir()), "it would end in the same way"
    assert vars(adapter) == unfitted
    assert issubclass(TrainingError, ArithmeticError)


def test_a_failed_refit_leaves_what_was_fitted(tiles, normal):
    adapter = compactness().fit(normal)
    before = adapter.transform(tiles)
    adapter.set_params(learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingError):
        adapter.fit(tiles)
    np.testing.assert_array_equal(adapter.transform(tiles), before)
