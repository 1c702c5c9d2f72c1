"""Ratios of speed and memory of scorers; tasks of ``benchmarks/speed.py``."""

import numpy as np

from skad import EnsembleScorer, GaussianScorer, KDEScorer, KNNScorer
from skad._fitting import parameters_of

from .timing import paired_times, peak_memory, seconds


def unfitted_threshold(scorer, gallery):
    """A scorer that knows its gallery but has no threshold, which would score all of it."""
    scorer._fitted = parameters_of(scorer)
    scorer._fit(gallery)
    scorer.offset_, scorer.n_features_in_ = 0.0, gallery.shape[1]
    return scorer


def knn(n_queries=10_000, n_gallery=50_000, n_features=512):
    """Time of scoring, over a raw faiss flat search of the same vectors."""
    import faiss

    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(n_gallery, n_features)).astype(np.float32)
    queries = rng.normal(size=(n_queries, n_features)).astype(np.float32)
    index = faiss.IndexFlatL2(n_features)
    index.add(gallery)
    figures = {}
    for metric in ("euclidean", "cosine"):
        scorer = unfitted_threshold(KNNScorer(metric=metric), gallery)
        raw, ours = paired_times(
            lambda: index.search(queries, 2),
            lambda s=scorer: s.score_samples(queries),
            repeats=3,
        )
        figures[f"kNN, {metric}, 10 000 x 50 000 x 512 / raw faiss (<= 1.2)"] = ours / raw
    return figures


def knn_fit(n_rows=10_000, n_features=256):
    """Time of fit and score, over raw faiss and over scikit-learn doing the same work."""
    import faiss
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    queries = rng.normal(size=(n_rows, n_features)).astype(np.float32)

    def build():
        index = faiss.IndexFlatL2(n_features)
        index.add(gallery)
        return index

    index, scorer = build(), KNNScorer(metric="euclidean").fit(gallery)
    theirs = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(gallery)
    figures = {}
    for name, fit, score in (
        ("faiss", lambda: build().search(gallery, 3), lambda: index.search(queries, 2)),
        (
            "NearestNeighbors",
            lambda: theirs.fit(gallery).kneighbors(),
            lambda: theirs.kneighbors(queries, 2),
        ),
    ):
        raw, ours = paired_times(fit, lambda: KNNScorer(metric="euclidean").fit(gallery), 3)
        figures[f"kNN fit with its leave-one-out scores, 10 000 x 256 / {name}"] = ours / raw
        raw, ours = paired_times(score, lambda: scorer.score_samples(queries), 3)
        figures[f"kNN score, 10 000 x 10 000 x 256 / {name}"] = ours / raw
    return figures


def gaussian(n_rows=20_000, n_features=512):
    """Time of scoring, over one product of the rows with a square matrix."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, n_features))
    square = rng.normal(size=(n_features, n_features))
    scorer = unfitted_threshold(GaussianScorer(), rows)
    product, ours = paired_times(
        lambda: rows @ square, lambda: scorer.score_samples(rows), repeats=9
    )
    return {"Gaussian score, 20 000 x 512 / one matrix product (<= 1.2)": ours / product}


def rows_like_features(n_rows, rng, n_features=256, n_latent=24):
    """Rows that are spread as features are: along few directions, with some noise around."""
    latent = rng.normal(size=(n_rows, n_latent)).astype(np.float32)
    mixing = np.random.default_rng(1).normal(size=(n_latent, n_features)).astype(np.float32)
    noise = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    return np.maximum(latent @ mixing, 0) + 0.1 * noise


def growth(sizes=(10_000, 100_000, 1_000_000), n_queries=1_000):
    """Recall and time of each index as the gallery grows, and the exponent of that growth."""
    rng = np.random.default_rng(0)
    queries = rows_like_features(n_queries, rng)
    figures, times = {}, {}
    for size in sizes:
        gallery, exact = rows_like_features(size, rng), None
        for index in ("exact", "ivf", "hnsw"):
            scorer = KNNScorer(metric="euclidean", index=index)
            built = seconds(lambda s=scorer, g=gallery: unfitted_threshold(s, g))
            _, indices = scorer.kneighbors(queries, 2)  # warms up
            exact = indices if index == "exact" else exact
            took = np.median([seconds(lambda s=scorer: s.score_samples(queries)) for _ in range(3)])
            times.setdefault(index, []).append(took)
            label = f"{index}, gallery {f'{size:,}'.replace(',', ' ')} x 256"
            if index == "exact":
                reference = built, took
            else:
                found = np.mean([len(set(a) & set(b)) / 2 for a, b in zip(indices, exact)])
                figures[f"{label}: recall of 2 neighbours"] = found
                figures[f"{label}: score / exact"] = took / reference[1]
                figures[f"{label}: build / exact"] = built / reference[0]
            print(f"{label}: built in {built:.1f} s, {1e3 * took / n_queries:.3f} ms a query")
    for index, took in times.items():
        exponent = np.polyfit(np.log(sizes), np.log(took), 1)[0]
        figures[f"{index}: time of a query grows as gallery to the power"] = exponent
    return figures


def scorer_memory(n_rows=5_000, n_features=512):
    """Peak memory of fit and score beyond the rows themselves, in sizes of the rows."""
    prelude = (
        "import numpy as np, faiss, scipy.linalg, sklearn.neighbors, sklearn.cluster, skad\n"
        "from skad import *\n"
        f"X = np.random.default_rng(0).normal(size=({n_rows}, {n_features})).astype(np.float32)\n"
        "np.abs(X[:2000] @ X[:2000].T).sum()\n"
    )
    rows = n_rows * n_features * 4 / 2**20
    bare = peak_memory(prelude)
    figures = {}
    for scorer in (
        KNNScorer(),
        KNNScorer(metric="mahalanobis"),
        KNNScorer(index="ivf"),
        KNNScorer(index="hnsw"),
        KNNScorer(n_centroids=100),
        GaussianScorer(),
        KDEScorer(),
        EnsembleScorer(),
    ):
        peak = peak_memory(prelude + f"skad.{scorer!r}.fit(X).score_samples(X)")
        label = f"peak memory of {scorer!r}, beyond and in sizes of the rows (5 000 x 512 float32)"
        figures[label] = (peak - bare) / rows
    return figures
