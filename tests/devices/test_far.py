"""The pretend device refuses what devices refuse, and computes what the CPU computes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from . import far


def ones(*shape):
    return torch.ones(*shape, device="far")


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda: ones(3) + torch.ones(3),
        lambda: torch.cat([ones(3), torch.ones(3)]),
        lambda: torch.stack([ones(1)[0], torch.tensor(1.0)]),
        lambda: nn.Linear(3, 2)(ones(1, 3)),
        lambda: torch.ones(3)[torch.tensor([0]).to("far")],
        lambda: ones(3).index_put_([torch.tensor([0])], torch.ones(1)),
        lambda: torch.rand(3, device="far", generator=torch.Generator()),
        lambda: ones(3).numpy(),
        lambda: np.asarray(ones(3)),
        lambda: ones(3).double(),
        lambda: torch.ones(3, dtype=torch.float64).to("far"),
    ],
)
def test_what_cuda_or_mps_refuse(forbidden):
    with pytest.raises((RuntimeError, TypeError), match="far|float64|device"):
        forbidden()


def test_what_is_allowed():
    assert (ones(3) * torch.tensor(2.0)).device.type == "far"
    assert ones(3)[torch.tensor([0, 2])].tolist() == [1, 1]
    assert ones(3)[np.array([True, False, True])].shape == (2,)
    assert torch.tensor([1.0, 2.0], device="far").tolist() == [1, 2]
    assert torch.zeros(3).copy_(ones(3)).tolist() == [1, 1, 1]
    changed = ones(3)
    assert changed.add_(1) is changed
    assert float(changed.sum()) == 6


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_network_trains_as_on_the_cpu(optimizer):
    torch_rows = torch.linspace(-1, 1, 24).view(4, 6)
    found = []
    first = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))
    for device in ("cpu", "far"):
        network = copy.deepcopy(first).to(device)
        steps = optimizer(network.parameters(), lr=0.1)
        for _ in range(3):
            steps.zero_grad()
            network(torch_rows.to(device)).square().mean().backward()
            steps.step()
        assert {value.device.type for value in network.state_dict().values()} == {device}
        found.append({name: value.cpu() for name, value in network.state_dict().items()})
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_inference_mode():
    with torch.inference_mode():
        made = nn.Linear(3, 2).to("far")(ones(1, 3))
    assert made.is_inference()
    assert type(made.cpu()) is type(made.to("cpu", torch.float64)) is torch.Tensor


def test_transfers_are_counted():
    before, value = far.Far.n_transfers, ones(3)
    value.add_(1).sum()
    assert far.Far.n_transfers == before
    for transfer in (lambda: float(value[0]), value.cpu, value.tolist):
        transfer()
    assert far.Far.n_transfers == before + 3
