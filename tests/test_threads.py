"""Seeds hold where several threads build networks at once."""

from concurrent.futures import ThreadPoolExecutor

import torch

from skad.networks._recipe import build_network


def first_weights(seed):
    network = build_network("test_resnet", None, seed)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_networks_built_in_threads_are_those_of_their_seeds():
    alone = [first_weights(seed) for seed in range(6)]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(first_weights, [*range(6)] * 4))
    assert all(torch.equal(found, alone[i % 6]) for i, found in enumerate(together))
    assert torch.equal(torch.get_rng_state(), state)
