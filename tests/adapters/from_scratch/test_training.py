"""Trainings from scratch: statistics, batches, memory."""

from functools import partial

import numpy as np
import pytest
import torch

from skad.training import _run as _run
from tests.adapters.from_scratch.common import (
    ADAPTERS,
    KINDS,
    Keep,
    copies,
    every,
    same,
    siamese,
    untrained,
)


@every
def test_statistics_are_learned_and_nothing_trains_on(kind, zeros, watched):
    runs = []
    watched(ADAPTERS[kind], then=lambda run, step: runs.append(run))
    adapter = KINDS[kind](collapse_limit=0.0).fit(zeros)
    before = untrained(adapter, zeros).state_dict()
    after = copies(adapter.network_.state_dict())
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert not any(torch.equal(before[name], after[name]) for name in statistics)
    # Each view passes alone but for SimCLR; no look at the features counts.
    passes = adapter.n_steps * {"simsiam": 2, "byol": 2}.get(kind, 1)
    counts = {int(v) for name, v in after.items() if name.endswith("num_batches_tracked")}
    assert counts == {passes}
    task = runs[-1].task
    n_modules = {"svdd": 1, "soft svdd": 1, "simsiam": 3, "byol": 4}.get(kind, 2)
    assert len(list(task.children())) == n_modules
    assert not any(part.training for part in task.modules())
    assert not any(p.requires_grad or p.grad is not None for p in task.parameters())


@every
def test_the_whole_network_is_trained(kind, zeros):
    adapter = KINDS[kind](collapse_limit=0.0).fit(zeros)
    before = copies(dict(untrained(adapter, zeros).named_parameters()))
    after = copies(dict(adapter.network_.named_parameters()))
    assert not [name for name in before if torch.equal(before[name], after[name])]


@every
def test_features_do_not_depend_on_batches(kind, zeros, others):
    adapter = KINDS[kind]().fit(zeros)
    together = adapter.transform(others)
    alone = np.vstack([adapter.transform(others[i : i + 1]) for i in range(len(others))])
    scale = np.abs(together).max()
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4 * scale)
    adapter.extractor_.set_params(batch_size=5)
    np.testing.assert_allclose(adapter.transform(others), together, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("n_images", [2, 3, 5])
def test_no_batch_is_of_one_image(n_images, zeros):
    keep = Keep()
    adapter = siamese(augmentation=keep, batch_size=2, n_steps=None, n_epochs=3)
    adapter.fit(zeros[:n_images])
    sizes = [len(batch) // 2 for batch in keep.seen]
    assert sizes == {2: [2] * 3, 3: [3] * 3, 5: [3, 2] * 3}[n_images]
    assert adapter.stopped_at_ == len(sizes)


@every
def test_few_images_train_and_one_is_too_few(kind, zeros):
    make = partial(KINDS[kind], batch_size=2, n_steps=2, collapse_limit=0.0)
    for n_images in (3, 2):
        assert np.isfinite(make().fit(zeros[:n_images]).transform(zeros)).all()
    adapter = make()
    with pytest.raises(ValueError, match="training needs at least 2 normal images; got 1 sample"):
        adapter.fit(zeros[:1])
    with pytest.raises(ValueError, match="at least 2 normal images"):
        adapter.fit(zeros[:3], [1, -1, -1])
    assert not hasattr(adapter, "extractor_")
    with pytest.raises(ValueError, match="The 'batch_size' parameter of .* in the range \\[2"):
        KINDS[kind](batch_size=1).fit(zeros)


@every
def test_labelled_anomalies_are_left_out(kind, zeros, others):
    images = np.concatenate([others, zeros])
    labels = np.repeat([-1, 1], [len(others), len(zeros)])
    found = KINDS[kind]().fit(images, labels)
    assert same(found.network_.state_dict(), KINDS[kind]().fit(zeros).network_.state_dict())


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["autoencoder", "svdd", "rotation"])
def test_less_memory_gives_the_same(kind, zeros, others):
    whole = KINDS[kind]().fit(zeros).transform(others)
    image = 4 * (64 if kind != "rotation" else 3 * 64)
    for limit in (0, 7.5 * image / 2**20):
        less = KINDS[kind](memory_limit=limit).fit(zeros)
        np.testing.assert_allclose(
            less.transform(others), whole, rtol=1e-3, atol=1e-3 * np.abs(whole).max()
        )
