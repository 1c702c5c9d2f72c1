"""train() on a device: one transfer a step, and what is not finite is never stepped with."""

import pytest
import torch

from skad.training._loop import TrainingError, train

from . import far


def train_line(loss_of_weight, n_steps=5, device="far"):
    """Losses, the weight and the transfers of a training of one weight."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]).to(device))
    losses, before = [], far.Far.n_transfers

    def after_step(step, loss):
        losses.append(loss)

    try:
        train(
            lambda step: loss_of_weight(weight, step),
            [weight],
            optimizer=torch.optim.SGD([weight], lr=0.1, momentum=0.9),
            n_steps=n_steps,
            after_step=after_step,
            clip_norm=0.5,
            owner="Line",
        )
    except TrainingError as error:
        losses.append(error)
    return losses, weight.detach().cpu(), far.Far.n_transfers - before


def square(weight, step):
    return weight.square().sum()


def test_one_transfer_a_step():
    losses, weight, n_transfers = train_line(square, n_steps=5)
    assert n_transfers <= 5 + 1, "one a step, and the weight at the end"
    expected, expected_weight, _ = train_line(square, n_steps=5, device="cpu")
    assert losses == expected
    assert torch.equal(weight, expected_weight)


@pytest.mark.parametrize(
    ("what", "broken"),
    [
        ("the loss is nan", lambda weight: weight.sum() * float("nan")),
        ("the loss is inf", lambda weight: weight.sum() + float("inf")),
        ("the gradient is inf", lambda weight: (weight[0] - 1).sqrt()),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "far"])
def test_what_is_not_finite_is_named_and_not_stepped_with(what, broken, device):
    def loss_of(weight, step):
        return weight.sum() * 0 + 1 if step == 0 else broken(weight)

    losses, weight, _ = train_line(loss_of, device=device)
    assert losses[0] == 1.0
    assert str(losses[1]).startswith(f"Line: {what} at step 2 of 5")
    assert weight.tolist() == [1.0, -2.0]
