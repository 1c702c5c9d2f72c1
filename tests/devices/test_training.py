"""Training on a device: it is waited for at looks only, and what is not finite is told of."""

from functools import partial

import numpy as np
import pytest
import torch

from skad import (
    CompactnessAdapter,
    FeatureExtractor,
    MeanShiftedContrastive,
    PseudoLabelAdapter,
    SelfSupervisedAdapter,
)
from skad.backbones import small_cnn
from skad.training._loop import TrainingError, train
from tests.instances import HEADS, SMALL, TWO

from . import far


def train_line(loss_of_weight, n_steps=5, device="far", check_every=1):
    """Losses, the weight and the transfers of a training of one weight."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]).to(device))
    losses, before = [], far.Far.n_transfers

    try:
        train(
            lambda step: loss_of_weight(weight, step),
            [weight],
            optimizer=torch.optim.SGD([weight], lr=0.1, momentum=0.9),
            n_steps=n_steps,
            after_step=lambda step, loss: losses.append(loss),
            clip_norm=0.5,
            check_every=check_every,
            owner="Line",
        )
    except TrainingError as error:
        losses.append(error)
    transfers = far.Far.n_transfers - before
    values = [one if isinstance(one, TrainingError) else float(one) for one in losses]
    return values, weight.detach().cpu(), transfers


def square(weight, step):
    return weight.square().sum()


@pytest.mark.parametrize("check_every", [1, 4, 100])
def test_one_transfer_a_look(check_every):
    losses, weight, n_transfers = train_line(square, n_steps=10, check_every=check_every)
    assert n_transfers == -(-10 // check_every)
    expected, expected_weight, _ = train_line(square, n_steps=10, device="cpu")
    assert losses == expected
    assert torch.equal(weight, expected_weight)


BROKEN = [
    ("the loss is nan", lambda weight: weight.sum() * float("nan")),
    ("the loss is inf", lambda weight: weight.sum() + float("inf")),
    ("the gradient is inf", lambda weight: (weight[0] - 1).sqrt()),
]


@pytest.mark.parametrize(("what", "broken"), BROKEN)
@pytest.mark.parametrize("device", ["cpu", "far"])
def test_what_is_not_finite_is_named_and_not_stepped_with(what, broken, device):
    def loss_of(weight, step):
        return weight.sum() * 0 + 1 if step == 0 else broken(weight)

    losses, weight, _ = train_line(loss_of, device=device)
    assert losses[0] == 1.0
    assert str(losses[1]).startswith(f"Line: {what} at step 2 of 5")
    assert weight.tolist() == [1.0, -2.0]


@pytest.mark.parametrize(("what", "broken"), BROKEN)
def test_a_later_look_names_the_first_step_that_was_not_finite(what, broken):
    def loss_of(weight, step):
        return broken(weight) if step == 2 else weight.sum() * 0 + 1

    losses, _, n_transfers = train_line(loss_of, n_steps=9, check_every=4)
    assert str(losses[-1]).startswith(f"Line: {what} at step 3 of 9")
    assert n_transfers == 1


IMAGES = np.random.RandomState(0).randint(0, 256, (24, 40, 40, 3)).astype(np.uint8)
OF_SHAPES = [IMAGES[0], *(image[:36] for image in IMAGES[1:])]

TRAININGS = {
    "compactness": lambda n: CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=n, batch_size=8),
    "contrast": lambda n: MeanShiftedContrastive(
        FeatureExtractor(**SMALL), n_steps=n, batch_size=8
    ),
    "BYOL": lambda n: SelfSupervisedAdapter(
        FeatureExtractor(partial(small_cnn, width=4), weights=None, image_size=16),
        objective="byol",
        **HEADS,
        n_steps=n,
        batch_size=8,
    ),
    "pseudo-labels": lambda n: PseudoLabelAdapter(
        FeatureExtractor(**SMALL), clusterer=TWO, n_epochs=n, averaged_epochs=[1, 3], batch_size=24
    ),
}


def transfers_of_fit(make, n_steps, images):
    adapter, before = make(n_steps), far.Far.n_transfers
    adapter.set_params(extractor__device="far").fit(images)
    return far.Far.n_transfers - before


@pytest.mark.parametrize("images", [IMAGES, OF_SHAPES], ids=["one shape", "two shapes"])
@pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS)
def test_steps_between_looks_wait_for_nothing(make, images):
    few, more = (transfers_of_fit(make, n_steps, images) for n_steps in (3, 6))
    assert few == more, "both are looked at before and at the end"


@pytest.mark.parametrize("make", [TRAININGS["compactness"], TRAININGS["contrast"]])
def test_mixed_precision_trains_parameters_of_float32(make):
    dtypes, fitted = set(), {}
    for precision in ("float32", "bfloat16"):
        adapter = make(3).set_params(extractor__device="far", extractor__precision=precision)
        with torch.nn.modules.module.register_module_forward_hook(
            lambda module, _, output: dtypes.add((type(module).__name__, output.dtype))
        ):
            fitted[precision] = adapter.fit(IMAGES)
    assert ("Conv2d", torch.bfloat16) in dtypes
    half, full = (fitted[name].network_ for name in ("bfloat16", "float32"))
    trained = dict(half.layer4.named_parameters())
    assert {value.dtype for value in trained.values()} == {torch.float32}
    first = dict(FeatureExtractor(**SMALL).fit(IMAGES).network_.layer4.named_parameters())
    # Where training begins differs by the rounding of what was loaded, where it leads does not.
    moved = {name: value.cpu() - first[name] for name, value in full.layer4.named_parameters()}
    moved_half = {name: trained[name].cpu() - first[name].bfloat16().float() for name in moved}
    one, two = (torch.cat([v.flatten() for v in m.values()]) for m in (moved, moved_half))
    assert torch.cosine_similarity(one, two, dim=0) > 0.95
