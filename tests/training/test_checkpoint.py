"""States of trainings are written wholly, and what breaks that off is told as what it was."""

import os

import pytest
import torch

from skad.training._checkpoint import Checkpoint


class Breaking:
    """A file that something happens to within the second write."""

    def __init__(self, file, error):
        self.file, self.error, self.n_writes = file, error, 0

    def write(self, content):
        self.n_writes += 1
        if self.n_writes == 2:
            raise self.error
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_breaks_off_a_state(error, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, b"recipe")
    checkpoint.save({"step": torch.ones(3)})
    fdopen = os.fdopen
    with monkeypatch.context() as patched:
        patched.setattr("os.fdopen", lambda *how: Breaking(fdopen(*how), error))
        with pytest.raises(type(error)) as raised:
            checkpoint.save({"step": torch.zeros(100_000)})
    assert raised.value is error
    assert torch.equal(checkpoint.load("cpu")["step"], torch.ones(3)), "the earlier one"
    assert list(tmp_path.iterdir()) == [checkpoint.path]
