"""Indexes of faiss: all rows, inverted lists, a graph."""

import numpy as np

from ._faiss import CardIndex, on_card

# Inverted lists that are looked through for a query, of sqrt(n), and links of a node of the graph
# with the width of the search in it: so many find 98 of 100 neighbours and more among 1e5 rows
# (``benchmarks/speed.py growth``).
_N_PROBED = 64
_N_LINKS, _SEARCH_WIDTH = 32, 128


def exact(rows):
    """Compare with every row."""
    import faiss

    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return index


def inverted_lists(rows):
    """Compare with the rows around those centroids that are nearest."""
    import faiss

    n_rows, n_features = rows.shape
    n_lists = max(1, min(n_rows // 39, int(np.sqrt(n_rows))))  # faiss wants 39 rows a list
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(n_features), n_features, n_lists)
    index.cp.min_points_per_centroid = 1  # and prints a warning where there are fewer in all
    if on_card(faiss, "kmeans", n_rows):
        clusters = CardIndex(faiss.IndexFlatL2(n_features))
        index.clustering_index = clusters.index  # `clusters` keeps it alive meanwhile
    index.train(rows)
    index.clustering_index = None
    index.add(rows)
    index.nprobe = min(_N_PROBED, n_lists)
    return index


def graph(rows):
    """Go from row to row along links, always nearer."""
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], _N_LINKS)
    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the graph depends on the order in which rows come in
    try:
        index.add(rows)
    finally:
        faiss.omp_set_num_threads(n_threads)
    index.hnsw.efSearch = _SEARCH_WIDTH
    return index


BUILDERS = {"exact": exact, "ivf": inverted_lists, "hnsw": graph}
