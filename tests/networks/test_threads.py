"""Seeds hold in threads, and streams of random numbers are apart from each other."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from sklearn.datasets import load_digits

from skad import NSA
from skad._random import numpy_stream, stream_seed, torch_seed, torch_stream
from skad.networks._recipe import build_network
from tests.instances import HEADS, SMALLEST


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


def test_trainings_in_threads_are_those_of_their_seeds():
    X = load_digits().data[:30]

    def scores(seed):
        detector = NSA(**SMALLEST, **HEADS, n_steps=3, random_state=seed).fit(X)
        return detector.score_samples(X[:5])

    alone = [scores(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(scores, range(4)))
    np.testing.assert_array_equal(together, alone)


def test_streams_are_apart():
    keys = [("order",), ("order", 0), ("order", 1), ("order", 1, 0), ("views", 0), ("views", 1)]
    states = {tuple(stream_seed(seed, *key).generate_state(4)) for seed in (0, 1) for key in keys}
    assert len(states) == 2 * len(keys)
    again = stream_seed(1, "views", 1).generate_state(4)
    np.testing.assert_array_equal(again, stream_seed(1, "views", np.int64(1)).generate_state(4))
    first = numpy_stream(3, "order", 2).permutation(100)
    np.testing.assert_array_equal(first, numpy_stream(3, "order", 2).permutation(100))
    assert torch_stream(3, "views", 2).initial_seed() == torch_seed(3, "views", 2)
