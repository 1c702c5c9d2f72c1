"""Where faiss searches and clusters: on the CPU, or on a card where it knows of one."""

import threading
from functools import cache

from .._warnings import warn

# Rows from which moving them to a card pays.
_WORTH_MOVING = 10_000

# Neighbours that a card finds at the most (faiss's limit of its k-selection).
_MOST_ON_CARD = 2048

# The scratch memory of a card serves one search at a time.
_LOCK = threading.Lock()


def on_card(faiss, work, n_rows):
    """Tell whether faiss should work on a card.

    Parameters
    ----------
    faiss : module
        faiss-cpu has no ``StandardGpuResources``; faiss-gpu may count no cards.
    work : {"exact", "ivf", "hnsw", "kmeans"}
        No card has "hnsw".
    n_rows : int
        Rows that are searched, or clustered.

    Returns
    -------
    on_card : bool
    """
    if work == "hnsw" or n_rows < _WORTH_MOVING:
        return False
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def placed(index, work):
    """An index where it is to be searched: a copy on a card, or itself."""
    import faiss

    if not on_card(faiss, work, index.ntotal):
        return index
    try:
        return CardIndex(index)
    except RuntimeError as error:  # as faiss says that there is no room
        reason = str(error).strip().splitlines()[-1]
        warn(
            f"faiss: {index.ntotal} rows could not be moved to the card, so they are searched on "
            f"the CPU, with the same results: {reason}. Free memory of the card, or hide it "
            "(CUDA_VISIBLE_DEVICES=)."
        )
        return index


def on_cpu(index):
    """An index on the CPU, as pickles hold it."""
    return index.on_cpu() if isinstance(index, CardIndex) else index


class CardIndex:
    """An index of faiss on the first card.

    Distances are |g|^2 - 2 q.g there, + |q|^2 after the choice, in float32 as on the CPU, so that
    the bound of `NeighborIndex` holds, which asks for no order of summation. It would not with
    products rounded to the 10 bits of TF32. But faiss sets cuBLAS to the mode
    ``CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION`` (``StandardGpuResources.cpp``), and nowhere
    to ``CUBLAS_TF32_TENSOR_OP_MATH``, without which cuBLAS takes TF32 for no product of float32.
    What else would break it is turned off: rows in half precision, which are not the default, and
    the kernels of cuVS, which are where faiss was built with them.

    Parameters
    ----------
    index : faiss.Index
        On the CPU.
    """

    def __init__(self, index):
        import faiss

        options = faiss.GpuClonerOptions()
        options.useFloat16 = options.useFloat16CoarseQuantizer = options.use_cuvs = False
        with _LOCK:
            self.index = faiss.index_cpu_to_gpu(_resources(), 0, index, options)

    def search(self, queries, n_neighbors):
        """Squared distances and indices of the nearest rows, as faiss gives them."""
        if n_neighbors > _MOST_ON_CARD:
            return self.on_cpu().search(queries, n_neighbors)
        with _LOCK:
            return self.index.search(queries, n_neighbors)

    def on_cpu(self):
        """A copy on the CPU."""
        import faiss

        with _LOCK:
            return faiss.index_gpu_to_cpu(self.index)


@cache
def _resources():
    """Scratch memory of the card, one for the process: each takes a gigabyte and more."""
    import faiss

    return faiss.StandardGpuResources()
