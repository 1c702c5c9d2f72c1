"""Batches are sent ahead on a stream of their own, and waited for before they are used."""

import numpy as np
import pytest
import torch

from skad import FeatureExtractor, MeanShiftedContrastive
from skad.images._batches import Batch
from skad.networks._transfer import Sender, received
from tests.instances import SMALL

from . import far

FAR = torch.device("far")
IMAGES = np.random.RandomState(0).randint(0, 256, (14, 40, 40, 3)).astype(np.uint8)
OF_SHAPES = [image[: 40 - i % 2] for i, image in enumerate(IMAGES)]


@pytest.mark.parametrize("several", [False, True])
def test_a_batch_that_is_not_waited_for_is_an_error_there(several):
    pixels = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    sender, batch = Sender(FAR), Batch(list(pixels) if several else pixels)
    sent = sender.send(batch)
    first = sent.pixels[0] if several else sent.pixels
    with pytest.raises(RuntimeError, match="of another stream was not waited for"):
        first + 1
    first = received(sent).pixels[0] if several else received(sent).pixels
    assert first.users == [far.Stream.of_thread()], "its memory is not given to others before"
    assert torch.equal((first + 1).cpu(), (pixels[0] if several else pixels) + 1)
    assert received(sent) is sent
    assert len(sent) == len(batch)


def test_nothing_is_sent_on_the_cpu():
    batch = Batch(torch.zeros(2, 3, 4, 4))
    assert Sender(torch.device("cpu")).send(batch) is batch
    assert received(batch) is batch


@pytest.mark.parametrize("images", [IMAGES, OF_SHAPES], ids=["one shape", "two shapes"])
def test_extraction_and_training_send_ahead(images, monkeypatch):
    counts = []
    record = far.Stream.record_event
    monkeypatch.setattr(far.Stream, "record_event", lambda self: counts.append(1) or record(self))
    expected, found = (
        FeatureExtractor(**SMALL, device=device, batch_size=4).fit_transform(images)
        for device in ("cpu", "far")
    )
    assert len(counts) == 4
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    counts.clear()
    adapter = MeanShiftedContrastive(FeatureExtractor(**SMALL, device="far"), n_steps=5)
    adapter.set_params(batch_size=7).fit(images)
    assert len(counts) >= 5, "one a step"
