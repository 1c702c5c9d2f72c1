"""Linear classifiers on a network's features."""

from functools import partial

import numpy as np
from sklearn import config_context

from .._compat import StrOptions
from .._parameters import ParameterGroup, parameter
from .._random import local_seed, torch_seed


class SourceHeadParameters(ParameterGroup):
    """A classifier of labelled source images."""

    source_head: str = parameter(
        default="auto",
        limits=[StrOptions({"auto", "pretrained", "new"})],
        text='What classifies labelled source images. "pretrained": the network\'s own classifier '
        '(paper). "new": a linear one, fitted to their features by linear discriminant '
        'analysis. "auto": the network\'s own if it has one.',
    )


# A classifier that gets fewer right than this has learned other classes.
_FEWEST_RIGHT = 0.1


def own_classifier(fitted):
    """The linear layer that a network classifies its pooled features with; None without one."""
    import torch

    network = fitted.network
    if fitted.layers:
        return None
    if hasattr(network, "get_classifier"):
        head = network.get_classifier()
    elif type(network).__module__.startswith("torchvision."):
        head = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    else:
        return None
    fits = isinstance(head, torch.nn.Linear) and head.in_features == sum(fitted.widths)
    return head if fits else None


def source_head(start, kind, features, labels):
    """A classifier of labelled source images, and their classes as its outputs count them.

    Parameters
    ----------
    start : Start
    kind : {"auto", "pretrained", "new"}
    features : tensor of shape (n_images, n_features)
    labels : array-like of shape (n_images,)

    Returns
    -------
    head : torch.nn.Linear
        A copy, in float32.
    classes : tensor of int64, shape (n_images,)
    """
    import torch

    labels, owner = np.asarray(labels), start.owner
    if labels.shape != (len(features),):
        raise ValueError(
            f"{owner}: y_source must have one label for each of the {len(features)} images of "
            f"X_source; got shape {labels.shape}."
        )
    head = own_classifier(start.fitted)
    if kind == "new" or (kind == "auto" and head is None):
        names, classes = np.unique(labels, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"{owner}: y_source needs at least 2 classes; got {names.tolist()}.")
        return new_head(features, classes), torch.from_numpy(classes).to(start.device)
    if head is None:
        raise ValueError(
            f"{owner}: source_head='pretrained', but {type(start.fitted.network).__name__} has "
            "no classifier on these features; set source_head='new'."
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= head.out_features:
        raise ValueError(
            f"{owner}: y_source must hold classes of the network's own classifier, integers from 0 "
            f"to {head.out_features - 1}; got {np.unique(labels)[:4].tolist()}, ... of dtype "
            f"{labels.dtype}. For classes of another kind set source_head='new'."
        )
    classes = torch.from_numpy(labels.astype(np.int64)).to(start.device)
    head = copy_of(head)
    with torch.no_grad():
        right = float((head(features).argmax(1) == classes).float().mean())
    if kind == "auto" and right < _FEWEST_RIGHT:
        raise ValueError(
            f"{owner}: the network's own classifier gets {right:.0%} of y_source right, so these "
            "seem to be classes of another kind. Set source_head='new' to have a classifier fitted "
            "to them, or 'pretrained' if they are its own."
        )
    return head, classes


def copy_of(head):
    """A linear layer with the same values, in float32, out of the network's reach."""
    import torch

    copied = _empty_layer(head.in_features, head.out_features, head.weight.device)
    with torch.no_grad():
        copied.weight.copy_(head.weight)
        copied.bias.zero_() if head.bias is None else copied.bias.copy_(head.bias)
    return copied


def new_head(features, classes):
    """A linear classifier fitted by linear discriminant analysis, whose covariance is shrunken."""
    import torch
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    # It scales rows by a transformer, whose output is none of the user's business.
    with config_context(transform_output="default"):
        analysis.fit(features.cpu().double().numpy(), classes)
    weights, biases = analysis.coef_, analysis.intercept_
    if len(weights) == 1:  # two classes: the log-odds of the second
        weights, biases = np.stack([-weights[0], weights[0]]) / 2, np.array([-1, 1]) * biases / 2
    head = _empty_layer(weights.shape[1], len(weights), features.device)
    as_float = partial(torch.as_tensor, dtype=torch.float32, device=features.device)
    with torch.no_grad():
        head.weight.copy_(as_float(weights))
        head.bias.copy_(as_float(biases))
    return head


def _empty_layer(n_in, n_out, device):
    """A linear layer whose values are yet to come; none are drawn."""
    import torch

    return torch.nn.utils.skip_init(torch.nn.Linear, n_in, n_out, device=device)


def random_head(start, n_classes):
    """A linear classifier with random weights."""
    import torch

    with local_seed(torch_seed(start.seed, "head")):
        return torch.nn.Linear(start.features.shape[1], n_classes)


def linear_head(coef, intercept):
    """A linear classifier of known values, on the CPU."""
    import torch

    head = _empty_layer(coef.shape[1], len(coef), "cpu")
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coef))
        head.bias.copy_(torch.from_numpy(intercept))
    return head


class LinearHead:
    """What estimators share that end with a linear classifier of features."""

    def _keep_head(self, head):
        """Set the values of a head that was trained."""
        self.coef_ = head.weight.detach().cpu().numpy().copy()
        self.intercept_ = head.bias.detach().cpu().numpy().copy()

    def _logits(self, features):
        return features @ self.coef_.T + self.intercept_
