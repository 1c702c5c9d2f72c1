"""Rows of unit length, and rows that belong together."""


def unit(rows):
    """Rows of unit length; a zero row stays zero, with a gradient that is no larger than others."""
    import torch

    # Scaled by the largest value first: squares may vanish or overflow. A direction does not depend
    # on the scale, nor does its gradient.
    scale = rows.detach().abs().amax(dim=-1, keepdim=True)
    rows = rows / scale.masked_fill(scale == 0, 1)
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / length.masked_fill(length == 0, 1)


def check_rows(owner, **matrices):
    """Matrices of the same shape, each under the name of the argument."""
    shapes = [tuple(matrix.shape) for matrix in matrices.values()]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(
            f"{owner}: {_listed(matrices)} must be matrices of the same shape, one row per image; "
            f"got {_listed(shapes)}."
        )


def _listed(items):
    *head, last = map(str, items)
    return f"{', '.join(head)} and {last}"
