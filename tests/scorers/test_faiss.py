"""Where faiss works, and what is moved to a card: with stand-ins for the functions of faiss-gpu."""

import pickle
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from skad import KNNScorer
from skad.scorers import _faiss
from skad.scorers._faiss import on_card


def module(n_cards, **others):
    """What is asked of faiss, of a machine with so many cards."""
    return SimpleNamespace(get_num_gpus=lambda: n_cards, **others)


@pytest.mark.parametrize("work", ["exact", "ivf", "kmeans"])
def test_many_rows_go_to_a_card_that_is_there(work):
    card = module(2, StandardGpuResources=object)
    assert on_card(card, work, 1_000_000)
    assert not on_card(card, work, 100), "not worth moving"
    assert not on_card(card, "hnsw", 1_000_000), "faiss has no graphs on a card"
    assert not on_card(module(0, StandardGpuResources=object), work, 1_000_000), "no card"
    assert not on_card(SimpleNamespace(get_num_gpus=lambda: 1), work, 1_000_000), "faiss-cpu"
    assert not on_card(SimpleNamespace(), work, 1_000_000), "an old faiss-cpu"


class Card:
    """Keeps indexes as a card would, in memory of its own, and counts what goes there and back."""

    def __init__(self):
        self.moved, self.back, self.searched, self.options, self.room = [], 0, [], [], 1e9

    def take(self, resources, device, index, options):
        if index.ntotal > self.room:
            raise RuntimeError("Error in faiss::gpu\nFailed to cudaMalloc 5 bytes on device 0")
        assert isinstance(resources, SimpleNamespace)
        self.moved.append((type(index).__name__, index.ntotal, device))
        self.options.append(options)
        return faiss.clone_index(index)

    def give(self, index):
        self.back += 1
        return faiss.clone_index(index)

    def take_for_all(self, index, ngpu):
        self.moved.append(("kmeans", index.ntotal, ngpu))
        return index


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setattr(_faiss, "_WORTH_MOVING", 100)
    monkeypatch.setattr("faiss.extra_wrappers.get_num_gpus", lambda: 1, raising=False)
    for name, stand_in in {
        "get_num_gpus": lambda: 1,
        "StandardGpuResources": SimpleNamespace,
        "GpuClonerOptions": SimpleNamespace,
        "index_cpu_to_gpu": card.take,
        "index_gpu_to_cpu": card.give,
        "index_cpu_to_all_gpus": card.take_for_all,
    }.items():
        monkeypatch.setattr(faiss, name, stand_in, raising=False)
    _faiss._resources.cache_clear()
    yield card
    _faiss._resources.cache_clear()


ROWS = np.random.RandomState(0).normal(size=(400, 12)).astype(np.float32)
QUERIES = np.random.RandomState(1).normal(size=(50, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def expected():
    """Neighbours on the CPU, by kind of index."""
    kinds = ("exact", "ivf", "hnsw")
    return {kind: KNNScorer(index=kind).fit(ROWS).kneighbors(QUERIES, 5) for kind in kinds}


def assert_same(found, expected):
    for part, wanted in zip(found, expected):
        np.testing.assert_array_equal(part, wanted)


def test_an_exact_index_is_searched_on_the_card(card, expected):
    scorer = KNNScorer().fit(ROWS)
    assert_same(scorer.kneighbors(QUERIES, 5), expected["exact"])
    assert card.moved == [("IndexFlatL2", 400, 0)]
    again = pickle.loads(pickle.dumps(scorer))
    assert card.back == 0, "exact indexes are built again"
    assert len(card.moved) == 2
    assert_same(again.kneighbors(QUERIES, 5), expected["exact"])


def test_inverted_lists_are_clustered_and_searched_on_the_card(card, expected):
    scorer = KNNScorer(index="ivf").fit(ROWS)
    assert card.moved == [("IndexFlatL2", 0, 0), ("IndexIVFFlat", 400, 0)]
    assert_same(scorer.kneighbors(QUERIES, 5), expected["ivf"])
    pickled = pickle.dumps(scorer)
    assert card.back == 1
    assert_same(pickle.loads(pickled).kneighbors(QUERIES, 5), expected["ivf"])


def test_pickles_of_a_card_are_read_without_one(card, expected, monkeypatch):
    pickled = pickle.dumps(KNNScorer(index="ivf").fit(ROWS))
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    n_moved = len(card.moved)
    assert_same(pickle.loads(pickled).kneighbors(QUERIES, 5), expected["ivf"])
    assert len(card.moved) == n_moved


def test_graphs_and_few_rows_stay(card, expected):
    assert_same(KNNScorer(index="hnsw").fit(ROWS).kneighbors(QUERIES, 5), expected["hnsw"])
    KNNScorer().fit(ROWS[:99])
    assert card.moved == []


def test_each_shard_is_placed_on_its_own(card, expected):
    scorer = KNNScorer(n_shards=3).fit(ROWS)
    assert_same(scorer.kneighbors(QUERIES, 5), expected["exact"])
    assert [n_rows for _, n_rows, _ in card.moved] == [134, 133, 133]


def test_centroids_are_found_on_the_card(card):
    found = KNNScorer(n_centroids=5).fit(ROWS).gallery_
    assert card.moved == [("kmeans", 0, 1)]
    few = KNNScorer(n_centroids=5).fit(ROWS[:90]).gallery_
    assert len(card.moved) == 1
    assert found.shape == few.shape == (5, 12)


def test_more_neighbours_than_a_card_finds_are_found_here(card, monkeypatch):
    monkeypatch.setattr(_faiss, "_MOST_ON_CARD", 20)
    scorer = KNNScorer(index="ivf").fit(ROWS)
    scorer.kneighbors(QUERIES, 16)
    assert card.back == 0
    scorer.kneighbors(QUERIES, 17)  # and the query itself, and three to spare
    assert card.back > 0


def test_nothing_is_rounded_further_on_a_card(card):
    KNNScorer(index="ivf").fit(ROWS)
    assert len(card.options) == 2
    for options in card.options:
        assert not options.useFloat16
        assert not options.useFloat16CoarseQuantizer
        assert not options.use_cuvs


def test_a_full_card_leaves_the_rows_here_with_a_warning(card, expected):
    card.room = 300
    with pytest.warns(UserWarning, match="400 rows could not be moved .*: Failed to cudaMalloc"):
        scorer = KNNScorer().fit(ROWS)
    assert_same(scorer.kneighbors(QUERIES, 5), expected["exact"])
