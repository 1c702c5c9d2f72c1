"""The diagonal of the Fisher information: which parameters the network's own task hangs on."""

import hashlib
import json
from typing import Self

from .._random import torch_stream
from .._types import Device, FilePath
from ..networks._cache import weights_digest
from ._heads import own_classifier, source_head

# Of the official code: batches of 32, a hundred of them.
N_BATCHES, BATCH_SIZE = 100, 32


class FisherDiagonal:
    r"""Diagonal of the Fisher information of a network's trained parameters.

    .. math:: F_j = \operatorname{mean}_b \Bigl( \operatorname{mean}_{i \in b}
        \frac{\partial}{\partial \theta_j} \log p(y_i \mid x_i) \Bigr)^2

    over batches b of 32 images (PANDA's code). It belongs to one set of weights, and an adapter
    refuses it for others.

    Parameters
    ----------
    values : dict of str to tensor
        One tensor for each trained parameter.
    weights : str
        Digest of the network's weights.

    See Also
    --------
    skad.CompactnessAdapter : Computes it in `fit` and keeps it as ``fisher_``.

    References
    ----------
    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017. Reiss,
    Cohen, Bergman, Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and
    Segmentation", CVPR 2021, section 4.

    Examples
    --------
    >>> import torch
    >>> from skad.adapters import FisherDiagonal
    >>> FisherDiagonal({"layer4.weight": torch.ones(2, 3)}, weights="0f3a").weights
    '0f3a'
    """

    def __init__(self, values: dict, weights: str) -> None:
        self.values, self.weights = values, weights

    def save(self, path: FilePath) -> None:
        """Write a file for the parameter `fisher` of :class:`~skad.CompactnessAdapter`.

        Parameters
        ----------
        path : path
            The file, in the format of safetensors.
        """
        from safetensors.torch import save_file

        values = {name: value.contiguous().cpu() for name, value in self.values.items()}
        save_file(values, path, metadata={"skad_fisher": json.dumps({"weights": self.weights})})

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        fisher : FisherDiagonal
            What was saved.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is another kind of file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                told = json.loads((file.metadata() or {})["skad_fisher"])
                return cls({name: file.get_tensor(name) for name in file.keys()}, told["weights"])  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f"fisher file {str(path)!r} was not written by FisherDiagonal.save: {error!r}"
            ) from error

    def digest(self) -> str:
        """Compute a digest of the values.

        Returns
        -------
        digest : str
            In hexadecimal digits.
        """
        found = hashlib.blake2b(digest_size=16)
        for value in self.values.values():
            found.update(value.contiguous().cpu().numpy())
        return found.hexdigest()

    def to(self, device: Device) -> "FisherDiagonal":
        """Copy the values to a device.

        Parameters
        ----------
        device : torch.device
            The device.

        Returns
        -------
        fisher : FisherDiagonal
            The same information, on the device.
        """
        return FisherDiagonal({n: v.to(device) for n, v in self.values.items()}, self.weights)

    def check(self, cut: object, owner: str) -> None:
        """Raise an error if this belongs to other weights or other stages.

        Parameters
        ----------
        cut : object
            The network that is trained, and the names of its trained parameters.
        owner : str
            Named in the error.
        """
        found = weights_digest(cut.network)
        if found != self.weights:
            raise ValueError(
                f"{owner}: the Fisher information is of a network with other weights (digest "
                f"{self.weights}, here {found}); leave fisher=None to compute it for this "
                "one, and keep it by adapter.fisher_.save(path)."
            )
        missing = [name for name in cut.names if name not in self.values]
        if missing:
            raise ValueError(
                f"{owner}: the Fisher information lacks {len(missing)} of the {len(cut.names)} "
                f"parameters that trainable= names, as {missing[0]!r}; compute it for these stages."
            )


def fisher_of(start, source, labels, head_kind):
    """Fisher information of the parameters that a training trains.

    Parameters
    ----------
    start : Start
    source : ImageSource, optional
        By default the training images.
    labels : array-like, optional
        Classes of the source images. Without, labels are drawn from the network's predictions:
        classes where it has a classifier, features with Gaussian noise where it has none.
    head_kind : {"auto", "pretrained", "new"}
    """
    import torch

    if source is None:
        images, features = start.images, start.features
    else:
        images, features = start.more_images(source, BATCH_SIZE)
    if labels is not None:
        head, classes = source_head(start, head_kind, features, labels)

        def loss_of(step):
            logits = head(images.batch(step))
            return torch.nn.functional.cross_entropy(logits, classes[images.order(step)])
    else:
        loss_of = _loss_of_drawn_labels(start, images)
    parameters = list(start.cut.parameters.values())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for step in range(N_BATCHES):
        for sum_, gradient in zip(total, torch.autograd.grad(loss_of(step), parameters)):
            sum_ += gradient**2 / N_BATCHES
    # The variance of a mean gradient falls with the batch: as if batches had been of 32.
    scale = len(images) / images.sampler.n_batches / BATCH_SIZE
    values = dict(zip(start.cut.names, (sum_ * scale for sum_ in total)))
    return FisherDiagonal(values, weights_digest(start.cut.network))


def _loss_of_drawn_labels(start, images):
    """Negative log-likelihood of labels drawn from the network's own predictive distribution."""
    import torch

    generator = torch_stream(start.seed, "labels")
    head = own_classifier(start.fitted)

    def classified(step):
        logits = torch.nn.functional.linear(images.batch(step), head.weight.float(), _bias(head))
        chances = logits.detach().softmax(1).cpu()
        drawn = torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)
        return torch.nn.functional.cross_entropy(logits, drawn)

    def noisy(step):
        # The network as a regression with errors of unit variance, so that the information grows
        # with the square of the features' scale, as the loss of compactness does.
        found = images.batch(step)
        noise = torch.randn(found.shape, generator=generator).to(found.device)
        return ((found - found.detach() - noise) ** 2).sum(1).mean() / 2

    return noisy if head is None else classified


def _bias(head):
    return None if head.bias is None else head.bias.float()
