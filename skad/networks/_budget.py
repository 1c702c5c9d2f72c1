"""How a network is best trained, and its features compared, where it says so itself."""

from ._input_size import metadata

# Of "tiny".
TINY = {
    "compactness": {"n_steps": 150, "learning_rate": 1e-2, "trainable": "last"},
    "contrast": {"n_epochs": 5, "trainable": "last"},
    # On CIFAR-10, MNIST and magnetic tiles 0.5 to 0.85 differ by little.
    "neighbors": {"metric": "mahalanobis_cosine", "shrinkage": 0.7},
}


def in_words(budget):
    """A budget as one writes parameters."""
    return ", ".join(f"``{name}={value!r}``" for name, value in budget.items()).replace("'", '"')


def own_budget(network, objective):
    """What the metadata of a network say of its training for an objective, or of its features.

    Published networks have none, and are trained as the papers say. The networks inside the package
    are smaller, and so take fewer steps.

    Parameters
    ----------
    network : torch.nn.Module
    objective : str
        Such as "compactness"; "neighbors" for distances between features.

    Returns
    -------
    budget : dict of str to object
        Parameters of adapters: ``n_steps``, ``n_epochs``, ``learning_rate``, ``trainable``; of
        scorers: ``metric``, ``shrinkage``.
    """
    return dict((metadata(network).get("budgets") or {}).get(objective, {}))
